"""The event selection that needs no corrected momenta, and the cutflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from hist import Hist
from numpy.typing import NDArray

from af_kit.analysis.hmumu import generator
from af_kit.analysis.hmumu.campaign import Campaign
from af_kit.analysis.hmumu.columns import Collection, counts_of, scalar
from af_kit.analysis.hmumu.sample import Sample
from af_kit.data.reading.flat import has_branch

if TYPE_CHECKING:
    from af_kit.corrections.golden import GoldenJSON

__all__ = ["STEPS", "Cutflow", "GoodMuons", "Preselected", "electron_veto", "preselect"]

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
    """Events that each step leaves: their number, and the sum of their generator weights (None: all are 1)."""

    def __init__(self, weights: NDArray[np.float64] | None) -> None:
        self._weights = weights
        self._numbers = dict.fromkeys(STEPS, 0)
        self._sums = dict.fromkeys(STEPS, (0.0, 0.0))
        self._last = -1, (0.0, 0.0)

    def count(self, step: str, passed: NDArray[np.int64]) -> None:
        """Count the events that pass a step and all before it, from their positions in the chunk."""
        number, sums = self._last
        if passed.size != number:  # otherwise they are the same events as in the step before
            number, sums = passed.size, self._sums_of(passed)
        self._numbers[step], self._sums[step] = self._last = number, sums

    def _sums_of(self, passed: NDArray[np.int64]) -> tuple[float, float]:
        """Return the sums of the weights and of their squares."""
        if self._weights is None:
            return float(passed.size), float(passed.size)
        weights = self._weights if passed.size == self._weights.size else self._weights[passed]
        return float(weights.sum()), float(weights @ weights)

    @property
    def events(self) -> Hist:
        """Numbers of events, with the axis ``step``."""
        histogram = Hist.new.StrCat(list(STEPS), name="step", label="Step").Int64()
        histogram.view()[:] = list(self._numbers.values())
        return histogram

    @property
    def weighted(self) -> Hist:
        """Sums of generator weights, and of their squares as variances."""
        histogram = Hist.new.StrCat(list(STEPS), name="step", label="Step").Weight()
        view = histogram.view()
        view["value"], view["variance"] = np.transpose(list(self._sums.values()))
        return histogram


class Preselected(NamedTuple):
    """The events that go on."""

    chosen: NDArray[np.int64]
    """Positions in the chunk of the events with at least two muons that pass the cuts on raw quantities."""
    weights: NDArray[np.float64]
    """The generator weight of every event of the chunk; 1 in data."""
    cutflow: Cutflow
    certified: NDArray[np.bool_]
    """Which events of the chunk are in the golden JSON; all in simulation."""


class GoodMuons(NamedTuple):
    """The muons of the chosen events that pass the cuts on raw quantities."""

    collection: Collection
    """All muons of the events before the last of these cuts."""
    rows: NDArray[np.int64]
    """Position of each good muon in the collection."""
    event: NDArray[np.int64]
    """For each good muon, its event's position among the chosen ones."""


def preselect(
    events: Any, sample: Sample, campaign: Campaign, golden: GoldenJSON | None
) -> tuple[Preselected, GoodMuons]:
    """Apply stitching, golden JSON, trigger, filters and vertex, and require two muons."""
    total = len(events)
    weights = scalar(events, "genWeight") if sample.is_mc else np.ones(total)
    cutflow = Cutflow(weights if sample.is_mc else None)
    left = np.arange(total)  # most events fail early, so each cut looks only at those that are left
    cutflow.count("all", left)
    if sample.stitching is not None:
        left = np.flatnonzero(generator.stitched(events, sample.stitching))
    cutflow.count("stitching", left)
    certified = np.ones(total, np.bool_)
    if golden is not None and not sample.is_mc:  # a list of good data says nothing about simulation
        certified = golden.mask(scalar(events, "run"), scalar(events, "luminosityBlock"))
        left = left[certified[left]]
    cutflow.count("golden_json", left)
    fired = [scalar(events, trigger, left).astype(np.bool_) for trigger in campaign.triggers]
    left = left[np.any(fired, axis=0)]
    cutflow.count("trigger", left)
    left = left[Collection(events, "Muon", left, like="pt").counts >= 2]
    cutflow.count("two_muons", left)
    present = [flag for flag in campaign.flags_where_present if has_branch(events, flag)]
    for flag in (*campaign.flags, *present):
        left = left[scalar(events, flag, left).astype(np.bool_)]
    cutflow.count("filters", left)
    left = left[scalar(events, "PV_npvsGood", left) >= 1]
    cutflow.count("vertex", left)
    muons = Collection(events, "Muon", left, like="pt")
    good = _raw_cuts(muons, campaign)
    two = counts_of(good, muons.offsets) >= 2
    rows = np.flatnonzero(good & two[muons.event])
    event = (np.cumsum(two) - 1)[muons.event[rows]]
    return Preselected(left[two], weights, cutflow, certified), GoodMuons(muons, rows, event)


def _raw_cuts(muons: Collection, campaign: Campaign) -> NDArray[np.bool_]:
    """Return which muons pass the cuts on raw quantities."""
    cuts = campaign.muons
    passed: NDArray[np.bool_] = (muons["pt"] > cuts.min_pt) & (np.abs(muons["eta"]) < cuts.max_abs_eta)
    return passed & muons[cuts.id.removeprefix("Muon_")].astype(np.bool_)


def electron_veto(events: Any, chosen: NDArray[np.int64], campaign: Campaign) -> NDArray[np.bool_]:
    """Return which of these events have no electron that passes the campaign's cuts."""
    cuts, electrons = campaign.electrons, Collection(events, "Electron", chosen, like="pt")
    passed = (electrons["pt"] > cuts.min_pt) & (np.abs(electrons["eta"]) < cuts.max_abs_eta)
    passed &= electrons[cuts.id.removeprefix("Electron_")].astype(np.bool_)
    free: NDArray[np.bool_] = counts_of(passed, electrons.offsets) == 0
    return free
