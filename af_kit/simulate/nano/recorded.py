"""Runs and luminosity blocks of simulated data, and which of them are certified."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.simulate.nano.campaigns import Campaign

EVENTS_PER_BLOCK = 25
# Luminosity blocks of a run that data of one file reach: few enough that a small sample has good and bad ones.
_BLOCKS = 400
_UNCERTIFIED_FROM = 380  # also the blocks below the run's first
_BAD = (140, 146)
# First runs of 2018 B, C and D, which have jet corrections of their own.
_PERIODS_2018 = (317080, 319337, 320673)


def golden_json(campaign: Campaign) -> dict[str, list[list[int]]]:
    """Return the certified luminosity blocks of each run, in the form of CMS: run to ranges, both ends included.

    A few blocks in the middle of each run and all at its end are not certified.
    """
    certified: dict[str, list[list[int]]] = {}
    for run, first, _ in campaign.runs:
        bad = [first + offset for offset in _BAD]
        certified[str(run)] = [[first, bad[0] - 1], [bad[1] + 1, first + _UNCERTIFIED_FROM]]
    return certified


def numbers(campaign: Campaign, first: int, number: int, *, file_index: int) -> dict[str, NDArray[Any]]:
    """Return run, luminosityBlock and event of the entries from ``first``: unique over all files of a dataset.

    Blocks of `EVENTS_PER_BLOCK` events go to all runs in turn, so that even a small file has data of every run, inside
    and outside the certified blocks.
    """
    entry = np.arange(first, first + number)
    block = entry // EVENTS_PER_BLOCK
    runs = np.array([run for run, _, _ in campaign.runs], np.uint32)
    starts = np.array([start for _, start, _ in campaign.runs])
    turn = (block + file_index) % runs.size
    # 37 and 400 share no factor: every block is reached once before one is reached again.
    lumi = starts[turn] + (37 * (block // runs.size) + 11 * file_index) % _BLOCKS
    # Event numbers of real data exceed 32 bits.
    event = (np.uint64(file_index + 1) << np.uint64(33)) + entry.astype(np.uint64)
    return {"run": runs[turn], "luminosityBlock": lumi.astype(np.uint32), "event": event}


def simulated_numbers(first: int, number: int, *, file_index: int) -> dict[str, NDArray[Any]]:
    """Return run (1, as in simulation), luminosityBlock and event of the entries from ``first``."""
    entry = np.arange(first, first + number)
    lumi = 1 + 1_000_000 * file_index + entry // 100
    event = (100 * (lumi - 1) + entry % 100 + 1).astype(np.uint64)
    return {"run": np.ones(number, np.uint32), "luminosityBlock": lumi.astype(np.uint32), "event": event}


def period(run: NDArray[Any]) -> NDArray[np.intp]:
    """Return the run period of 2018: 0 to 3 for A to D."""
    return np.searchsorted(np.array(_PERIODS_2018), run, side="right")
