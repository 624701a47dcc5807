"""Generator weights, their variations, and what the generator says about a Higgs boson's event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from af_kit.simulate.nano import radiation, tables
from af_kit.simulate.nano.momenta import Floats, momentum
from af_kit.simulate.nano.tables import Array, Table
from af_kit.simulate.nano.truth import Truth


@dataclass(frozen=True)
class Weights:
    """The weights of a generator.

    Attributes
    ----------
    size : float
        Size of genWeight.
    negative : float
        Fraction of negative weights.
    scales : int
        Variations of the renormalisation and factorisation scales: 9, 8 (without the nominal one), 44 (with the
        choices of older generators), or 0.
    pdf : (int, int)
        First and last LHA id of the PDF members.
    """

    size: float = 1.0
    negative: float = 0.0
    scales: int = 9
    pdf: tuple[int, int] = (91400, 91432)

    @property
    def pdf_members(self) -> int:
        """Number of PDF variations, with the nominal one."""
        return self.pdf[1] - self.pdf[0] + 1

    @property
    def titles(self) -> dict[str, str]:
        """The titles of NanoAOD, from which an analysis learns which PDF set it has."""
        first, last = self.pdf
        steps = " ; ".join(f"[{i}] is muR={r} muF={f}" for i, (r, f) in enumerate(_SCALES))
        titles = {"LHEPdfWeight": f"LHE pdf variation weights (w_var / w_nominal) for LHA IDs {first} - {last}"}
        if self.scales == 9:
            titles["LHEScaleWeight"] = f"LHE scale variation weights (w_var / w_nominal); {steps} "
        return titles


_SCALES = [(r, f) for r in (0.5, 1.0, 2.0) for f in (0.5, 1.0, 2.0)]


def columns(generator: np.random.Generator, truth: Truth, weights: Weights) -> dict[str, Array]:
    """Return genWeight and its variations; the names of the variations are collections of their own."""
    size = truth.events
    sign = np.where(generator.random(size) < weights.negative, -1.0, 1.0)
    weight = weights.size * sign * (generator.lognormal(0, 0.02, size) if weights.size > 100 else 1.0)
    harder = np.log1p(truth.boson_pt / 100)  # variations grow with the momentum of the event
    return {
        "genWeight": weight,
        "Generator_weight": weight,
        "LHEWeight_originalXWGTUP": weight,
        "LHEScaleWeight": _scales(harder, weights.scales).ravel(),
        "LHEPdfWeight": _pdf(harder, truth.y, weights.pdf_members).ravel(),
        "PSWeight": (1 + np.outer(0.5 + harder, [-0.04, -0.08, 0.03, 0.06])).ravel(),
    }


def beams(generator: np.random.Generator, truth: Truth, hadronic: Table, least: float = 91.0) -> dict[str, Array]:
    """Return the columns about the incoming partons and the generated jets."""
    size = truth.events
    scale = np.hypot(truth.boson_pt, least)
    x = scale / 13_000
    hard = hadronic["pt"] > 20
    event, parton = hadronic["event"][hard], np.abs(hadronic["parton"][hard])

    def number(of: Array) -> Array:
        return np.bincount(event[of], minlength=size)

    found: dict[str, Array] = {
        "Generator_scalePDF": scale,
        "Generator_x1": np.clip(x * np.exp(truth.y), 0, 0.9),
        "Generator_x2": np.clip(x * np.exp(-truth.y), 0, 0.9),
        "Generator_id1": generator.choice([1, 2, 3, 21, -1, -2], size),
        "Generator_id2": generator.choice([1, 2, 3, 21, -1, -2], size),
        "LHE_HT": tables.sums(event, hadronic["pt"][hard], size),
        "LHE_Vpt": truth.boson_pt,
        "LHE_Njets": number(parton >= 0),
        "LHE_Nb": number(parton == 5),
        "LHE_Nc": number(parton == 4),
        "LHE_Nuds": number((parton > 0) & (parton < 4)),
        "LHE_Nglu": number(parton == 21),
        "LHE_NpNLO": np.minimum(number(parton >= 0), 2),
        "GenMET_pt": np.hypot(*truth.neutrinos),
        "GenMET_phi": np.arctan2(truth.neutrinos[1], truth.neutrinos[0]),
    }
    return found


def higgs(truth: Truth, hadronic: Table) -> dict[str, Array]:
    """Return the simplified template cross-sections' columns; the codes are those of vector-boson fusion."""
    size = truth.events
    jets = tables.take(hadronic, hadronic["pt"] > 30)
    number = tables.counts(jets, size)
    return {
        "HTXS_Higgs_pt": truth.boson_pt,
        "HTXS_Higgs_y": truth.y,
        "HTXS_njets30": np.minimum(number, 255),
        "HTXS_stage1_1_fine_cat_pTjet30GeV": _stage_1_1_fine(truth, jets, number),
    }


