"""Analyse one chunk of events: the function that ``process`` maps over the chunks, its counts and its histograms."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
from hist import Hist

from af_kit.analysis.counting.candidates import candidates
from af_kit.analysis.counting.objects import BTAG, LEVELS, Objects
from af_kit.analysis.counting.select import CHANNELS, Selected, select

FLAVOURS = ("muons", "electrons")


def analyse(events: ak.Array, *, btag: float = BTAG) -> dict[str, Any]:
    """Analyse one chunk.

    Parameters
    ----------
    events
        Events with the branches of NanoAODv9, as from ``read``.
    btag
        b-tagging working point, as in :func:`~af_kit.analysis.counting.select.select`.

    Returns
    -------
    dict
        ``counts`` (dict): for the dataset, see :func:`count`. Generator weights are not used.
        ``btag`` (str): the b-tagging requirement.
        ``leptons``, ``jets``, ``leading_pt`` (:class:`hist.Hist`): see :func:`fill`.
        ``candidates`` (:class:`pyarrow.Table`): the events of both channels, one row each; columns as in
        :func:`~af_kit.analysis.counting.candidates.candidates`.
    """
    dataset = str(getattr(events, "metadata", {}).get("dataset", ""))
    selected = select(events, btag=btag)
    rows = candidates(events, selected)
    return {
        "counts": {dataset: count(selected)},
        "btag": f"Jet_btagDeepFlavB > {btag:g}",
        **fill(selected, rows["lepton1_pt"].to_numpy(), dataset),
        "candidates": rows,
    }


def count(selected: Selected) -> dict[str, Any]:
    """Count events and objects.

    Returns
    -------
    dict
        Integers: ``events``; ``muons`` and ``electrons`` with ``all`` (in the file), ``loose``, ``fakeable`` and
        ``tight``; ``jets`` with ``all``, ``selected`` and ``btagged``; ``channels`` with the events of ``dilepton`` and
        ``trilepton``. Objects are counted in all events, not only in those of the channels.
    """
    return {
        "events": len(selected.channel),
        **{name: _objects(collection, LEVELS) for name, collection in selected.leptons.items()},
        "jets": _objects(selected.jets, ("selected", "btagged")),
        "channels": {name: int(np.count_nonzero(selected.channel == number)) for name, number in CHANNELS.items()},
    }


def _objects(collection: Objects, masks: tuple[str, ...]) -> dict[str, int]:
    return {"all": int(collection.offsets[-1]), **{mask: int(collection[mask].sum()) for mask in masks}}


def fill(selected: Selected, leading_pt: np.ndarray, dataset: str = "") -> dict[str, Hist]:
    """Fill the histograms; their counts are integers, and their first axis is the ``dataset``.

    Parameters
    ----------
    leading_pt
        Largest pt among the tight leptons of the events of both channels, GeV.

    Returns
    -------
    dict
        ``leptons``: all events; axes ``flavour``, ``level`` and ``number`` of these leptons in the event.
        ``jets``: all events; axes ``jets`` (selected) and ``btagged``.
        ``leading_pt``: events of the two channels; axes ``channel`` and ``pt``.
    """
    leptons = (
        _by_dataset(dataset)
        .StrCat(FLAVOURS, name="flavour", label="Flavour")
        .StrCat(LEVELS, name="level", label="Quality")
        .Int(0, 6, name="number", label="Leptons per event")
        .Int64()
    )
    for flavour, collection in selected.leptons.items():
        for level in LEVELS:
            leptons.fill(dataset=dataset, flavour=flavour, level=level, number=collection.number(level))
    jets = (
        _by_dataset(dataset)
        .Int(0, 12, name="jets", label="Jets per event")
        .Int(0, 12, name="btagged", label="b-tagged jets per event")
        .Int64()
    )
    jets.fill(dataset=dataset, jets=selected.jets.number("selected"), btagged=selected.jets.number("btagged"))
    pt = (
        _by_dataset(dataset)
        .StrCat(list(CHANNELS), name="channel", label="Channel")
        .Reg(40, 0, 200, name="pt", label=r"Leading lepton $p_\mathrm{T}$ [GeV]")
        .Int64()
    )
    channel = selected.channel[selected.channel > 0]
    for name, number in CHANNELS.items():
        pt.fill(dataset=dataset, channel=name, pt=leading_pt[channel == number])
    return {"leptons": leptons, "jets": jets, "leading_pt": pt}


def _by_dataset(dataset: str) -> Any:
    """Return a new histogram's first axis, to which others are added."""
    return Hist.new.StrCat([dataset], growth=True, name="dataset", label="Dataset")
