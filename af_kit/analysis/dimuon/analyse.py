"""Analyse one chunk of events: the function that ``process`` maps over the chunks, and its histograms."""

from __future__ import annotations

from typing import Any

import awkward as ak
from hist import Hist

from af_kit.analysis.dimuon.select import select
from af_kit.analysis.dimuon.table import table


def analyse(events: ak.Array) -> dict[str, Any]:
    """Analyse one chunk.

    Parameters
    ----------
    events
        Events with a jagged collection ``Muon`` (``pt``, ``eta``, ``phi``, ``mass``, ``charge``), as from ``read``.

    Returns
    -------
    dict
        ``multiplicity`` (:class:`hist.Hist`): muons per event, all events.
        ``mass`` (:class:`hist.Hist`): invariant mass in GeV of the events with exactly two muons of opposite charge.
        ``candidates`` (:class:`pyarrow.Table`): those events, one row each; columns as in
        :func:`~af_kit.analysis.dimuon.table.table`.
    """
    candidates = select(events)
    return {**fill(events, candidates), "candidates": table(events, candidates)}


def histograms(events: ak.Array) -> dict[str, Any]:
    """Fill ``multiplicity`` and ``mass`` only, without the table: half the time, and little memory."""
    return fill(events, select(events))


def fill(events: ak.Array, candidates: ak.Array) -> dict[str, Hist]:
    """Fill the multiplicity of all ``events`` and the mass of the ``candidates`` that :func:`select` found in them."""
    filled = empty()
    filled["multiplicity"].fill(ak.num(events.Muon))
    filled["mass"].fill(candidates.mass)
    return filled


def empty() -> dict[str, Hist]:
    """Return the empty histograms, with under- and overflow; their counts are integers, so that sums are exact."""
    return {
        "multiplicity": Hist.new.Int(0, 6, name="multiplicity", label="Muons per event").Int64(),
        "mass": Hist.new.Log(1000, 0.2, 200, name="mass", label=r"$m_{\mu\mu}$ [GeV]").Int64(),
    }
