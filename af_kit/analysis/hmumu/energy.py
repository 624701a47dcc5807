"""The energies of the jets: corrected, and varied by the sources of uncertainty."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu.calibrations import Calibrations
from af_kit.analysis.hmumu.columns import Collection, scalar
from af_kit.analysis.hmumu.sample import Sample
from af_kit.analysis.hmumu.variations import Variation
from af_kit.corrections import jet_energy, jet_resolution

__all__ = ["JES", "Energies", "JetEnergies"]

JES = "jes_"
"""Prefix of the sources of the energy scale: ``jes_Absolute``."""

Floats = NDArray[np.float64]


class Energies(NamedTuple):
    """Transverse momenta and masses of all jets [GeV]."""

    pt: Floats
    mass: Floats


class JetEnergies:
    """The energies of the jets of chosen events.

    Parameters
    ----------
    events
        The events of the chunk.
    chosen
        Positions in the chunk of the events whose jets these are.
    jets
        The jets.
    sample, calibrations
        What they are, and the corrections.
    varied
        Whether variations are needed.

    Attributes
    ----------
    nominal : Energies
        With the campaign's energy scale; as in the file if that is switched off, or in data whose correction is not
        redone. They are not smeared.
    sources : tuple of str
        The sources that vary them: ``jes_NAME`` and ``jer1`` to ``jer6``; none in data.
    """

    def __init__(
        self,
        events: Any,
        chosen: NDArray[np.int64],
        jets: Collection,
        sample: Sample,
        calibrations: Calibrations,
        *,
        varied: bool,
    ) -> None:
        rho = calibrations.campaign.jets.rho

        def per_jet(branch: str) -> NDArray[Any]:
            return scalar(events, branch, chosen)[jets.event]

        scales = calibrations.get("jet_energy") or {}
        scale = scales.get("simulation" if sample.is_mc else "data")
        if scale is None:
            self.nominal = Energies(jets["pt"], jets["mass"])
        else:
            raw = jet_energy.raw(jets["pt"], jets["mass"], jets["rawFactor"])
            run = None if sample.is_mc else per_jet("run")
            self.nominal = Energies(
                *scale.corrected(*raw, eta=jets["eta"], phi=jets["phi"], area=jets["area"], rho=per_jet(rho), run=run)
            )
        self._shifts: dict[str, Floats] = {}
        self._resolution: dict[str, Any] = {}
        if not varied or not sample.is_mc:
            self.sources: tuple[str, ...] = ()
            return
        if (uncertainties := calibrations.get("jet_uncertainties")) is not None:
            shifts = uncertainties.relative_all(self.nominal.pt, jets["eta"])
            self._shifts = {f"{JES}{name}": values for name, values in shifts.items()}
        if (resolution := calibrations.get("jet_resolution")) is not None:
            numbers = (per_jet(name) for name in ("run", "luminosityBlock", "event"))
            self._resolution = resolution.variations(
                *self.nominal,
                eta=jets["eta"],
                phi=jets["phi"],
                rho=per_jet(rho),
                gen=_generator_jets(events, chosen, jets),
                gaussian=jet_resolution.jet_gaussian(*numbers, index=jets.position),
            )
        self.sources = (*self._shifts, *self._resolution)

    def of(self, variation: Variation | None) -> Energies:
        """Return the energies in a variation; nominal for None, or a source that does not concern jets."""
        if variation is None:
            return self.nominal
        if variation.source in self._shifts:
            shift = self._shifts[variation.source]
            factor = 1 + shift if variation.direction == "up" else 1 - shift
            return Energies(self.nominal.pt * factor, self.nominal.mass * factor)
        if variation.source in self._resolution:
            return Energies(*getattr(self._resolution[variation.source], variation.direction))
        return self.nominal


def _generator_jets(events: Any, chosen: NDArray[np.int64], jets: Collection) -> jet_resolution.GeneratorJet:
    """Return the generator jet of each jet; a pt of 0 where there is none."""
    generated = Collection(events, "GenJet", chosen, like="pt")
    index = jets["genJetIdx"].astype(np.int64)
    return jet_resolution.GeneratorJet(
        *(generated.at(jets.event, index, field, missing=0.0) for field in ("pt", "eta", "phi"))
    )
