"""The mass resolution of a pair: the formula, by a small change of momenta, and the calibration maps."""

from __future__ import annotations

import numpy as np
import pytest
import uproot
import vector
from cms_files import cms_file

from af_kit.corrections.mass_resolution import Calibration, mass_resolution
from af_kit.errors import InputError


def mass(pt1: float, pt2: float) -> float:
    first = vector.obj(pt=pt1, eta=0.5, phi=0.0, mass=0.10566)
    return float((first + vector.obj(pt=pt2, eta=-1.0, phi=2.9, mass=0.10566)).mass)


def test_the_resolution_is_the_propagated_error_of_the_momenta() -> None:
    pt1, pt2, error1, error2, step = 60.0, 40.0, 0.9, 0.5, 1e-4
    of_first = (mass(pt1 + step, pt2) - mass(pt1 - step, pt2)) / (2 * step) * error1
    of_second = (mass(pt1, pt2 + step) - mass(pt1, pt2 - step)) / (2 * step) * error2
    muons = (np.array([pt1]), np.array([pt2]))
    found = mass_resolution(np.array([mass(pt1, pt2)]), pt=muons, pt_error=(np.array([error1]), np.array([error2])))
    assert found.absolute[0] == pytest.approx(np.hypot(of_first, of_second), rel=1e-4)
    assert found.relative[0] == pytest.approx(found.absolute[0] / mass(pt1, pt2))


def test_the_calibration_multiplies() -> None:
    found = mass_resolution(np.array([125.0]), pt=(50.0, 50.0), pt_error=(0.5, 0.5), calibration=np.array([1.1]))
    assert found.absolute[0] == pytest.approx(1.1 * 125 * 0.005 * np.sqrt(2))


def test_a_pair_of_mass_zero_has_a_relative_resolution() -> None:
    found = mass_resolution(np.array([0.0]), pt=(50.0, 50.0), pt_error=(0.5, 0.5))
    assert (found.absolute[0], found.relative[0]) == (0.0, pytest.approx(0.005 * np.sqrt(2)))


def test_bad_muons_are_refused() -> None:
    with pytest.raises(InputError, match="pt must be positive"):
        mass_resolution(np.array([90.0]), pt=(50.0, 0.0), pt_error=(0.5, 0.5))
    with pytest.raises(InputError, match="pt_error2 is nan"):
        mass_resolution(np.array([90.0]), pt=(50.0, 50.0), pt_error=(0.5, np.nan))


def test_the_map_takes_the_leading_pt_and_both_abs_eta(write_root, table) -> None:
    values = np.arange(8.0).reshape(2, 2, 2)
    path = write_root("map.root", {"map": table([0, 45, 9999], [0, 0.9, 2.4], [0, 0.9, 2.4], values=values)})
    calibration = Calibration.load(path)
    found = calibration.factor(np.array([50.0, 20.0, 20.0, 1e5]), np.array([0, -1, 0, 3]), np.array([-1, 0, 2.4, -2]))
    assert found.tolist() == [5, 2, 1, 7]


def test_a_file_with_two_maps_is_refused(write_root, table) -> None:
    one = table([0, 1], [0, 1], [0, 1], values=[[[1.0]]])
    with pytest.raises(InputError, match="2 histograms of three dimensions"):
        Calibration.load(write_root("map.root", {"a": one, "b": one}))


@pytest.mark.parametrize("year", [2016, 2017, 2018])
def test_the_real_maps(year: int) -> None:
    for sample in ("Data", "MC"):
        path = cms_file(f"run2/resolution/res_calib_{sample}_{year}.root")
        values = uproot.open(path)[f"res_calib_{sample}_{year}"].values()
        found = Calibration.load(path).factor(np.array([50.0]), np.array([-2.0]), np.array([1.0]))
        assert found[0] == values[1, 2, 1]
