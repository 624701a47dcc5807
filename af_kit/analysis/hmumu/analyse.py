"""Analyse one chunk of events: the function that ``process`` maps over the chunks.

`select` makes one pass over the events for each variation of the objects, and one more set of weights for each
variation of the weights. The passes share everything that a variation does not touch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu import histograms as hists
from af_kit.analysis.hmumu import jets as jet_selection
from af_kit.analysis.hmumu import muons as muon_selection
from af_kit.analysis.hmumu.calibrations import Calibrations
from af_kit.analysis.hmumu.campaign import Campaign, load_campaign
from af_kit.analysis.hmumu.columns import Collection, scalar
from af_kit.analysis.hmumu.energy import JetEnergies
from af_kit.analysis.hmumu.muons import Dimuons
from af_kit.analysis.hmumu.normalise import sums_of
from af_kit.analysis.hmumu.preselection import GoodMuons, Preselected, electron_veto, preselect
from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS, channel_of, passes_vbf, region_of
from af_kit.analysis.hmumu.sample import Sample, sample_of
from af_kit.analysis.hmumu.score import Network, check_scored
from af_kit.analysis.hmumu.table import table
from af_kit.analysis.hmumu.variables import Variables
from af_kit.analysis.hmumu.variations import MUON_SCALE, NOMINAL, Variation, object_variations
from af_kit.analysis.hmumu.weights import Weighted, Weights, pileup_sums
from af_kit.errors import InputError, nearest

if TYPE_CHECKING:
    from af_kit.corrections.golden import GoldenJSON

__all__ = ["MODES", "Pass", "Selection", "analyse", "select"]

MODES = ("none", "weights", "all")
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pass:
    """The selected events in one variation."""

    variables: Variables
    region: NDArray[np.int8]
    channel: NDArray[np.int8]
    """Numbers in `REGIONS` and `CHANNELS`."""
    split: Ints
    """Number of the channel in `SPLIT_CHANNELS`."""
    vbf: NDArray[np.bool_]
    """Whether the event passes the VBF cuts, whatever its b tags."""
    weighted: Weighted

    def entry(self, name: str, *, matched: bool = False) -> tuple[Any, Any, Any, Any]:
        """Return region, channel, value of a variable, and weight of each event, to fill a histogram; with ``matched``,
        the weight is 0 unless both leading jets have a generator jet."""
        weight = self.weighted.total
        if matched:
            weight = weight * self.variables.value("jet1_has_genjet") * self.variables.value("jet2_has_genjet")
        return self.region, self.split, self.variables.cached(name), weight


@dataclass(frozen=True)
class Selection:
    """The selected events of one chunk, in every variation."""

    sample: Sample
    campaign: Campaign
    calibrations: Calibrations
    preselected: Preselected
    passes: Mapping[str, Pass]
    """Label on a variation axis to the events; "nominal" is the first."""
    weight_sources: tuple[str, ...]
    """Sources that vary weights only; each has two passes with the events of the nominal one."""
    object_sources: tuple[str, ...]
    """Sources that vary momenta; each has two passes with events of its own."""


def analyse(
    events: ak.Array,
    *,
    campaign: str | int | Campaign | None = None,
    calibrations: Calibrations | None = None,
    variations: str = "none",
    histograms: Iterable[str] = hists.ALL,
    varied: Iterable[str] = hists.VARIED,
    network: Network | None = None,
) -> dict[str, Any]:
    """Select one chunk, and fill histograms and rows.

    Parameters
    ----------
    events
        Events of a NanoAOD file, as from ``read``.
    campaign
        A year, a path, or a loaded campaign; by default the ``year`` in the dataset's metadata.
    calibrations
        The corrections, from `load_calibrations`; without them, only FSR recovery and GeoFit.
    variations : {"none", "weights", "all"}
        The systematic variations: none; of the weights; of the weights, the jets' energy and the muons' momentum.
    histograms, varied
        The histograms to fill, and those of them that carry the variations.
    network
        Networks from `load_network`: events with two jets are scored in every variation of their momenta. Adds the
        histogram ``dnn_score``, with its variations, and the column ``dnn_score``.

    Returns
    -------
    dict
        For each dataset, under its name in each mapping:
        ``histograms``: :class:`hist.Hist` with the axes ``region``, ``channel``, ``variation`` and the variable, with
        the weights before any normalisation.
        ``cutflow``: ``events`` (numbers) and ``weighted`` (generator weights), by step.
        ``sums``: what the normalisation needs (simulation).
        ``sources``: names of the systematic sources of its variations.
        ``processed``: for data, the luminosity blocks of its events, as a `GoldenJSON`.
        ``candidates``: one row per selected event (:func:`~af_kit.analysis.hmumu.table.table`).
    """
    scored = network is not None
    names, varied = hists.check_names(histograms, scored=scored), hists.check_names(varied, scored=scored)
    selection = select(events, campaign=campaign, calibrations=calibrations, variations=variations, network=network)
    sample, passes = selection.sample, selection.passes
    filled = {}
    for name in names:
        labels = list(passes) if name in varied else [NOMINAL]
        entries = {label: passes[label].entry(name) for label in labels}
        filled[name] = hists.filled(name, labels, entries, score_bins=selection.campaign.score_bins)
        if sample.process in hists.SPLIT_BY_JETS and name in varied:
            entries = {label: passes[label].entry(name, matched=True) for label in labels}
            filled[hists.matched(name)] = hists.filled(name, labels, entries, score_bins=selection.campaign.score_bins)
    cutflow = selection.preselected.cutflow
    own: dict[str, Any] = {
        "histograms": filled,
        "cutflow": {"events": cutflow.events, "weighted": cutflow.weighted},
        "candidates": table(events, selection),
        "sources": {*selection.weight_sources, *selection.object_sources},
    }
    if sample.is_mc:
        generated = pileup_sums(
            events, selection.preselected.weights, selection.calibrations, varied=variations != "none"
        )
        own["sums"] = {**generated, **sums_of(passes)}
    else:
        own["processed"] = _processed(events, selection.preselected.certified)
    return {name: {sample.dataset: value} for name, value in own.items()}


def select(
    events: ak.Array,
    *,
    campaign: str | int | Campaign | None = None,
    calibrations: Calibrations | None = None,
    variations: str = "none",
    network: Network | None = None,
) -> Selection:
    """Select the events of one chunk in every variation; parameters as for `analyse`."""
    if variations not in MODES:
        raise InputError(f"variations={variations!r} is not known.{nearest(variations, MODES)}")
    metadata = getattr(events, "metadata", {})
    campaign = load_campaign(_campaign_of(metadata) if campaign is None else campaign)
    calibrations = calibrations or Calibrations(campaign)
    if network is not None:
        check_scored(network, campaign)
    sample = sample_of(metadata, campaign, has_weights="genWeight" in events.fields)
    preselected, good = preselect(events, sample, campaign, calibrations.golden_json)
    before, cutflow = preselected.chosen, preselected.cutflow
    dimuons = _dimuons(events, preselected, good, sample, campaign, calibrations, with_error=variations == "all")
    del good  # the columns of all muons: jets need as much memory

    # Jets are read only for events that are selected in at least one variation of the muons.
    in_any = np.zeros(before.size, np.bool_)
    for found in dimuons.values():
        in_any[found.event] = True
    chosen, number = np.flatnonzero(in_any), np.cumsum(in_any) - 1
    jets = Collection(events, "Jet", before[chosen], like="pt")
    energies = JetEnergies(events, before[chosen], jets, sample, calibrations, varied=variations == "all")
    known = jet_selection.candidates(jets, campaign)
    weights = Weights(
        events, before[chosen], preselected.weights, jets, sample, calibrations, with_variations=variations != "none"
    )

    def make(variation: Variation | None) -> Pass:
        source = NOMINAL if variation is None else variation.source
        label = variation.label if variation is not None and source == MUON_SCALE else NOMINAL
        pair, at = dimuons[label], number[dimuons[label].event]
        pt, mass = energies.of(variation)
        partners = np.full((2, chosen.size), -1)
        partners[:, at] = [muon["position"] for muon in pair.muons]
        selected = jet_selection.select(jets, pt, known, campaign, (partners[0], partners[1]))
        variables = Variables(events, before[chosen], pair, jets, at, selected, pt, mass)
        vbf = passes_vbf(
            campaign.vbf, variables.n_jets, variables.dijet_mass, variables.dijet_delta_eta, variables.jet("pt", 1)
        )
        channel, region = channel_of(variables.n_jets, variables.n_loose, variables.n_medium, vbf), region_of(pair.mass)
        if network is not None:
            # The inputs are only computed for events with two jets, which are few.
            rows = np.flatnonzero(variables.n_jets >= 2)
            few = Variables(events, before[chosen], pair.take(rows), jets, at[rows], selected, pt, mass)
            numbers = scalar(events, "event", few.positions)
            variables.dnn_score = np.full(len(pair), np.nan)
            variables.dnn_score[rows] = network.scores(
                few.cached, event=numbers, region=region[rows], year=campaign.year
            )
        return Pass(
            variables,
            region,
            channel,
            hists.split_channel(channel, variables.n_jets),
            vbf,
            weights.of(variables, at, selected, pt, variation, muons=label),
        )

    nominal = make(None)
    two_jets = nominal.variables.n_jets >= 2
    cutflow.count("two_jets", nominal.variables.positions[two_jets])
    cutflow.count("vbf", nominal.variables.positions[nominal.channel == CHANNELS.index("vbf")])
    passes = {NOMINAL: nominal}
    sources: tuple[str, ...] = ()
    object_sources: tuple[str, ...] = ()
    if sample.is_mc and variations != "none":
        varied = nominal.weighted.varied()
        sources = tuple(dict.fromkeys(variation.source for variation in varied))
        passes |= {
            variation.label: dataclasses.replace(nominal, weighted=weighted) for variation, weighted in varied.items()
        }
    if sample.is_mc and variations == "all":
        muon_scale = len(dimuons) > 1
        objects = object_variations(energies.sources, muon_scale=muon_scale)
        passes |= {one.label: make(one) for one in objects}
        object_sources = tuple(dict.fromkeys(one.source for one in objects))
    return Selection(sample, campaign, calibrations, preselected, passes, sources, object_sources)


def _dimuons(
    events: ak.Array,
    preselected: Preselected,
    good: GoodMuons,
    sample: Sample,
    campaign: Campaign,
    calibrations: Calibrations,
    *,
    with_error: bool,
) -> dict[str, Dimuons]:
    """Return the selected pairs of muons, nominal and for each variation of their momentum; count the steps."""
    before, cutflow = preselected.chosen, preselected.cutflow
    muons = muon_selection.candidates(events, before, good, campaign)
    no_electron = electron_veto(events, before, campaign)
    resolution = calibrations.mass_resolution_of(sample)
    dimuons = {}
    for label, scale in calibrations.muon_scales(events, before, muons, sample, with_error=with_error).items():
        values = muon_selection.corrected(muons, scale, campaign, switches=calibrations.switches)
        dimuons[label], counts = muon_selection.pairs(muons, values, campaign, resolution, no_electron)
        if label == NOMINAL:
            for step, mask in zip(("two_selected", "opposite_charge", "leading_pt"), counts, strict=True):
                cutflow.count(step, before[mask])
            cutflow.count("electron_veto", before[dimuons[NOMINAL].event])
        if sample.regions is not None:
            dimuons[label] = dimuons[label].take(_in_regions(dimuons[label].mass, sample.regions))
    cutflow.count("regions", before[dimuons[NOMINAL].event])
    return dimuons


def _in_regions(mass: NDArray[np.float64], regions: Iterable[str]) -> NDArray[np.bool_]:
    """Return which dimuon masses are in one of these regions."""
    return np.isin(region_of(mass), [REGIONS.index(name) for name in regions])


def _campaign_of(metadata: Mapping[str, Any]) -> str:
    if "year" not in metadata:
        raise InputError(
            f"Dataset {metadata.get('dataset', '')!r} has no year, so its campaign is unknown: add `year: 2018` to its "
            'metadata, or pass campaign="2018" (--year 2018).'
        )
    return str(metadata["year"])


def _processed(events: ak.Array, certified: NDArray[np.bool_]) -> GoldenJSON:
    """Return the luminosity blocks that have events in the chunk and are in the golden JSON."""
    from af_kit.corrections.golden import GoldenJSON

    return GoldenJSON.from_sections(*(scalar(events, name)[certified] for name in ("run", "luminosityBlock")))
