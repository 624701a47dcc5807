"""The jet id of 2022, and weights for the efficiency of the pile-up jet id of Run 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.files import once_per_file
from af_kit.corrections.per_event import per_event, product
from af_kit.errors import InputError, nearest

__all__ = ["PileupIdWeights", "tight_jet_id_2022"]

_YEARS = ("2016", "2017", "2018")
# the pile-up id exists below this pt in GeV
_PILEUP_MAX_PT = 50.0


def tight_jet_id_2022(jets: Any, *, lepton_veto: bool = True) -> Any:
    """Return which Puppi jets of 2022 pass the tight jet id, computed from their energy fractions.

    ``Jet_jetId`` is wrong in NanoAOD v12 to v14 and absent later, so it is not read.

    Parameters
    ----------
    jets : record array
        With eta, neHEF, neEmEF, chHEF, chEmEF, muEF, chMultiplicity and neMultiplicity, as in NanoAOD.
    lepton_veto : bool
        Also require muEF < 0.8 and chEmEF < 0.8 where |eta| <= 2.7.
    """
    abs_eta = abs(jets.eta)
    # Two particles or more: the sum of the two bytes of a file would start again at 256.
    charged, neutral = jets.chMultiplicity, jets.neMultiplicity
    central = (
        (jets.neHEF < 0.99)
        & (jets.neEmEF < 0.9)
        & ((charged > 1) | (neutral > 1) | ((charged > 0) & (neutral > 0)))
        & (jets.chHEF > 0.01)
        & (jets.chMultiplicity > 0)
    )
    edge = (jets.neHEF < 0.90) & (jets.neEmEF < 0.99)
    endcap = jets.neHEF < 0.99
    forward = (jets.neMultiplicity >= 2) & (jets.neEmEF < 0.4)
    passing = (
        ((abs_eta <= 2.6) & central)
        | ((abs_eta > 2.6) & (abs_eta <= 2.7) & edge)
        | ((abs_eta > 2.7) & (abs_eta <= 3.0) & endcap)
        | ((abs_eta > 3.0) & forward)
    )
    if lepton_veto:
        passing = passing & ((abs_eta > 2.7) | ((jets.muEF < 0.8) & (jets.chEmEF < 0.8)))
    return passing


@dataclass(frozen=True, eq=False)
class PileupIdWeights:
    """Weights for the efficiency of the pile-up jet id of one year, from maps in pt and eta.

    Attributes
    ----------
    year : str
        ``"2016"``, ``"2017"`` or ``"2018"``.
    maps : dict
        ``"eff_mc_L"``, ``"eff_sf_L"``, ``"mistag_mc_L"``, ... to values of shape (pt, eta).
    pt_edges, eta_edges : array
        Edges of the maps; pt in GeV, eta with its sign.
    """

    year: str
    maps: Mapping[str, NDArray[np.float64]]
    pt_edges: NDArray[np.float64]
    eta_edges: NDArray[np.float64]

    @classmethod
    def load(cls, path: str | Path, *, year: str) -> PileupIdWeights:
        """Read the maps ``h2_eff_mc{year}_L`` etc. of a ROOT file; cached until the file changes."""
        return _read_maps(path, _known(year))

    def weight(
        self, pt: Any, eta: Any, passes: Any, *, has_generator_jet: Any = None, counts: Any = None
    ) -> NDArray[np.float64]:
        """Return the weight of each event.

        It is the product over its jets with 25 < pt < 50 GeV, of the scale factor s for jets that pass, and of
        (1 - s e) / (1 - e) for those that fail, with the efficiency e in simulation. The tight point is used for
        2.6 < |eta| < 3.0 in 2017, the loose one elsewhere.

        Parameters
        ----------
        pt, eta : array
            Of all jets that pass the selection but for this id: in lists per event, or flat with ``counts``.
        passes : array of bool
            Whether the jet passes the pile-up jet id.
        has_generator_jet : array of bool, optional
            Where false, the jet comes from pile-up, and the maps of mistagging are used. By default all jets use the
            maps of efficiency.
        counts : array of integers, optional
            The number of jets of each event.
        """
        given = {"pt": pt, "eta": eta, "passes": passes}
        if has_generator_jet is not None:
            given["has_generator_jet"] = has_generator_jet
        jets, counts = per_event(given, counts)
        in_pt = np.searchsorted(self.pt_edges, jets["pt"], side="right") - 1
        in_eta = np.searchsorted(self.eta_edges, jets["eta"], side="right") - 1
        used = (jets["pt"] > 25.0) & (jets["pt"] < _PILEUP_MAX_PT) & (in_eta >= 0) & (in_eta < len(self.eta_edges) - 1)
        abs_eta = np.abs(jets["eta"])
        tight = (abs_eta > 2.6) & (abs_eta < 3.0) & (self.year == "2017")
        real = jets.get("has_generator_jet", np.ones(len(used))) != 0
        values = np.ones(len(used))
        for kind, of_kind in (("eff", real), ("mistag", ~real)):
            for point, at_point in (("T", tight), ("L", ~tight)):
                rows = np.flatnonzero(used & of_kind & at_point)
                efficiency = self.maps[f"{kind}_mc_{point}"][in_pt[rows], in_eta[rows]]
                factor = self.maps[f"{kind}_sf_{point}"][in_pt[rows], in_eta[rows]]
                values[rows] = np.where(jets["passes"][rows] != 0, factor, _failing(efficiency, factor))
        return product(values, counts)


def _failing(efficiency: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ratio of failing jets in data and simulation; where data's efficiency would exceed 1, it is 0."""
    failing = 1.0 - efficiency
    return np.divide(np.maximum(1.0 - factor * efficiency, 0.0), failing, out=np.ones_like(failing), where=failing > 0)


@once_per_file
def _read_maps(path: str, year: str) -> PileupIdWeights:
    import uproot

    names = {
        f"{kind}_{what}_{point}": f"h2_{kind}_{what}{year}_{point}"
        for kind in ("eff", "mistag")
        for what in ("mc", "sf")
        for point in ("L", "T")
    }
    try:
        with uproot.open(path) as file:
            found = {key: file[name].to_numpy() for key, name in names.items()}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} has not all maps of the pile-up jet id of {year}, such as {names['eff_mc_L']}."
        ) from error
    _, pt_edges, eta_edges = found["eff_mc_L"]
    for key, (_, *edges) in found.items():
        if not (np.array_equal(edges[0], pt_edges) and np.array_equal(edges[1], eta_edges)):
            raise InputError(f"{names[key]} in {path} has other bins than {names['eff_mc_L']}.")
    maps = {key: np.asarray(values, dtype=float) for key, (values, *_) in found.items()}
    return PileupIdWeights(year, maps, np.asarray(pt_edges, dtype=float), np.asarray(eta_edges, dtype=float))


def _known(year: str) -> str:
    if year not in _YEARS:
        raise InputError(f"There are no weights for {year!r}.{nearest(str(year), _YEARS)}")
    return year
