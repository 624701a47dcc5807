"""The weights of simulated events: a product of corrections, each with its systematic sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.columns import Collection, scalar
from af_kit.analysis.hmumu.energy import JES
from af_kit.analysis.hmumu.sample import Sample
from af_kit.analysis.hmumu.variations import DIRECTIONS, NOMINAL, Variation, label_of
from af_kit.corrections.weight import Pair, Weight
from af_kit.errors import InputError

if TYPE_CHECKING:
    from af_kit.analysis.hmumu.calibrations import Calibrations
    from af_kit.analysis.hmumu.jets import Selected
    from af_kit.analysis.hmumu.variables import Variables

__all__ = ["Weighted", "Weights", "pileup_sums"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Normalised after the merge, so they come last in the product, in this order.
_LAST = ("quark_gluon", "btag")


@dataclass(frozen=True)
class Weighted:
    """The weights of selected events in one variation.

    Attributes
    ----------
    parts
        Name of each correction to its weight. "generator" is the first, quark/gluon and b-tag weights are the last.
    source, direction
        The source among the parts' that is varied; None for nominal weights.
    """

    parts: Mapping[str, Weight]
    source: str | None = None
    direction: str = ""

    def part(self, name: str) -> Floats:
        """Return the weight of one correction, varied if the source is one of its own."""
        weight = self.parts[name]
        if self.source is not None and self.source in weight.variations:
            values: Floats = getattr(weight.variations[self.source], self.direction)
            return values
        nominal: Floats = weight.nominal
        return nominal

    @cached_property
    def base(self) -> Floats:
        """The product without quark/gluon and b-tag weights."""
        product = np.array(self.part("generator"))
        for name in self.parts:
            if name != "generator" and name not in _LAST:
                product *= self.part(name)
        return product

    @cached_property
    def with_quark_gluon(self) -> Floats:
        """The product without b-tag weights."""
        return self.base * self.part("quark_gluon") if "quark_gluon" in self.parts else self.base

    @cached_property
    def total(self) -> Floats:
        """The product of all corrections."""
        return self.with_quark_gluon * self.part("btag") if "btag" in self.parts else self.with_quark_gluon

    def nominal_parts(self) -> dict[str, Floats]:
        """Return the nominal weight of each correction that has one, for the table."""
        return {name: weight.nominal for name, weight in self.parts.items()}

    def varied(self) -> dict[Variation, Weighted]:
        """Return the weights with each source of each correction varied up and down."""
        found: dict[Variation, Weighted] = {}
        for weight in self.parts.values():
            for source in weight.variations:
                for direction in DIRECTIONS:
                    found[Variation(source, direction)] = Weighted(self.parts, source, direction)
        return found


class Weights:
    """The weights of chosen events; each part is computed once and shared by all variations that do not change it.

    Parameters
    ----------
    events
        The events of the chunk.
    chosen
        Positions in the chunk of the events whose jets have been read.
    generator
        The generator weight of every event of the chunk.
    jets, sample, calibrations
        The jets, what the dataset is, and the corrections.
    """

    def __init__(
        self,
        events: Any,
        chosen: Ints,
        generator: Floats,
        jets: Collection,
        sample: Sample,
        calibrations: Calibrations,
        *,
        with_variations: bool,
    ) -> None:
        self._jets, self._sample, self._calibrations = jets, sample, calibrations
        self._with_variations = with_variations
        self._of_events = {"generator": Weight(generator[chosen], {})}
        if sample.is_mc:
            self._of_events |= self._event_weights(events, chosen)
        self._of_muons: dict[str, dict[str, Weight]] = {}

    def of(
        self,
        variables: Variables,
        at: Ints,
        selected: Selected,
        pt: Floats,
        variation: Variation | None,
        *,
        muons: str,
    ) -> Weighted:
        """Return the weights of the selected events in a variation of the objects.

        Parameters
        ----------
        variables, at, selected, pt
            The selected events, their positions among the chosen ones, the selected jets, and the jets' pt.
        variation
            The variation; None is nominal.
        muons : str
            The variation of the muons that the events are selected in.
        """
        parts = {name: _taken(weight, at) for name, weight in self._of_events.items()}
        if self._sample.is_mc:
            if muons not in self._of_muons:
                self._of_muons[muons] = self._muon_weights(variables)
            parts |= self._of_muons[muons]
            parts |= self._jet_weights(at, selected, pt, variation)
        if variation is not None:
            parts = {name: Weight(weight.nominal, {}) for name, weight in parts.items()}
        for name, weight in parts.items():
            _check(name, weight, self._sample.dataset)
        return Weighted(parts)

    def _event_weights(self, events: Any, chosen: Ints) -> dict[str, Weight]:
        """Return the weights that depend on neither muons nor jets."""
        calibrations, sample, found = self._calibrations, self._sample, dict[str, Weight]()
        switches = calibrations.switches
        if (pileup := calibrations.get("pileup")) is not None:
            found["pileup"] = pileup.weight(scalar(events, "Pileup_nTrueInt", chosen))
        if "prefiring" in switches:
            from af_kit.corrections.prefiring import prefiring

            names = (f"L1PreFiringWeight_{name}" for name in ("Nom", "Up", "Dn"))
            found["prefiring"] = prefiring(*(scalar(events, name, chosen) for name in names))
        if sample.process == "ggh" and (nnlops := calibrations.get("nnlops")) is not None:
            pt, jets = (scalar(events, f"HTXS_{name}", chosen) for name in ("Higgs_pt", "njets30"))
            found["nnlops"] = nnlops[sample.generator].weight(pt, jets)
        if self._with_variations:
            found |= self._theory(events, chosen)
        return found

    def _theory(self, events: Any, chosen: Ints) -> dict[str, Weight]:
        """Return the variations of the generator's weights, for the processes that have them."""
        calibrations, sample, found = self._calibrations, self._sample, dict[str, Weight]()
        if sample.process not in _WITH_THEORY:
            return found
        from af_kit.corrections import lhe

        if "lhe_scales" in calibrations.switches:
            found["lhe_scales"] = lhe.scales(_rows(events, "LHEScaleWeight", chosen))
        if "pdf" in calibrations.switches:
            if sample.lha_ids is None:
                raise InputError(
                    f"Dataset {sample.dataset!r}: which parton densities LHEPdfWeight has is unknown. Add the LHA ids "
                    "of the branch's title to the metadata (lha_ids: [91400, 91432]), or switch the correction off "
                    "(--corrections all,-pdf)."
                )
            first, last = sample.lha_ids
            pdf_set = lhe.PDFSet.from_title(f"LHA IDs {first} - {last}")
            found["pdf"] = pdf_set.weight(_rows(events, "LHEPdfWeight", chosen))
        if sample.process == "vbf" and (theory := calibrations.get("vbf_theory")) is not None:
            found["vbf_theory"] = theory.weight(scalar(events, "HTXS_stage1_1_fine_cat_pTjet30GeV", chosen))
        return found

    def _muon_weights(self, variables: Variables) -> dict[str, Weight]:
        muons = variables.dimuons.muons
        pt, eta = ([muon[f"raw_{name}"] for muon in muons] for name in ("pt", "eta"))
        found = {}
        for name in ("muon_id", "muon_iso", "muon_trigger"):
            if (correction := self._calibrations.get(name)) is not None:
                found[name] = correction.per_event(pt, eta)
        if self._sample.process == "dy" and (zpt := self._calibrations.get("zpt")) is not None:
            found["zpt"] = zpt.weight(variables.dimuon_pt)
        return found

    def _jet_weights(self, at: Ints, selected: Selected, pt: Floats, variation: Variation | None) -> dict[str, Weight]:
        calibrations, jets, found = self._calibrations, self._jets, dict[str, Weight]()
        if (pileup_id := calibrations.get("pileup_jet_id")) is not None:
            found["pileup_jet_id"] = Weight(self._pileup_id(pileup_id, at, selected, pt), {})
        if "quark_gluon" in calibrations.switches:
            found["quark_gluon"] = self._quark_gluon(at, selected)
        if (btag := calibrations.get("btag")) is not None:
            index = np.flatnonzero(selected.mask)
            counts = np.bincount(jets.event[index], minlength=len(selected.n))
            columns = {
                "pt": pt[index],
                "eta": jets["eta"][index],
                "discriminator": jets[calibrations.campaign.btag.branch.removeprefix("Jet_")][index],
                "hadron_flavour": jets["hadronFlavour"][index],
            }
            if variation is not None and variation.source.startswith(JES):
                # The discriminator's correction depends on the energy scale: both move together.
                values = btag.varied("jes", variation.direction, **columns, counts=counts)
                weight = Weight(values, {})
            elif variation is None and self._with_variations:
                weight = btag.weight(*columns.values(), counts=counts)
                sources = {f"btag_{name}": pair for name, pair in weight.variations.items() if name != "jes"}
                weight = Weight(weight.nominal, sources)
            else:
                weight = Weight(btag.nominal(**columns, counts=counts), {})
            found["btag"] = _taken(weight, at)
        return found

    def _quark_gluon(self, at: Ints, selected: Selected) -> Weight:
        from af_kit.corrections.quark_gluon import quark_gluon_weight

        jets, two = self._jets, np.flatnonzero(selected.n[at] >= 2)
        index = np.stack([selected.first[at[two]], selected.second[at[two]]], axis=1).ravel()
        weight = quark_gluon_weight(
            jets["partonFlavour"][index], jets["qgl"][index], jets["eta"][index],
            shower=self._sample.shower, counts=np.full(two.size, 2),
        )  # fmt: skip

        def spread(values: Any) -> Floats:
            full = np.ones(at.size)
            full[two] = values
            return full

        (pair,) = weight.variations.values()
        return Weight(spread(weight.nominal), {"quark_gluon": Pair(spread(pair.up), spread(pair.down))})

    def _pileup_id(self, correction: Any, at: Ints, selected: Selected, pt: Floats) -> Floats:
        jets = self._jets
        index = np.flatnonzero(selected.cleaned)
        counts = np.bincount(jets.event[index], minlength=len(selected.n))
        values: Floats = correction.weight(pt[index], jets["eta"][index], selected.mask[index], counts=counts)
        return values[at]


