"""Muon scale factors: for simulation only, by year, with variations; muons outside the range are counted."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import correctionlib
import numpy as np
import pytest

from af_kit.analysis import dsphipi
from af_kit.analysis.dsphipi.scale_factors import NAME, VARIATIONS
from af_kit.errors import InputError

REAL = Path(__file__).parents[4] / "shared" / "cms" / "Efficiency_muon_trackerMuon_Run2017_UL_ID_schemaV2.json"
MC = {"dataset": "mc", "isMC": True, "era": "2017B"}


@pytest.fixture
def path(tmp_path, make_muon_sf):
    target = tmp_path / "muon_Run2017_UL_ID.json"
    target.write_text(make_muon_sf())
    return target


def test_a_weight_is_the_product_of_both_muons_varied_together(path):
    pt, eta = (
        [np.array([3.5, 7.0, 50.0]), np.array([5.0, 20.0, 3.1])],
        [np.array([0.1, -1.0, 2.0]), np.array([-2.3, 0.95, 0.0])],
    )
    found = dsphipi.weights(dsphipi.load_scale_factors(path), MC, pt, eta)
    medium = correctionlib.CorrectionSet.from_file(str(path))[NAME]
    assert list(found.values) == list(VARIATIONS)
    for name in VARIATIONS:
        factors = []
        for muon_pt, muon_eta in zip(pt, eta, strict=True):
            value = medium.evaluate(abs(muon_eta), muon_pt, name)
            if name in ("stat", "syst"):  # uncertainties in the file
                value += medium.evaluate(abs(muon_eta), muon_pt, "nominal")
            factors.append(value)
        assert found.values[name] == pytest.approx(factors[0] * factors[1])
    assert np.all(found.values["systup"] > found.values["nominal"])
    assert np.all(found.values["systdown"] < found.values["nominal"])
    assert found.clamped == {}


def test_muons_below_the_range_have_the_factor_of_its_edge_and_are_counted(path):
    factors = dsphipi.load_scale_factors(path)
    low = dsphipi.weights(factors, MC, [np.array([2.1, 2.9])] * 2, [np.array([1.5, 1.5])] * 2)
    edge = dsphipi.weights(factors, MC, [np.array([3.0, 3.0])] * 2, [np.array([1.5, 1.5])] * 2)
    assert low.clamped == {"pt": 4}
    assert edge.clamped == {}
    for name in VARIATIONS:
        assert low.values[name].tolist() == edge.values[name].tolist()


@pytest.mark.parametrize("metadata", [{"isMC": False, "era": "2017B"}, {"era": "2017B"}, {}, {"isMC": "yes"}])
def test_data_are_not_weighted(path, metadata):
    factors = dsphipi.load_scale_factors(path)
    with pytest.raises(InputError, match="is data: scale factors correct the simulation"):
        dsphipi.weights(factors, metadata, [np.ones(1)] * 2, [np.ones(1)] * 2)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"era": "2018A"}, "is of 2018, and there are muon scale factors for 2017"),
        ({"year": 2016}, "is of 2016"),
        ({}, "no era or year"),
        ({"era": "2017B", "year": 2018}, "of 2017 and 2018 at once"),
    ],
)
def test_another_year_is_refused(path, metadata, message):
    with pytest.raises(InputError, match=message):
        dsphipi.load_scale_factors(path).of({"dataset": "mc", "isMC": True, **metadata})


def test_the_year_is_taken_from_the_file_or_the_mapping(tmp_path, make_muon_sf):
    """From its name, its description or a mapping; an unknown or contradictory year is refused."""
    named = tmp_path / "muon_2018.json"
    named.write_text(make_muon_sf(has_year=False))
    described = tmp_path / "muon.json.gz"
    described.write_bytes(gzip.compress(make_muon_sf("2017").encode()))
    silent = tmp_path / "muon.json"
    silent.write_text(make_muon_sf(has_year=False))
    assert dict(dsphipi.load_scale_factors([named, described]).sources) == {
        "2018": "muon_2018.json",
        "2017": "muon.json.gz",
    }
    assert list(dsphipi.load_scale_factors({2016: silent}).years) == ["2016"]
    with pytest.raises(InputError, match="does not say which year"):
        dsphipi.load_scale_factors(silent)
    with pytest.raises(InputError, match="is of 2018, not of 2017"):
        dsphipi.load_scale_factors({"2017": named})
    with pytest.raises(InputError, match="both of 2018"):
        dsphipi.load_scale_factors([named, str(named)])


def test_each_year_has_its_own(tmp_path, make_muon_sf):
    paths = {}
    for year, shift in (("2017", 0.0), ("2018", 0.05)):
        paths[year] = tmp_path / f"muon_{year}.json"
        paths[year].write_text(make_muon_sf(year, shift=shift))
    factors = dsphipi.load_scale_factors(paths)
    one = [np.array([5.0])] * 2, [np.array([0.5])] * 2
    values = {
        era: dsphipi.weights(factors, {"isMC": True, "era": era}, *one).values["nominal"][0]
        for era in ("2017F", "2018D")
    }
    assert values["2018D"] == pytest.approx((np.sqrt(values["2017F"]) + 0.05) ** 2)


def test_other_corrections_are_refused(tmp_path, make_muon_sf):
    other = tmp_path / "electron_2017.json"
    other.write_text(make_muon_sf(name="Electron"))
    with pytest.raises(InputError, match=f"no correction '{NAME}'"):
        dsphipi.load_scale_factors(other)
    with pytest.raises(InputError, match="cannot be read"):
        dsphipi.load_scale_factors(tmp_path / "muon_2017.json")


def test_scale_factors_are_pickled_without_their_file(path):
    factors = dsphipi.load_scale_factors(path)
    sent = pickle.dumps(factors)
    path.unlink()
    assert len(sent) < 10_000
    one = [np.array([5.0])] * 2, [np.array([0.5])] * 2
    assert dsphipi.weights(pickle.loads(sent), MC, *one).values["nominal"] == pytest.approx(0.91**2)


@pytest.mark.skipif(not REAL.exists(), reason="the real scale factors are not here")
def test_the_real_file():
    factors = dsphipi.load_scale_factors(REAL)
    assert list(factors.years) == ["2017"]
    found = dsphipi.weights(factors, MC, [np.array([2.5, 3.5])] * 2, [np.array([1.5, 0.5])] * 2)
    assert found.clamped == {"pt": 2}
    assert found.values["nominal"][1] == pytest.approx(1.0349498598008624**2)
    assert found.values["stat"][1] == pytest.approx((1.0349498598008624 + 0.002555574247705388) ** 2)
    assert found.values["systup"][1] == pytest.approx(1.0389925179291721**2)
    assert json.loads(gzip.decompress(factors.years["2017"]))["schema_version"] == 2
