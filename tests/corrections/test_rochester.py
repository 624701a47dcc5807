"""The Rochester correction: against the formulas written out for one muon, and the published reference values."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import rochester_files
from cms_files import cms_file

from af_kit.corrections.rochester import Rochester
from af_kit.errors import InputError

PT = np.array([20.0, 45.0, 60.0, 300.0, 33.0])
ETA = np.array([-2.3, -0.1, 0.0, 1.5, 2.9])
PHI = np.array([-3.1, -0.2, 1.0, 3.1, 0.1])
CHARGE = np.array([1, -1, 1, -1, 1])
LAYERS = np.array([3, 7, 8, 30, 6])


@pytest.fixture
def small(tmp_path: Path):
    path = tmp_path / "roccor.txt"
    tables = rochester_files.write(path)
    return Rochester.load(path), tables


def expected(of_member) -> tuple[list[float], list[float]]:
    """Return the factor of each muon, and the error from the sets of 1, 2 and 1 members."""
    values = np.array([[of_member(member, i) for member in range(4)] for i in range(len(PT))])
    difference = (values - values[:, :1]) ** 2
    return values[:, 0].tolist(), np.sqrt(difference[:, 1:3].mean(axis=1) + difference[:, 3]).tolist()


def test_data(small) -> None:
    rochester, tables = small
    found = rochester.data(PT, ETA, PHI, CHARGE)
    factor, error = expected(lambda m, i: rochester_files.scale(tables, m, 1, PT[i], ETA[i], PHI[i], CHARGE[i]))
    assert found.factor == pytest.approx(factor, rel=1e-12)
    assert found.error == pytest.approx(error, rel=1e-9)
    without = rochester.data(PT, ETA, PHI, CHARGE, errors=False)
    assert without.error is None
    np.testing.assert_array_equal(without.factor, found.factor)


def test_simulation_with_and_without_match(small) -> None:
    rochester, tables = small
    gen_pt = np.array([20.4, np.nan, 58.0, np.nan, np.nan])
    random = np.array([np.nan, 0.3, 0.5, 0.001, 0.99])

    def of_member(member: int, i: int) -> float:
        k = rochester_files.scale(tables, member, 0, PT[i], ETA[i], PHI[i], CHARGE[i])
        if math.isnan(gen_pt[i]):
            return rochester_files.smear(tables, member, k, PT[i], ETA[i], int(LAYERS[i]), random[i])
        return rochester_files.spread(tables, member, k, PT[i], ETA[i], gen_pt[i])

    factor, error = expected(of_member)
    found = rochester.simulation(PT, ETA, PHI, CHARGE, gen_pt=gen_pt, layers=LAYERS, random=random)
    assert found.factor == pytest.approx(factor, rel=1e-12)
    assert found.error == pytest.approx(error, rel=1e-9)
    without = rochester.simulation(PT, ETA, PHI, CHARGE, gen_pt=gen_pt, layers=LAYERS, random=random, errors=False)
    assert without.error is None
    np.testing.assert_array_equal(without.factor, found.factor)


def test_jagged_muons_and_an_empty_chunk(small) -> None:
    rochester, _ = small
    counts = [2, 0, 3]
    jagged = [ak.unflatten(column, counts) for column in (PT, ETA, PHI, CHARGE)]
    flat = rochester.data(PT, ETA, PHI, CHARGE)
    found = rochester.data(*jagged)
    assert ak.num(found.factor).tolist() == counts
    assert ak.flatten(found.error).tolist() == flat.error.tolist()
    assert len(rochester.data(*(column[:0] for column in (PT, ETA, PHI, CHARGE))).factor) == 0


def test_the_result_does_not_depend_on_the_other_muons_of_the_chunk(small) -> None:
    rochester, _ = small
    many = [np.tile(column, 200) for column in (PT, ETA, PHI, CHARGE)]
    np.testing.assert_array_equal(
        rochester.data(*many).error.reshape(200, -1), np.tile(rochester.data(PT, ETA, PHI, CHARGE).error, (200, 1))
    )


def test_it_can_be_sent_to_workers(small) -> None:
    rochester, _ = small
    again = pickle.loads(pickle.dumps(rochester))
    np.testing.assert_array_equal(again.data(PT, ETA, PHI, CHARGE), rochester.data(PT, ETA, PHI, CHARGE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pt": 0.0}, "pt must be positive"),
        ({"pt": np.nan}, "pt is nan"),
        ({"phi": 4.0}, "phi must be in"),
        ({"charge": 0}, "charge must be 1 or -1"),
        ({"gen_pt": -1.0}, "It is NaN for one without match"),
        ({"gen_pt": 0.0}, "It is NaN for one without match"),
        ({"gen_pt": np.nan, "random": np.nan}, "need a random number"),
        ({"gen_pt": np.nan, "random": 1.0}, "need a random number"),
        ({"layers": np.nan}, "layers is nan"),
    ],
)
def test_bad_muons_are_refused(small, change: dict, message: str) -> None:
    rochester, _ = small
    muon = {"pt": 30.0, "eta": 0.1, "phi": 0.1, "charge": 1, "gen_pt": 30.0, "layers": 12, "random": 0.5, **change}
    with pytest.raises(InputError, match=message):
        rochester.simulation(**{name: np.array([value]) for name, value in muon.items()})


def test_the_reference_values_of_data(nano_dimuon) -> None:
    rochester = Rochester.load(cms_file("RoccoR2018.txt.gz"))
    muons = nano_dimuon.arrays(["Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge"])
    found = rochester.data(muons.Muon_pt, muons.Muon_eta, muons.Muon_phi, muons.Muon_charge)
    assert len(ak.flatten(found.factor)) == 84
    np.testing.assert_allclose(ak.flatten(found.factor), np.load(cms_file("nano_dimuon_rochester.npy")), rtol=1e-12)
    np.testing.assert_allclose(ak.flatten(found.error), np.load(cms_file("nano_dimuon_rochester_err.npy")), rtol=1e-9)


def test_the_reference_values_of_simulation(nano_dy) -> None:
    rochester = Rochester.load(cms_file("RoccoR2018.txt.gz"))
    muons = nano_dy.arrays(["Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge"])
    others = nano_dy.arrays(["Muon_genPartIdx", "Muon_nTrackerLayers", "GenPart_pt"])
    index = others.Muon_genPartIdx
    gen_pt = ak.fill_none(others.GenPart_pt[ak.mask(index, index >= 0)], np.nan)
    assert np.sum(np.isnan(ak.flatten(gen_pt))) == 2
    random = ak.unflatten(np.load(cms_file("nano_dy_rochester_rand.npy")), ak.num(index))
    found = rochester.simulation(
        muons.Muon_pt, muons.Muon_eta, muons.Muon_phi, muons.Muon_charge,
        gen_pt=gen_pt, layers=others.Muon_nTrackerLayers, random=random,
    )  # fmt: skip
    # the reference was calculated in single precision in part
    np.testing.assert_allclose(ak.flatten(found.factor), np.load(cms_file("nano_dy_rochester.npy")), rtol=1e-9)
    np.testing.assert_allclose(ak.flatten(found.error), np.load(cms_file("nano_dy_rochester_err.npy")), rtol=1e-6)
