"""The jet energy resolution: smear simulated jets so that their resolution is that of data, and its variations.

resolution = JetResolution.load([resolution_file, scale_factor_file])
gen = generator_jet(events.Jet.genJetIdx, events.GenJet)
gaussian = jet_gaussian(events.run, events.luminosityBlock, events.event, index=ak.local_index(events.Jet.pt))
smeared = resolution.smeared(pt, mass, eta=..., phi=..., rho=..., gen=gen, gaussian=gaussian)
smeared.nominal.pt, smeared.up.pt, smeared.down.pt

``pt`` is that of jets whose energy scale has been corrected, see `jet_energy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections import randoms
from af_kit.corrections.jet_energy import Kinematics
from af_kit.corrections.jet_lib import LibCorrection, read_corrections
from af_kit.corrections.jet_matching import GeneratorJet, generator_jet, matches
from af_kit.corrections.jet_text import TextTable, read_table
from af_kit.corrections.per_event import numbers
from af_kit.corrections.shapes import flatten
from af_kit.corrections.weight import Pair
from af_kit.errors import InputError

__all__ = ["REGIONS", "GeneratorJet", "JetResolution", "ScaleFactors", "Smeared", "generator_jet", "jet_gaussian"]

REGIONS = {
    "jer1": (0.0, 1.93, 0.0, np.inf),
    "jer2": (1.93, 2.5, 0.0, np.inf),
    "jer3": (2.5, 3.0, 0.0, 50.0),
    "jer4": (2.5, 3.0, 50.0, np.inf),
    "jer5": (3.0, 5.0, 0.0, 50.0),
    "jer6": (3.0, 5.0, 50.0, np.inf),
}
"""Lower and upper limit of |eta| and of pt in GeV for each variation of `JetResolution.variations`; the lower limits
are inclusive."""

# smeared jets keep at least this energy in GeV, as in CMS's reference implementation
_MIN_ENERGY = 0.01


class ScaleFactors(NamedTuple):
    """Ratio of the resolutions in data and simulation, for each jet."""

    nominal: Any
    up: Any
    down: Any


class Smeared(NamedTuple):
    """Smeared jets, in the shape of the inputs."""

    nominal: Kinematics
    up: Kinematics
    down: Kinematics
    matched: Any
    """Whether the jet was scaled with its generator jet; the others were smeared with a random number."""


def jet_gaussian(run: Any, luminosity_block: Any, event: Any, *, index: Any) -> Any:
    """Return one number per jet from a normal distribution, which depends on the event's own numbers only.

    Parameters
    ----------
    run, luminosity_block, event : array of integers
        Per event, or per jet.
    index : array of integers
        The index of the jet in the file's order: of sorted or selected jets, the index before. The same jet then gets
        the same number in the nominal selection and in every variation.
    """
    flat, restore = flatten({"run": run, "luminosityBlock": luminosity_block, "event": event, "index": index})
    return restore(
        randoms.normal(flat["run"], flat["luminosityBlock"], flat["event"], index=flat["index"], stream="jer")
    )


@dataclass(frozen=True, eq=False)
class JetResolution:
    """The relative resolution of jets in simulation, and its scale factors."""

    resolution: TextTable | LibCorrection
    factors: TextTable | LibCorrection

    @classmethod
    def load(cls, paths: str | Path | Sequence[str | Path], *, names: Sequence[str] | None = None) -> JetResolution:
        """Read resolution and scale factors; cached until a file changes.

        Parameters
        ----------
        paths : path or sequence of paths
            The two text files, in any order. Or, with ``names``, one correctionlib file.
        names : sequence of two str, optional
            Resolution and scale factor in the correctionlib file, such as
            ``"Summer22_22Sep2023_JRV1_MC_PtResolution_AK4PFPuppi"`` and ``"..._ScaleFactor_AK4PFPuppi"``.

        Raises
        ------
        InputError
            A file cannot be read, or the two are not a resolution and its scale factors.
        """
        files = [paths] if isinstance(paths, (str, Path)) else list(paths)
        if names is not None:
            if len(files) != 1 or len(names) != 2:
                raise InputError("With names, pass one correctionlib file, and the names of resolution and factor.")
            resolution, factors = (read_corrections(files[0], tuple(names))[name] for name in names)
            if "Rho" not in resolution.inputs or "systematic" not in factors.inputs:
                raise InputError(
                    f"{names[0]} and {names[1]} are not a resolution and its scale factors, in this order."
                )
            return cls(resolution, factors)
        tables = {table.quantity: table for table in map(read_table, files)}
        if set(tables) != {"Resolution", "ScaleFactor"} or len(files) != 2:
            found = ", ".join(f"{file} ({read_table(file).quantity})" for file in files)
            raise InputError(f"Pass one file with a Resolution and one with a ScaleFactor, not {found}.")
        if len(tables["ScaleFactor"].parameters) != 3:
            raise InputError("The file of scale factors does not have the columns nominal, down, up.")
        return cls(tables["Resolution"], tables["ScaleFactor"])

    def sigma(self, pt: Any, eta: Any, rho: Any) -> Any:
        """Return the relative resolution of pt in simulation: 0 outside the file's range in eta.

        Parameters
        ----------
        pt, eta, rho : array
            Of corrected jets; pt and rho in GeV. A rho beyond the file's range is moved to its edge.
        """
        flat, restore = flatten({"JetPt": pt, "JetEta": eta, "Rho": rho})
        return restore(self._sigma(numbers(flat)))

    def scale_factors(self, pt: Any, eta: Any) -> ScaleFactors:
        """Return the scale factors of the resolution: 1 outside the file's range in eta and pt."""
        flat, restore = flatten({"JetPt": pt, "JetEta": eta})
        return ScaleFactors(*map(restore, self._factors(numbers(flat))))

    def smeared(self, pt: Any, mass: Any, *, eta: Any, phi: Any, rho: Any, gen: GeneratorJet, gaussian: Any) -> Smeared:
        """Smear jets with the hybrid method.

        A jet matches its generator jet if Delta R < 0.2 and |pt - pt_gen| < 3 sigma pt, with the relative resolution
        sigma. Its pt is then scaled to pt_gen + s (pt - pt_gen), with the scale factor s. The pt of any other jet is
        multiplied by 1 + g sigma sqrt(max(s^2 - 1, 0)), with the Gaussian number g: it is not changed where s < 1.

        Parameters
        ----------
        pt, mass : array
            Of jets whose energy scale is corrected, in GeV, flat or in lists per event.
        eta, phi : array
            Of the jets.
        rho : array
            The event's energy density in GeV, per jet or per event.
        gen : GeneratorJet
            See `generator_jet`. No generator jet: a pt of 0 or less, NaN, or None.
        gaussian : array
            See `jet_gaussian`; the same number is used for nominal, up and down.

        Returns
        -------
        Smeared
            Nominal jets, with the scale factor's upper and lower value, and which jets were matched. A jet keeps an
            energy of at least 0.01 GeV; its mass scales with pt. Outside the range of the files a jet is not smeared.

        Raises
        ------
        InputError
            A value of the jets is NaN, or shapes differ.
        """
        jets, restore = _prepare(pt, mass, eta, phi, rho, gen, gaussian)
        sigma = self._sigma(jets)
        matched = matches(jets, sigma)
        nominal, up, down = (
            _scaled(jets, _smearing(jets, sigma, factor, matched), restore) for factor in self._factors(jets)
        )
        return Smeared(nominal, up, down, restore(matched) != 0)  # shapes restore numbers

    def variations(
        self, pt: Any, mass: Any, *, eta: Any, phi: Any, rho: Any, gen: GeneratorJet, gaussian: Any
    ) -> dict[str, Pair]:
        """Return the six variations of an analysis whose nominal jets are not smeared.

        The resolution of simulation is better than that of data, so smearing in itself is the upward variation. The
        downward one narrows the jets by the relative uncertainty of the scale factor s:

        - up: smeared as in `smeared` with the nominal s: matched jets are scaled with their generator jet, all others
          are smeared with their Gaussian number;
        - down: pt_gen + (pt - pt_gen) s_down / s for matched jets; jets without a match keep their nominal pt, because
          there is nothing to narrow them towards.

        Each variation applies to the jets of one region of |eta| and pt, before smearing, and leaves all others
        nominal; see `REGIONS`.

        Parameters
        ----------
        pt, mass, eta, phi, rho, gen, gaussian
            As for `smeared`.

        Returns
        -------
        dict
            ``"jer1"`` to ``"jer6"``, each a `Pair` of `Kinematics` of all jets, in the shape of the inputs.
        """
        jets, restore = _prepare(pt, mass, eta, phi, rho, gen, gaussian)
        sigma = self._sigma(jets)
        matched = matches(jets, sigma)
        nominal, _, down = self._factors(jets)
        wider = _smearing(jets, sigma, nominal, matched)
        narrower = np.where(matched, _towards_generator(jets, down / nominal), 1.0)
        abs_eta = np.abs(jets["JetEta"])
        varied = {}
        for name, (low_eta, high_eta, low_pt, high_pt) in REGIONS.items():
            inside = (abs_eta >= low_eta) & (abs_eta < high_eta) & (jets["JetPt"] >= low_pt) & (jets["JetPt"] < high_pt)
            varied[name] = Pair(
                up=_scaled(jets, np.where(inside, wider, 1.0), restore),
                down=_scaled(jets, np.where(inside, narrower, 1.0), restore),
            )
        return varied

    def _sigma(self, jets: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        sigma = self.resolution.evaluate(jets, outside=0.0, clamp=("Rho",))
        if isinstance(self.resolution, LibCorrection):  # it returns 1 outside
            low, high = self.resolution.limits["JetEta"]
            sigma = np.where((jets["JetEta"] >= low) & (jets["JetEta"] < high), sigma, 0.0)
        return sigma

    def _factors(self, jets: Mapping[str, NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
        """Return the nominal, upper and lower scale factor."""
        if isinstance(self.factors, LibCorrection):
            return tuple(
                self.factors.evaluate({**jets, "systematic": systematic}) for systematic in ("nom", "up", "down")
            )
        rows = self.factors.rows(jets)
        nominal, down, up = self.factors.parameters  # the order of the file
        return tuple(np.where(rows >= 0, column[rows], 1.0) for column in (nominal, up, down))


def _prepare(
    pt: Any, mass: Any, eta: Any, phi: Any, rho: Any, gen: GeneratorJet, gaussian: Any
) -> tuple[dict[str, NDArray[np.float64]], Any]:
    given = {"JetPt": pt, "JetMass": mass, "JetEta": eta, "JetPhi": phi, "Rho": rho, "gaussian": gaussian}
    given |= {f"gen_{name}": _present(values) for name, values in gen._asdict().items()}
    flat, restore = flatten(given)
    for name in gen._fields:
        flat[f"gen_{name}"] = np.nan_to_num(np.asarray(flat[f"gen_{name}"], dtype=float), nan=0.0)
    return numbers(flat), restore


def _present(values: Any) -> Any:
    """Return values with 0 where they are None: a missing generator jet must not remove the jet."""
    import awkward as ak

    return ak.fill_none(values, 0.0, axis=-1) if isinstance(values, ak.Array) else values


def _smearing(
    jets: Mapping[str, NDArray[np.float64]],
    sigma: NDArray[np.float64],
    factor: NDArray[np.float64],
    matched: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the ratio of smeared and unsmeared pt."""
    width = sigma * np.sqrt(np.maximum(factor * factor - 1.0, 0.0))
    return np.where(matched, _towards_generator(jets, factor), 1.0 + jets["gaussian"] * width)


def _towards_generator(jets: Mapping[str, NDArray[np.float64]], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ratio to pt of pt_gen + factor (pt - pt_gen)."""
    pt = jets["JetPt"]
    return 1.0 + (factor - 1.0) * np.divide(pt - jets["gen_pt"], pt, out=np.zeros_like(pt), where=pt > 0)


def _scaled(jets: Mapping[str, NDArray[np.float64]], ratio: NDArray[np.float64], restore: Any) -> Kinematics:
    pt, mass = jets["JetPt"], jets["JetMass"]
    energy = np.sqrt((pt * np.cosh(jets["JetEta"])) ** 2 + mass * mass)
    least = np.divide(_MIN_ENERGY, energy, out=np.ones_like(energy), where=energy > _MIN_ENERGY)
    ratio = np.maximum(ratio, least)
    return Kinematics(restore(pt * ratio), restore(mass * ratio))
