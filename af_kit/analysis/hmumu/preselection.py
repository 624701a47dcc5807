"""The event selection that needs no corrected momenta, and the cutflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hist import Hist
from numpy.typing import NDArray

from af_kit.analysis.hmumu import generator
from af_kit.analysis.hmumu.campaign import Campaign
from af_kit.analysis.hmumu.columns import Collection, counts_of, scalar
from af_kit.analysis.hmumu.muons import raw_cuts
from af_kit.analysis.hmumu.sample import Sample

if TYPE_CHECKING:
    from af_kit.corrections.golden import GoldenJSON

__all__ = ["STEPS", "Cutflow", "Preselected", "electron_veto", "preselect"]

STEPS = {
    "all": "all events",
    "stitching": "generator dijet mass, in stitched samples",
    "golden_json": "golden JSON, in data",
    "trigger": "single-muon trigger",
    "two_muons": "two muons or more",
    "filters": "event filters",
    "vertex": "good primary vertex",
    "two_selected": "exactly two selected muons",
    "opposite_charge": "opposite charge",
    "leading_pt": "leading muon above the trigger's threshold",
    "electron_veto": "no electron",
    "regions": "dimuon mass in a region that the dataset describes",
    "two_jets": "two jets or more",
    "vbf": "VBF channel",
}
"""The steps of the cutflow, with what each requires besides all steps before it."""


class Cutflow:
    """Events that each step leaves: their number, and the sum of their generator weights."""

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self._weights = weights
        self.events = Hist.new.StrCat(list(STEPS), name="step", label="Step").Int64()
        self.weighted = Hist.new.StrCat(list(STEPS), name="step", label="Step").Weight()

    def count(self, step: str, passed: NDArray[Any]) -> None:
        """Count the events that pass a step and all before it: a mask, or their positions in the chunk."""
        weights = self._weights[passed]
        index = list(STEPS).index(step)
        self.events.view()[index] = weights.size
        view = self.weighted.view()
        view["value"][index], view["variance"][index] = weights.sum(), (weights**2).sum()


class Preselected(NamedTuple):
    """The events that go on."""

    chosen: NDArray[np.int64]
    """Positions in the chunk of the events with at least two muons that pass the cuts on raw quantities."""
    weights: NDArray[np.float64]
    """The generator weight of every event of the chunk; 1 in data."""
    cutflow: Cutflow
    certified: NDArray[np.bool_]
    """Which events of the chunk are in the golden JSON; all in simulation."""


def preselect(events: Any, sample: Sample, campaign: Campaign, golden: GoldenJSON | None) -> Preselected:
    """Apply stitching, golden JSON, trigger, filters and vertex, and require two muons."""
    total = len(events)
    weights = scalar(events, "genWeight") if sample.is_mc else np.ones(total)
    cutflow = Cutflow(weights)
    mask = np.ones(total, np.bool_)
    cutflow.count("all", mask)
    if sample.stitching is not None:
        mask &= generator.stitched(events, sample.stitching)
    cutflow.count("stitching", mask)
    certified = np.ones(total, np.bool_)
    if golden is not None and not sample.is_mc:  # a list of good data says nothing about simulation
        certified = golden.mask(scalar(events, "run"), scalar(events, "luminosityBlock"))
        mask &= certified
    cutflow.count("golden_json", mask)
    fired = np.zeros(total, np.bool_)
    for trigger in campaign.triggers:
        fired |= scalar(events, trigger).astype(np.bool_)
    mask &= fired
    cutflow.count("trigger", mask)
    n_muons, n_good = raw_cuts(events, campaign)
    mask &= n_muons >= 2
    cutflow.count("two_muons", mask)
    present = [flag for flag in campaign.flags_where_present if _has(events, flag)]
    for flag in (*campaign.flags, *present):
        mask &= scalar(events, flag).astype(np.bool_)
    cutflow.count("filters", mask)
    mask &= scalar(events, "PV_npvsGood") >= 1
    cutflow.count("vertex", mask)
    return Preselected(np.flatnonzero(mask & (n_good >= 2)), weights, cutflow, certified)


def electron_veto(events: Any, chosen: NDArray[np.int64], campaign: Campaign) -> NDArray[np.bool_]:
    """Return which of these events have no electron that passes the campaign's cuts."""
    cuts, electrons = campaign.electrons, Collection(events, "Electron", chosen, like="pt")
    passed = (electrons["pt"] > cuts.min_pt) & (np.abs(electrons["eta"]) < cuts.max_abs_eta)
    passed &= electrons[cuts.id.removeprefix("Electron_")].astype(np.bool_)
    free: NDArray[np.bool_] = counts_of(passed, electrons.offsets) == 0
    return free


def _has(events: Any, branch: str) -> bool:
    collection, _, field = branch.partition("_")
    return branch in events.fields or (collection in events.fields and field in events[collection].fields)
