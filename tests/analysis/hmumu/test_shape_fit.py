"""The shape fit of rows that are drawn here: falling backgrounds, and a signal at 124.9 GeV."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from af_kit.analysis.hmumu.shape_fit import fit_shapes, shape_toys
from af_kit.analysis.hmumu.shape_plot import plot_shapes
from af_kit.analysis.hmumu.shape_rows import read_masses
from af_kit.analysis.hmumu.shape_signal import fit_signal
from af_kit.errors import FitError, InputError

CHANNELS = ("ggh_0jet", "vbf")
FAMILIES = ("exponential", "powers1", "bernstein2")
OPTIONS = {"channels": CHANNELS, "families": FAMILIES, "bins": 80}
# Signal and background of each channel
EVENTS = {"ggh_0jet": (150, 20_000), "vbf": (40, 1500)}
FACTORS = {"lumi": 0.05, "pileup": 1.0, "quark_gluon": 0.5, "btag": 1.0}
NORMALISATION = {
    "datasets": {
        name: {"lumi_ipb": 59_970.0, "factors": {"nominal": dict(FACTORS)}} for name in ("ggh_hmumu", "dy_m105_160")
    }
}


def falling(random, number):
    """Masses from an exponential of slope -0.04 per GeV."""
    return 110 - np.log(1 - random.random(number) * (1 - np.exp(-1.6))) / 0.04


def peak(random, number):
    """Masses of a peak with tails on both sides."""
    return 124.9 + 1.3 * random.standard_t(4, number)


def block(dataset, process, channel, mass, weight):
    n_jets = 2 if channel == "vbf" else 0
    return pd.DataFrame(
        {
            "dataset": dataset,
            "process": process,
            "channel": channel,
            "dimuon_mass": mass,
            "n_jets": n_jets,
            "weight": weight,
        }
    )


@pytest.fixture(scope="module")
def rows():
    """Data with strength 1, and simulation whose weights become 1 / 20 (signal) and 1 / 2 (background)."""
    random, blocks = np.random.default_rng(7), []
    for channel, (signal, background) in EVENTS.items():
        scale = 0.05 * (0.5 if channel == "vbf" else 1)
        data = np.concatenate([falling(random, background), peak(random, signal)])
        blocks.append(block("data", "data", channel, data, 1.0))
        simulated = peak(random, 20 * signal)
        blocks.append(block("ggh_hmumu", "ggh", channel, simulated, 0.05 / scale))
        weights = np.where(random.random(2 * background) < 0.05, -1, 1) / 0.9
        blocks.append(block("dy_m105_160", "dy", channel, falling(random, 2 * background), 0.5 / scale * weights))
    return pd.concat(blocks, ignore_index=True)


@pytest.fixture(scope="module")
def observed(rows):
    return fit_shapes(rows, normalisation=NORMALISATION, blind=False, **OPTIONS)


@pytest.fixture(scope="module")
def blinded(rows):
    return fit_shapes(rows, normalisation=NORMALISATION, **OPTIONS)


def test_rows_are_normalised_by_channel(rows):
    masses, lumi_ifb = read_masses(pa.Table.from_pandas(rows), normalisation=NORMALISATION)
    assert lumi_ifb == pytest.approx(59.97)
    for channel, (signal, background) in EVENTS.items():
        own = masses[channel]
        # The quark/gluon factor of 0.5 applies to two jets only, so the sums are right if it does.
        assert own.signal_weights.sum() == pytest.approx(signal, rel=0.01)
        assert own.background_weights.sum() == pytest.approx(background, rel=0.05)
        assert len(own.data) == signal + background
    assert not len(masses["ggh_1jet"].data)


def test_the_true_strength_is_found(observed):
    measured = observed.strength
    assert abs(measured.value - 1) < 2.5 * measured.error
    assert measured.lower < 0 < measured.upper
    assert observed.minos[1] == pytest.approx(measured.error, rel=0.1)
    assert measured.upper >= 0.98 * observed.minos[1]
    assert set(observed.families) == set(CHANNELS)
    assert observed.limit.observed > measured.value
    assert observed.signals["vbf"].expected == pytest.approx(40, rel=0.05)
    assert observed.expected_significance.sigma == pytest.approx(1 / measured.error, rel=0.25)


def test_a_blind_fit_does_not_use_data_in_the_peak(rows, blinded):
    assert blinded.strength.value == pytest.approx(1, abs=0.02)
    assert blinded.limit.observed is None
    inside = (rows["process"] == "data") & rows["dimuon_mass"].between(120, 130)
    other = fit_shapes(rows[~inside], normalisation=NORMALISATION, **OPTIONS)
    assert other.to_dict() == blinded.to_dict()


def test_pseudo_data_are_drawn_from_the_simulation(rows):
    simulation = rows[rows["process"] != "data"]
    options = {"normalisation": NORMALISATION, "data": "simulation", **OPTIONS}
    expected = fit_shapes(simulation, seed=None, strength=-1.0, **options)
    assert expected.strength.value == pytest.approx(-1, abs=0.15 * expected.strength.error)
    total = expected.observed["ggh_0jet"].total
    assert total == pytest.approx(20_000 - 150, rel=0.02)
    double = fit_shapes(simulation, seed=None, strength=-1.0, lumi_ifb=2 * 59.97, **options)
    assert double.strength.error == pytest.approx(expected.strength.error / np.sqrt(2), rel=0.1)
    assert double.lumi_ifb == pytest.approx(119.94)
    with pytest.raises(InputError, match="There are no data in ggh_0jet"):
        fit_shapes(simulation, normalisation=NORMALISATION, **OPTIONS)


def test_the_result_is_plain_numbers_and_figures(observed, blinded, tmp_path):
    content = json.loads(json.dumps(observed.to_dict()))
    assert content["valid"] is True
    assert content["strength"]["value"] == observed.strength.value
    assert {one["family"] for one in content["candidates"]} <= set(FAMILIES)
    assert "observed: strength" in str(observed)
    assert str(blinded).startswith("expected: strength 1.0")
    assert repr(blinded) == f"<ShapeFit: strength {blinded.strength}, expected>"
    for words in (str(observed.strength), f"{observed.limit.observed:.2f} (expected ", *CHANNELS):
        assert f"{words}" in observed._repr_html_()
    names = {path.name for path in plot_shapes(blinded, tmp_path)}
    assert names == {
        f"shape_{name}.{kind}" for name in (*CHANNELS, "weighted", "likelihood") for kind in ("png", "pdf")
    }


def test_toys_of_the_result(observed):
    found = shape_toys(observed, 3, strength=0.0, seed=1, generate="exponentials", bins=80)
    assert len(found) == 3
    assert abs(found.pull("strength", minos=True).mean) < 3


def test_a_signal_with_few_events_has_fixed_tails_and_says_so():
    random = np.random.default_rng(1)
    values = peak(random, 300)
    signal, notes = fit_signal("vbf", values, np.full(300, 0.1))
    assert signal.expected == pytest.approx(30, rel=0.1)
    assert signal.error == pytest.approx(np.sqrt(3), rel=0.05)
    assert any("fixed, because the simulated events do not constrain them" in note for note in notes)
    with pytest.raises(FitError, match=r"simulated signal of vbf \(\d+ events\) cannot be fitted"):
        fit_signal("vbf", values[:12], np.full(12, 0.1))


def test_incomplete_inputs_are_refused(rows, tmp_path):
    with pytest.raises(InputError, match="no column n_jets"):
        fit_shapes(rows.drop(columns="n_jets"), normalisation=NORMALISATION)
    with pytest.raises(InputError, match="no factors for the dataset 'dy_m105_160'"):
        fit_shapes(rows)
    with pytest.raises(InputError, match="no simulated signal"):
        fit_shapes(rows[rows["process"] != "ggh"], normalisation=NORMALISATION)
    with pytest.raises(InputError, match="'vbff' is not a channel"):
        fit_shapes(rows, normalisation=NORMALISATION, channels=["vbff"])
    with pytest.raises(InputError, match="pass data='simulation'"):
        fit_shapes(rows, normalisation=NORMALISATION, lumi_ifb=1.0)
    with pytest.raises(InputError, match="weights are not finite"):
        fit_shapes(rows.assign(weight=np.nan), normalisation=NORMALISATION)
    # The folder of a run
    rows.to_parquet(tmp_path / "candidates.parquet")
    (tmp_path / "normalisation.json").write_text(json.dumps(NORMALISATION))
    assert read_masses(tmp_path)[1] == pytest.approx(59.97)
