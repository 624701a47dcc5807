"""NAME: the invariant mass of two muons, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import pyarrow as pa
from hist import Hist

from af_kit.analysis import style


def analyse(events: ak.Array, pt_min: float = 10.0) -> dict[str, Any]:
    """Analyse one chunk of one file. The outputs of all chunks are merged.

    Parameters
    ----------
    events
        The events of the chunk. ``events.metadata["dataset"]`` is the name of their dataset.
    pt_min
        Smallest transverse momentum of a muon, in GeV.
    """
    pairs = select(events, pt_min)
    table = pa.table({"mass": pairs.mass.to_numpy(), "pt": pairs.pt.to_numpy(), "eta": pairs.eta.to_numpy()})
    return {"mass": fill(pairs), "candidates": table, "events": len(events)}


def select(events: ak.Array, pt_min: float = 10.0) -> ak.Array:
    """Return the pair of each event that has exactly two muons above ``pt_min``, of opposite charge."""
    muons = events.Muon[events.Muon.pt > pt_min]
    muons = muons[ak.num(muons) == 2]
    muons = muons[ak.sum(muons.charge, axis=1) == 0]
    return muons[:, 0] + muons[:, 1]


def fill(pairs: ak.Array) -> Hist:
    """Return the histogram of the invariant mass. Counts are integers, so that sums are exact."""
    return Hist.new.Reg(60, 60, 120, name="mass", label=r"$m_{\mu\mu}$ [GeV]").Int64().fill(pairs.mass)


def plot(result: dict[str, Any], folder: Path, metadata: dict[str, Any] | None = None) -> list[Path]:
    """Draw the merged result into a folder, as PNG and PDF."""
    with style.cms_style():
        figure, axes = style.subplots(metadata=metadata)
        axes.stairs(result["mass"].values(), result["mass"].axes[0].edges, fill=True, alpha=0.6)
        axes.set(xlabel=r"$m_{\mu\mu}$ [GeV]", ylabel="Candidates / GeV", xlim=(60, 120))
        style.place_axes(figure)
        return style.save(figure, folder, "mass")
