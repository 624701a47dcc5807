"""The GeoFit correction: a muon's momentum from the constraint that it comes from the beam line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from af_kit.corrections.columns import columns
from af_kit.errors import InputError

__all__ = ["ABS_ETA_EDGES", "geofit"]

ABS_ETA_EDGES = (0.9, 1.7)
"""Where the factor changes; a muon on an edge has the factor of the larger |eta|."""


def geofit(pt: Any, eta: Any, dxybs: Any, *, charge: Any, recovered: Any, factors: Sequence[float]) -> Any:
    """Return the corrected transverse momenta.

    ``pt - f dxybs charge pt^2 / 10^4`` for muons without a recovered photon. The distance from the beam line is
    proportional to the error of the curvature, with a factor f from simulated muons from the beam line.

    Parameters
    ----------
    pt : array
        After the Rochester correction, in GeV.
    eta : array
        Of the muon.
    dxybs : array
        Signed transverse distance of the track from the beam spot, in cm (``Muon_dxybs``).
    charge : array
        1 or -1.
    recovered : array of bool
        Whether a photon was added to the muon (`fsr.Recovered.used`). Such a muon is unchanged; one whose photon was
        refused is corrected.
    factors : three numbers
        f for |eta| < 0.9, < 1.7 and above, in 1/(cm GeV): constants of the year.

    Returns
    -------
    array
        In the shape of the inputs. For a muon far from the beam line (one of cosmic rays) it can be negative: the
        formula is one for small distances.

    Raises
    ------
    InputError
        An input is NaN or infinite, the charge is not 1 or -1, or there are not three factors.

    Examples
    --------
    >>> from af_kit.corrections.geofit import geofit
    >>> muon = {"charge": [1], "recovered": [False]}
    >>> geofit([100.0], [0.5], [0.01], **muon, factors=(400.0, 600.0, 700.0)).tolist()
    [96.0]
    """
    constants = np.asarray(factors, dtype=np.float64)
    if constants.shape != (3,) or not np.isfinite(constants).all():
        raise InputError(f"GeoFit: factors must be three numbers, for |eta| < 0.9, < 1.7 and above, not {factors!r}.")
    inputs = {"pt": pt, "eta": eta, "dxybs": dxybs, "charge": charge, "recovered": recovered}
    (pt_, eta_, dxybs_, charge_, recovered_), restore = columns("GeoFit", inputs)
    if (np.abs(charge_) != 1).any():
        raise InputError("GeoFit: the charge must be 1 or -1.")
    factor = constants[np.searchsorted(ABS_ETA_EDGES, np.abs(eta_), side="right")]
    corrected = pt_ - factor * dxybs_ * charge_ * pt_ * pt_ / 1e4
    return restore(np.where(recovered_ != 0, pt_, corrected))
