"""The likelihood, its minimum, the tests of hypotheses and the impacts."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from af_kit.analysis.templates import (
    Channel,
    FreeNorm,
    Process,
    TemplateModel,
    breakdown,
    fit,
    impacts,
    likelihood,
    significance,
    toys,
    upper_limit,
)
from af_kit.analysis.templates.hypotheses import Statistic, background_only, cls, statistic, toy_cls
from af_kit.analysis.templates.likelihood import _functions
from af_kit.errors import FitError, InputError, MissingExtraError

RANDOM = np.random.default_rng(7)


@pytest.fixture(scope="module")
def closure(compiled):
    return fit(compiled, compiled.asimov())


def counting(signal: float, background: float, **options) -> TemplateModel:
    """One bin, no uncertainty."""
    zero = np.zeros(1)
    processes = (Process("B", np.array([background]), zero), Process("S", np.array([signal]), zero, free=("mu",)))
    return TemplateModel((Channel("one", np.array([0.0, 1.0]), processes),), {"mu": FreeNorm(1, -20, 20)}, **options)


def test_the_fit_of_what_the_model_expects_finds_it_exactly(closure):
    assert closure.strength.value == pytest.approx(1, abs=1e-4)
    assert closure.pulls["pull"].abs().max() < 1e-4
    assert closure.minimum.value == pytest.approx(0, abs=1e-6)
    assert closure.goodness.p_value == pytest.approx(1)
    low, high = closure.minos["mu"]
    assert -closure.strength.error == pytest.approx(low, rel=0.2)
    assert closure.strength.error == pytest.approx(high, rel=0.2)


def test_the_likelihood_is_that_of_pyhf(model, compiled):
    import pyhf

    backend = pyhf.get_backend()
    pdf = pyhf.Workspace(model.workspace()).model(measurement_name="fit")
    data = compiled.draw(compiled.start, RANDOM)
    whole = np.append(data.main, data.auxiliary)
    values = []
    for _ in range(3):
        point = compiled.start + 0.02 * RANDOM.normal(size=compiled.start.size)
        values.append(compiled.value_and_gradient(point, data)[0] + 2 * float(pdf.logpdf(point, whole)[0]))
    assert np.ptp(values) < 1e-8
    assert pyhf.get_backend() == backend


def test_gradient_and_second_derivatives_are_those_of_the_function(compiled):
    data = compiled.draw(compiled.start, RANDOM)
    point = compiled.start + 0.02 * RANDOM.normal(size=compiled.start.size)
    gradient, hessian = compiled.value_and_gradient(point, data)[1], compiled.hessian(point, data)
    for position in (compiled.poi, compiled.position("jes"), compiled.position("stat_signal[4]")):
        step = np.zeros(point.size)
        step[position] = 1e-4
        (up, up_slope), (down, down_slope) = (compiled.value_and_gradient(point + s * step, data) for s in (1, -1))
        assert gradient[position] == pytest.approx((up - down) / 2e-4, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(hessian[position], (up_slope - down_slope) / 2e-4, rtol=1e-4, atol=1e-3)


def test_a_source_that_moves_the_data_is_pulled_there(compiled):
    parameters = compiled.parameters(jes=1.5, mu=0.5)
    moved = compiled.asimov()._replace(main=compiled.expected(parameters))
    result = fit(compiled, moved)
    # The auxiliary measurement pulls it back a little.
    assert 0.8 < result["jes"].value < 1.5
    assert result.pulls.loc["jes", "constraint"] < 0.8
    assert result.strength.value == pytest.approx(0.5, abs=0.15)


def test_fitted_events_and_their_uncertainty(compiled):
    data = compiled.draw(compiled.start, np.random.default_rng(3))
    result = fit(compiled, data, minos=False)
    total = sum(result.by_process()["signal"].values())
    observed = data.main[compiled.slices["signal"]]
    error = result.uncertainty()["signal"]
    assert (error > 0).all()
    assert (error < np.sqrt(total)).all()  # the data constrain what the nominal uncertainties leave open
    assert np.abs(total - observed).max() < 5 * np.sqrt(observed).max()


def test_twenty_toys_have_the_pulls_of_right_errors(model):
    found = toys(model, 20, seed=11)
    assert found.names[0] == "mu"
    assert found.valid_fraction == 1
    pull = found.pull("mu")
    assert abs(pull.mean) < 0.67  # three standard deviations
    assert 0.7 < pull.width < 1.35  # errors twice as large would make it 0.5
    again = toys(model, 2, seed=11)
    np.testing.assert_array_equal(again.values, found.values[:2])


def test_negative_strengths_are_found(compiled):
    result = fit(compiled, compiled.asimov(compiled.parameters(mu=-0.5)))
    assert result.strength.value == pytest.approx(-0.5, abs=1e-3)
    assert significance(result)[:2] == (0.0, 0.5)


def test_significance_of_a_counting_experiment():
    signal, background = 10.0, 40.0
    compiled = likelihood(counting(signal, background))
    found = significance(fit(compiled, compiled.asimov()))
    expected = np.sqrt(2 * ((signal + background) * np.log1p(signal / background) - signal))
    assert found.observed == pytest.approx(expected, rel=1e-5)
    assert found.expected == pytest.approx(expected, rel=1e-5)


def test_limit_of_a_counting_experiment():
    from scipy.optimize import brentq
    from scipy.stats import norm

    signal, background = 10.0, 40.0
    compiled = likelihood(counting(signal, background))
    found = upper_limit(fit(compiled, compiled.asimov(compiled.parameters(mu=0.0))))

    def median(strength: float) -> float:
        total = background + strength * signal
        root = np.sqrt(2 * (total - background + background * np.log(background / total)))
        return norm.sf(root) / 0.5 - 0.05

    assert found.expected[2] == pytest.approx(brentq(median, 0.1, 10), rel=2e-3)
    assert found.observed == pytest.approx(found.expected[2], rel=2e-3)
    assert list(found.expected) == sorted(found.expected)


def test_the_asymptotic_limit_agrees_with_toys(compiled):
    result = fit(compiled, compiled.asimov(compiled.parameters(mu=0.0)))
    asimov = background_only(result)
    strength = 2 * asimov.strength.error
    asymptotic = cls(Statistic(strength, statistic(result, strength), statistic(asimov, strength)))[0]
    value, error, _ = toy_cls(result, strength, 100, seed=3)
    assert 0.02 < asymptotic < 0.09
    assert 0 < error < 0.06
    assert value == pytest.approx(asymptotic, abs=3 * error)


def test_impacts_and_parts_of_the_error(closure):
    table = impacts(closure, names=["jes", "norm_H", "rate_DY", "stat_sidebands[0]"])
    row = table.loc["norm_H"]
    assert row["post_up"] < 0 < row["post_down"]  # more signal expected, less strength
    # By the covariance: the slope of the strength along the parameter
    position, poi = closure.likelihood.position("jes"), closure.likelihood.poi
    slope = closure.covariance[position, poi] / closure.errors[position]
    assert table.loc["jes", "post_up"] == pytest.approx(slope, rel=0.15, abs=2e-3)
    assert np.isnan(table.loc["rate_DY", "pre_up"])
    assert list(table.index) == sorted(table.index, key=lambda name: -table.loc[name].filter(like="post").abs().max())
    parts = breakdown(closure, {"jes": ["jes"], "none": []})
    assert parts["none"] == pytest.approx(0, abs=1e-6)
    assert 0 < parts["jes"] < parts["total"]
    assert 0 < parts["statistical"] < parts["total"]
    assert repr(closure).startswith("<TemplateFit: valid fit: ")
    html = closure._repr_html_()
    assert f"<td class='n'>{closure['jes'].columns()[1]}</td>" in html
    assert html.index(f"<td>{closure.likelihood.model.poi}</td>") < html.index("<td>jes</td>")  # the strength is first


def test_fixed_parameters_stay(compiled):
    result = fit(compiled, compiled.asimov(compiled.parameters(mu=2.0)), fixed={"mu": 2.0})
    assert result.strength.value == 2.0
    assert result.strength.error == 0.0
    assert result.minos == {}


# ---------------------------------------------------------------------------------------------------------- not valid


def test_a_strength_at_its_limit_is_an_error(model):
    narrow = model.replace(free={**model.free, "mu": FreeNorm(1, -2, 2)})
    compiled = likelihood(narrow)
    with pytest.raises(FitError, match=r"mu = .* has its upper limit 2 within half its error") as caught:
        fit(compiled, compiled.asimov(likelihood(model).parameters(mu=3.0)))
    assert caught.value.at_limit == ("mu",)


def test_parameters_that_cannot_be_distinguished_are_an_error():
    model = counting(10, 40, statistical=False)
    channel = model.channels[0]
    first, second = channel.processes
    both = (dataclasses.replace(first, free=("rate",)), second)
    model = model.replace(
        channels=(dataclasses.replace(channel, processes=both),), free={**model.free, "rate": FreeNorm(1, 0.2, 5)}
    )
    compiled = likelihood(model)
    with pytest.raises(FitError, match="cannot be distinguished"):
        fit(compiled, compiled.asimov())


def test_fewer_events_than_the_background_alone_is_an_error(compiled):
    data = compiled.asimov()
    main = data.main.copy()
    main[compiled.slices["signal"]][-3:] = 0
    with pytest.raises(FitError, match=r"bin \d of channel signal expects -"):
        fit(compiled, data._replace(main=main))
    with pytest.raises(FitError, match="no events in any bin"):
        fit(compiled, data._replace(main=0 * main))


def test_no_interval_within_the_limits_is_an_error(model):
    compiled = likelihood(model.replace(free={**model.free, "mu": FreeNorm(1, -2, 2)}))
    with pytest.raises(FitError, match="limit"):
        upper_limit(fit(compiled, compiled.asimov(compiled.parameters(mu=1.5)), minos=False), level=0.999999)


def test_unknown_parameters_are_errors(compiled):
    with pytest.raises(InputError, match="Did you mean 'jes'"):
        fit(compiled, compiled.asimov(), fixed={"jess": 0.0})
    with pytest.raises(InputError, match="has no data"):
        fit(compiled)


@pytest.mark.parametrize("package", ["jax", "pyhf"])
def test_without_its_packages_there_is_an_install_command(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    with pytest.raises(MissingExtraError, match=r"pip install \"af-kit\[fit\]\""):
        _functions("of a model that is not compiled yet")
