"""GeoFit: the formula, its edges in eta, and muons with and without a recovered photon."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from af_kit.corrections.geofit import geofit
from af_kit.errors import InputError

FACTORS = (650.84, 988.37, 1484.6)


def test_the_formula_in_each_range_of_eta() -> None:
    eta = np.array([-0.5, 0.8999, 0.9, -1.6999, 1.7, -2.3])
    pt, dxybs, charge = np.full(6, 50.0), np.full(6, 0.002), np.array([1, -1, 1, -1, 1, -1])
    found = geofit(pt, eta, dxybs, charge=charge, recovered=np.zeros(6, dtype=bool), factors=FACTORS)
    used = np.array([FACTORS[i] for i in (0, 0, 1, 1, 2, 2)])
    np.testing.assert_allclose(found, 50 - used * 0.002 * charge * 0.25, rtol=1e-14)
    assert found[0] == pytest.approx(49.67458)  # 50 - 650.84 * 0.002 * 2500 / 10^4


def test_only_muons_without_a_recovered_photon_change() -> None:
    found = geofit(
        ak.Array([[50.0, 50.0], []]), ak.Array([[0.1, 0.1], []]), ak.Array([[0.01, 0.01], []]),
        charge=ak.Array([[1, 1], []]), recovered=ak.Array([[True, False], []]), factors=FACTORS,
    )  # fmt: skip
    assert found.tolist() == [[50.0, pytest.approx(50 - 6.5084 * 0.25)], []]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": (1.0, 2.0)}, "three numbers"),
        ({"factors": (1.0, 2.0, np.nan)}, "three numbers"),
        ({"charge": np.array([0])}, "charge must be 1 or -1"),
        ({"dxybs": np.array([np.nan])}, "dxybs is nan"),
    ],
)
def test_bad_inputs_are_refused(change: dict, message: str) -> None:
    inputs = {name: np.array([1.0]) for name in ("pt", "eta", "dxybs", "charge", "recovered")}
    with pytest.raises(InputError, match=message):
        geofit(**{**inputs, "factors": FACTORS, **change})