_WITH_THEORY = ("dy", "ewkzjj", "ggh", "vbf")


def pileup_sums(events: Any, generator: Floats, calibrations: Calibrations, *, varied: bool) -> dict[str, Any]:
    """Return the sums of generator weights over all events of a chunk: without and with each pile-up weight."""
    sums: dict[str, float] = {NOMINAL: float(generator.sum())}
    if (pileup := calibrations.get("pileup")) is not None:
        weight = pileup.weight(scalar(events, "Pileup_nTrueInt"))
        sums[NOMINAL] = float((generator * weight.nominal).sum())
        for source, pair in weight.variations.items() if varied else ():
            for direction in DIRECTIONS:
                sums[label_of(source, direction)] = float((generator * getattr(pair, direction)).sum())
    return {"generated": {"events": len(generator), "weight": float(generator.sum()), "pileup": sums}}


def _rows(events: Any, branch: str, chosen: Ints) -> Any:
    """Return a list of numbers per event, of the chosen events."""
    return events[branch][chosen]


def _taken(weight: Weight, at: Ints) -> Weight:
    return Weight(
        weight.nominal[at], {source: Pair(pair.up[at], pair.down[at]) for source, pair in weight.variations.items()}
    )


def _check(name: str, weight: Weight, dataset: str) -> None:
    """Refuse a weight that is not a number before it spoils every sum it enters."""
    for source, values in (("nominal", weight.nominal), *((s, v) for s, p in weight.variations.items() for v in p)):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise InputError(
                f"Dataset {dataset!r}: the weight {name!r} ({source}) is not a finite number in {bad} of "
                f"{values.size} selected events."
            )
