"""Recovery of final-state radiation: each cut, the sum of the four-momenta, and the isolation."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import vector

from af_kit.corrections import fsr
from af_kit.errors import InputError

MUON = {"pt": 40.0, "eta": 0.5, "phi": 3.1, "mass": 0.10566, "iso": 0.2}
PHOTON = {
    "photon_pt": 8.0, "photon_eta": 0.6, "photon_phi": -3.1, "photon_iso": 0.3, "photon_dr_over_et2": 0.003,
}  # fmt: skip
NONE = dict.fromkeys(PHOTON, np.nan)


def recover(**change: float) -> fsr.Recovered:
    return fsr.recover(**{name: np.array([value]) for name, value in {**MUON, **PHOTON, **change}.items()})


def test_the_four_momenta_are_added_in_full() -> None:
    found = recover()
    muon = vector.obj(pt=40.0, eta=0.5, phi=3.1, mass=0.10566)
    total = muon + vector.obj(pt=8.0, eta=0.6, phi=-3.1, mass=0.0)
    assert found.used.tolist() == [True]
    assert [found.pt[0], found.eta[0], found.phi[0]] == pytest.approx([total.pt, total.eta, total.phi], rel=1e-12)
    assert found.mass[0] == pytest.approx(total.mass, rel=1e-9)
    assert found.mass[0] > 1.0  # not the muon's mass
    assert found.iso[0] == pytest.approx((0.2 * 40 - 8) / total.pt)


def test_a_photon_along_the_muon_keeps_the_mass() -> None:
    found = recover(photon_eta=0.5, photon_phi=3.1)
    total = vector.obj(pt=40.0, eta=0.5, phi=3.1, mass=0.10566) + vector.obj(pt=8.0, eta=0.5, phi=3.1, mass=0.0)
    assert found.pt[0] == pytest.approx(48)
    assert found.mass[0] == pytest.approx(np.sqrt(0.10566**2 * 1.2), rel=1e-4)
    assert found.mass[0] == pytest.approx(total.mass, rel=1e-3)


@pytest.mark.parametrize(
    "change",
    [{"photon_iso": 1.8}, {"photon_dr_over_et2": 0.012}, {"photon_pt": 16.0}, {"photon_eta": -2.4}, NONE],
    ids=["isolation", "distance", "pt ratio", "eta", "no photon"],
)
def test_a_refused_photon_changes_nothing(change: dict[str, float]) -> None:
    found = recover(**change)
    assert found.used.tolist() == [False]
    assert [found.pt[0], found.eta[0], found.phi[0], found.mass[0], found.iso[0]] == list(MUON.values())


def test_each_cut_is_just_passed() -> None:
    close = {"photon_iso": 1.799, "photon_dr_over_et2": 0.01199, "photon_pt": 15.99, "photon_eta": 2.399}
    assert recover(**close).used.all()


def test_jagged_muons() -> None:
    inputs = {name: ak.Array([[value, value], [], [value]]) for name, value in MUON.items()}
    inputs |= {name: ak.Array([[value, np.nan], [], [np.nan]]) for name, value in PHOTON.items()}
    found = fsr.recover(**inputs)
    assert found.used.tolist() == [[True, False], [], [False]]
    assert ak.num(found.mass).tolist() == [2, 0, 1]
    assert found.pt[0, 1] == 40.0


def test_inputs_stay_as_they_are() -> None:
    inputs = {name: np.array([value]) for name, value in {**MUON, **PHOTON}.items()}
    for array in inputs.values():
        array.flags.writeable = False
    found = fsr.recover(**inputs)
    found.eta[:] = 0  # its own array
    assert inputs["eta"][0] == MUON["eta"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photon_iso": np.nan}, "photon_iso and photon_pt are not NaN for the same muons"),
        ({"photon_pt": np.nan}, "photon_eta and photon_pt are not NaN for the same muons"),
        ({"iso": np.nan}, "iso is nan"),
        ({"pt": -1.0}, "pt must be positive"),
    ],
)
def test_bad_inputs_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recover(**change)
