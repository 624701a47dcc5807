"""Weights for the quark-gluon likelihood of simulated jets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.per_event import per_event
from af_kit.corrections.weight import Pair, Weight
from af_kit.errors import InputError, nearest

__all__ = ["quark_gluon_weight"]

# Polynomials in the likelihood, the highest power first: CMS's measurement for the parton shower of each generator.
_LIGHT_QUARK = {
    "pythia": (-0.666978, 0.929524, -0.255505, 0.981581),
    "herwig": (1.16636, -2.45101, 1.86096, 0.596896),
}
_GLUON = {
    "pythia": (-55.7067, 113.218, -21.1421, -99.927, 92.8668, -34.3663, 6.27, 0.612992),
    "herwig": (-63.2397, 111.455, -16.7487, -72.8429, 56.7714, -19.2979, 3.41825, 0.919838),
}


def quark_gluon_weight(
    parton_flavour: Any, qgl: Any, eta: Any, *, shower: str = "pythia", counts: Any = None
) -> Weight:
    """Return the weight of each event: the product of those of its two leading jets.

    A jet has a polynomial in its likelihood as weight if it comes from a light quark (u, d, s) or a gluon, and has
    |eta| < 2 and qgl > 0; else 1. Events with fewer than two jets have weight 1.

    Parameters
    ----------
    parton_flavour : array of integers
        NanoAOD's ``Jet_partonFlavour``: 0 if unknown, 21 for a gluon.
    qgl, eta : array
        NanoAOD's ``Jet_qgl``, and the pseudorapidity. Jets of the selection, the leading ones first in each event: in
        lists per event, or flat with ``counts``.
    shower : {"pythia", "herwig"}
        The parton shower of the sample.
    counts : array of integers, optional
        The number of jets of each event.

    Returns
    -------
    Weight
        Not normalised, with the variation ``"qgl"``: up is the square, down is 1. Normalise after all chunks are
        merged, over the selected events with at least two jets.

    Raises
    ------
    InputError
        The shower is unknown, a value is NaN, or counts do not fit.
    """
    if shower not in _GLUON:
        raise InputError(f"There is no quark-gluon weight for the shower {shower!r}.{nearest(shower, _GLUON)}")
    jets, counts = per_event({"partonFlavour": parton_flavour, "qgl": qgl, "eta": eta}, counts)
    first = (np.cumsum(counts) - counts)[counts >= 2]
    of_jets = [_of_jet({name: column[rows] for name, column in jets.items()}, shower) for rows in (first, first + 1)]
    nominal = np.ones(len(counts))
    nominal[counts >= 2] = of_jets[0] * of_jets[1]
    return Weight(nominal, {"qgl": Pair(up=nominal**2, down=np.ones(len(counts)))})


def _of_jet(jet: dict[str, NDArray[np.float64]], shower: str) -> NDArray[np.float64]:
    flavour = np.abs(jet["partonFlavour"])
    valid = (jet["qgl"] > 0) & (np.abs(jet["eta"]) < 2.0)
    light = valid & (flavour > 0) & (flavour < 4)
    gluon = valid & (flavour == 21)
    return np.where(
        light,
        np.polyval(_LIGHT_QUARK[shower], jet["qgl"]),
        np.where(gluon, np.polyval(_GLUON[shower], jet["qgl"]), 1.0),
    )
