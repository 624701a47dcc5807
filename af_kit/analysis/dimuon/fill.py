"""The histograms."""

from __future__ import annotations

import awkward as ak
from hist import Hist


def empty() -> dict[str, Hist]:
    """The histograms before any event, with under- and overflow; integer counts, so that sums are exact."""
    return {
        "multiplicity": Hist.new.Int(0, 6, name="multiplicity", label="Muons per event").Int64(),
        "mass": Hist.new.Log(1000, 0.2, 200, name="mass", label=r"$m_{\mu\mu}$ [GeV]").Int64(),
    }


def fill(events: ak.Array, candidates: ak.Array) -> dict[str, Hist]:
    """Multiplicity of all ``events``, mass of the ``candidates`` that :func:`select` made of them."""
    histograms = empty()
    histograms["multiplicity"].fill(ak.num(events.Muon))
    histograms["mass"].fill(candidates.mass)
    return histograms