def _stage_1_1_fine(truth: Truth, jets: Table, number: Array) -> Array:
    """Return the bin of stage 1.1, fine, for qq to Hqq: 200 forward, 201 no jet, 202 one jet, from 203 on two jets.

    Bins of the dijet mass, each for a small and a large momentum of the Higgs boson and the jets; the Higgs boson's
    momentum is above 200 GeV from bin 217 on.
    """
    size = truth.events
    mass = radiation.dijet_mass(jets, size)
    if tables.size(jets):
        first, second = (tables.leading(jets, size, rank)[0] for rank in (0, 1))
        p = momentum(jets["pt"], jets["eta"], jets["phi"], jets["mass"])
        px, py = (p[axis, first] + p[axis, second] for axis in (0, 1))
        balance = np.hypot(px + truth.boson[0], py + truth.boson[1]) > 25
    else:
        balance = np.zeros(size, bool)
    edge = np.searchsorted([60, 120, 350, 700, 1000, 1500], mass, side="right")
    # Below 350: three bins of mass with little momentum, then the same three with much.
    low = 203 + edge + 3 * balance
    high = 209 + 2 * (edge - 3) + balance
    boosted = 217 + 2 * (edge - 3) + balance
    two = np.where(edge < 3, low, np.where(truth.boson_pt > 200, boosted, high))
    code = np.select([number == 0, number == 1], [201, 202], two)
    return np.where(np.abs(truth.y) > 2.5, 200, code)


def _scales(harder: Floats, number: int) -> Floats:
    """Return the scale variations, one row per event."""
    r, f = np.log2(np.array(_SCALES)).T

    def variation(r: Any, f: Any) -> Floats:
        return 1 - np.outer(0.04 + 0.06 * harder, np.atleast_1d(r)) - np.outer(0.02 + 0.01 * harder, np.atleast_1d(f))

    nine = variation(r, f)
    if number == 9:
        return nine
    if number == 8:
        return np.delete(nine, 4, axis=1)
    if number == 44:
        # Pairs of renormalisation at 5 and 34, of factorisation at 15 and 24; the others repeat all combinations.
        many = np.tile(nine, (1, 5))[:, :44]
        for index, (of_r, of_f) in {5: (-1, 0), 34: (1, 0), 15: (0, -1), 24: (0, 1)}.items():
            many[:, index] = variation(of_r, of_f)[:, 0]
        return many
    return np.empty((harder.size, 0))


def _pdf(harder: Floats, y: Floats, members: int) -> Floats:
    """Return the PDF variations, one row per event: smooth in the event's kinematics, of a few per mille."""
    k = np.arange(members)
    size = 0.004 * np.cos(1.7 * k + 0.3) * (k > 0)
    return 1 + np.outer(1 + 0.5 * harder, size) + np.outer(0.2 * y, 0.01 * np.sin(2.3 * k) * (k > 0))
