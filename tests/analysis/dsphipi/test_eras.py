from __future__ import annotations

import numpy as np
import pytest

from af_kit.analysis import style
from af_kit.analysis.dsphipi.eras import fit_eras
from af_kit.analysis.dsphipi.fit import MODEL, TAILS, fit
from af_kit.analysis.fit.toys import draw
from af_kit.errors import FitError, InputError

LUMI_IFB = {"2017B": 4.80, "2017C": 9.57, "2017D": 4.25}
SHAPE = {"mean_ds": 1.96835, "width_ds": 0.0095, "mean_dplus": 1.86966, "width_dplus": 0.009, "slope": -1.1, **TAILS}
PER_IFB = {"n_ds": 100.0, "n_dplus": 50.0, "n_background": 100.0}


@pytest.fixture
def spectra():
    random = np.random.default_rng(8)
    return {
        era: draw(MODEL, {**{name: lumi * n for name, n in PER_IFB.items()}, **SHAPE}, random, None).values
        for era, lumi in LUMI_IFB.items()
    }


@pytest.fixture
def shape(spectra):
    return fit(np.concatenate(list(spectra.values())), bins=62, minos=False)


def test_eras_of_the_same_rate_agree_with_a_constant(spectra, shape):
    eras = fit_eras(spectra, LUMI_IFB, shape=shape)
    assert list(eras.normalised) == list(LUMI_IFB)
    assert eras.constant.value == pytest.approx(100, abs=4 * eras.constant.error)
    assert eras.test.ndof == 2
    assert eras.test.p_value > 0.01
    assert sum(result["n_ds"].value for result in eras.fits.values()) == pytest.approx(shape["n_ds"].value, rel=0.02)
    # only yields are free
    assert all(result.free == ("n_ds", "n_dplus", "n_background") for result in eras.fits.values())
    table = eras.table
    assert table.loc["2017C", "yield per 1/fb"] == pytest.approx(table.loc["2017C", "yield"] / 9.57)


def test_a_deviating_era_has_a_small_p_value(spectra, shape):
    eras = fit_eras(spectra, {**LUMI_IFB, "2017C": 2 * 9.57}, shape=shape)
    assert eras.test.p_value < 1e-6


def test_the_mean_is_that_of_the_errors(spectra, shape):
    eras = fit_eras(spectra, LUMI_IFB, shape=shape)
    values = [measured.value for measured in eras.normalised.values()]
    weights = [measured.error**-2 for measured in eras.normalised.values()]
    assert eras.constant.value == pytest.approx(np.average(values, weights=weights))
    assert eras.constant.error == pytest.approx(sum(weights) ** -0.5)


def test_an_era_without_a_valid_fit_is_named(spectra, shape):
    with pytest.raises(FitError, match="2017D: There is nothing to fit") as caught:
        fit_eras({**spectra, "2017D": np.array([])}, LUMI_IFB, shape=shape)
    assert caught.value.reasons == ("no events",)


def test_an_era_without_luminosity_is_refused(spectra, shape):
    with pytest.raises(InputError, match="luminosity is unknown for 2017D"):
        fit_eras(spectra, {"2017B": 4.8, "2017C": 9.57}, shape=shape)


def test_the_figure_has_all_eras(spectra, shape):
    with style.cms_style():
        axes = fit_eras(spectra, LUMI_IFB, shape=shape).draw({"experiment": "CMS"}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(LUMI_IFB)
    assert "p = " in axes.get_legend().get_title().get_text()
