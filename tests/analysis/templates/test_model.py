"""Models, their preparation, workspaces and datacards."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from af_kit.analysis.templates import (
    Channel,
    FreeNorm,
    Norm,
    Process,
    Shape,
    TemplateModel,
    merged,
    prepare,
    read_datacard,
    write_datacard,
)
from af_kit.analysis.templates.smoothing import smoothed
from af_kit.errors import InputError


def same(one: TemplateModel, other: TemplateModel) -> None:
    """Assert that two models have the same numbers."""
    assert {name: tuple(free) for name, free in one.free.items()} == {
        name: tuple(free) for name, free in other.free.items()
    }
    assert one.poi == other.poi
    assert one.statistical == other.statistical
    assert [channel.name for channel in one.channels] == [channel.name for channel in other.channels]
    for mine, theirs in zip(one.channels, other.channels, strict=True):
        assert [process.name for process in mine.processes] == [process.name for process in theirs.processes]
        for first, second in zip(mine.processes, theirs.processes, strict=True):
            assert (set(first.shapes), dict(first.norms)) == (set(second.shapes), dict(second.norms))
            assert sorted(first.free) == sorted(second.free)
            np.testing.assert_allclose(first.values, second.values, rtol=1e-12)
            np.testing.assert_allclose(first.variances, second.variances, rtol=1e-12)
            for name in first.shapes:
                np.testing.assert_allclose(first.shapes[name], second.shapes[name], rtol=1e-12)


def with_data(model: TemplateModel) -> TemplateModel:
    channels = [dataclasses.replace(channel, data=np.rint(channel.total)) for channel in model.channels]
    return model.replace(channels=tuple(channels))


def test_a_workspace_is_read_back(model):
    original = with_data(model)
    workspace = json.loads(json.dumps(original.workspace()))
    again = TemplateModel.from_workspace(workspace, edges={one.name: one.edges for one in original.channels})
    same(original, again)
    for mine, theirs in zip(original.channels, again.channels, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
    assert original.digest == model.digest


def test_a_datacard_is_read_back_with_the_same_yields(model, tmp_path):
    original = with_data(model)
    text, root = write_datacard(original, tmp_path / "cards" / "test.txt")
    again = read_datacard(text)
    same(original, again)
    for mine, theirs in zip(original.channels, again.channels, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
        np.testing.assert_array_equal(mine.edges, theirs.edges)
    lines = [line.split() for line in text.read_text().splitlines()]
    assert ["*", "autoMCStats", "0", "1", "1"] in lines
    assert ["rate_DY", "rateParam", "signal", "DY", "1.0", "[0.2,5.0]"] in lines
    assert ["norm_EWK", "lnN", "-", "1.1", "-", "-", "1.1"] in lines
    assert ["jes", "shape", "1", "1", "1", "1", "1"] in lines
    assert ["process", "1", "2", "0", "1", "2"] in lines
    import uproot

    with uproot.open(root) as file:
        np.testing.assert_allclose(
            file["signal/H_jesUp"].values(), model.channel("signal").process("H").shapes["jes"].up
        )


def test_a_datacard_whose_rate_is_not_its_template_is_refused(model, tmp_path):
    text, _ = write_datacard(model, tmp_path / "test.txt")
    text.write_text(text.read_text().replace("705.0", "706.0"))
    with pytest.raises(InputError, match="rate of DY in signal is 706"):
        read_datacard(text)
    text.write_text(text.read_text().replace("706.0", "705.0") + "jer gmN 3 1 1 1 1 1\n")
    with pytest.raises(InputError, match="'jer gmN 3' is not understood"):
        read_datacard(text)


def test_a_symmetric_log_normal_has_inverse_factors():
    assert Norm.of(1.25) == (1.25, 0.8)


def test_scaling_keeps_relative_uncertainties(model):
    scaled = model.scaled(10)
    one, ten = model.channel("signal").process("DY"), scaled.channel("signal").process("DY")
    np.testing.assert_allclose(ten.values, 10 * one.values)
    np.testing.assert_allclose(ten.variances / ten.values**2, one.variances / one.values**2)
    np.testing.assert_allclose(ten.shapes["jes"].up / ten.values, one.shapes["jes"].up / one.values)


# --------------------------------------------------------------------------------------------------------- preparation


def channel(values, variances=None, up=None, down=None, others=()) -> Channel:
    values = np.asarray(values, float)
    shapes = {} if up is None else {"jes": Shape(np.asarray(up, float), np.asarray(down, float))}
    variances = values**2 * 1e-4 if variances is None else np.asarray(variances, float)
    signal = Process("H", values, variances, shapes, free=("mu",))
    return Channel("c", np.arange(values.size + 1.0), (signal, *others))


def options(**changes):
    return {"merge": None, "negative": False, "symmetrise": "none", "prune": 0, **changes}


def test_negative_bins_become_zero_and_the_yield_stays():
    (done,), changes = prepare([channel([4, -1, 5], up=[5, -1, 5], down=[3, 0, 5])], **options(negative=True))
    process = done.process("H")
    np.testing.assert_allclose(process.values, [4 * 8 / 9, 0, 5 * 8 / 9])
    assert process.total == pytest.approx(8)
    np.testing.assert_allclose(process.shapes["jes"].up.sum(), 9)
    assert (process.shapes["jes"].up >= 0).all()
    assert [(change.step, change.process, change.source) for change in changes] == [
        ("negative", "H", ""),
        ("negative", "H", "jes"),
    ]
    assert "1 (-1)" in changes[0].what


def test_a_process_without_events_is_left_out_and_said():
    other = Process("VV", np.array([1.0, -2, 0]), np.ones(3))
    (done,), changes = prepare([channel([4, 1, 5], others=[other])], **options(negative=True))
    assert [process.name for process in done.processes] == ["H"]
    assert changes[0] == ("negative", "c", "VV", "", "left out: -1 expected events")


def test_bins_are_merged_until_the_simulation_is_precise():
    values, variances = [10, 1, 1, 8, 0, 3], [1, 1, 1, 1, 0, 4]
    (done,), changes = prepare([channel(values, variances)], **options(merge=0.3))
    np.testing.assert_array_equal(done.edges, [0, 1, 6])  # the last bins are not precise enough
    process = done.process("H")
    np.testing.assert_array_equal(process.values, [10, 13])
    np.testing.assert_array_equal(process.variances, [1, 7])
    assert changes[0].step == "merge"
    assert "6 bins to 2" in changes[0].what


def test_merging_needs_edges_that_exist():
    whole = channel([1, 2, 3, 4])
    np.testing.assert_array_equal(merged(whole, [1, 2, 4]).process("H").values, [2, 7])
    with pytest.raises(InputError, match=r"no edge at 2.5; the nearest is [23]"):
        merged(whole, [0, 2.5, 4])


def test_one_sided_variations_are_mirrored():
    whole = channel([10, 10], up=[12, 11], down=[11, 10.5])
    (done,), changes = prepare([whole], **options(symmetrise="one_sided"))
    np.testing.assert_allclose(done.process("H").shapes["jes"], [[12, 11], [8, 9]])
    assert "up mirrored" in changes[0].what
    (done,), changes = prepare([whole], **options(symmetrise="all"))
    np.testing.assert_allclose(done.process("H").shapes["jes"], [[10.5, 10.25], [9.5, 9.75]])
    two_sided = channel([10, 10], up=[12, 11], down=[9, 8])
    (done,), changes = prepare([two_sided], **options(symmetrise="one_sided"))
    np.testing.assert_allclose(done.process("H").shapes["jes"], [[12, 11], [9, 8]])
    assert not changes


def test_small_effects_are_pruned():
    nominal = np.array([100.0, 100.0])
    cases = {
        "left out": ([100.1, 100.1], None),
        "effect on the yield left out": ([110, 90.2], "shape"),
        "effect on the shape left out": ([110, 110.1], "norm"),
    }
    for what, (up, left) in cases.items():
        whole = channel(nominal, up=up, down=2 * nominal - up)
        (done,), changes = prepare([whole], **options(prune=0.005))
        assert changes[0].what.startswith(what)
        shapes = done.process("H").shapes
        assert ("jes" in shapes) == (left is not None)
        if left == "shape":
            assert shapes["jes"].up.sum() == pytest.approx(200)
        elif left == "norm":
            np.testing.assert_allclose(shapes["jes"].up, [110.05, 110.05])


def test_smoothing_removes_fluctuations_and_keeps_the_yield():
    x = np.linspace(-1, 1, 30)
    truth = 1 + 0.1 * x
    noisy = truth + np.random.default_rng(1).normal(scale=0.05, size=30)
    assert np.std(smoothed(noisy) - truth) < 0.75 * np.std(noisy - truth)
    np.testing.assert_allclose(smoothed(truth), truth, atol=1e-12)
    nominal = np.full(30, 100.0)
    whole = channel(nominal, up=nominal * noisy, down=nominal * (2 - noisy))
    (done,), changes = prepare([whole], smooth=["jes"], **options())
    assert done.process("H").shapes["jes"].up.sum() == pytest.approx((nominal * noisy).sum())
    assert changes[0].step == "smooth"
    with pytest.raises(InputError, match="Did you mean 'jes'"):
        prepare([whole], smooth=["jess"], **options())


# ------------------------------------------------------------------------------------------------------------- refused


def model_of(*channels: Channel, **changes) -> TemplateModel:
    return TemplateModel(channels, **{"free": {"mu": FreeNorm(1, -5, 5)}, **changes})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: model_of(channel([1, -1, 3])), r"bin 1 of 3 has -1 expected events.*prepare"),
        (lambda: model_of(channel([1, 0, 3])), "No process has events in bin 1 of channel 'c'.*Merge"),
        (lambda: model_of(channel([1, np.nan])), "values needs 2 finite numbers"),
        (lambda: model_of(channel([1, 2]), poi="r"), "parameter of interest 'r'"),
        (lambda: model_of(channel([1, 2]), free={"mu": FreeNorm(1, 2, 5)}), "starts at 1, which is not between"),
        (lambda: model_of(channel([1, 2], up=[-1, 1], down=[1, 2])), "jes moves the yield to 0"),
        (lambda: model_of(channel([1, 2]), channel([1, 2])), "same name"),
    ],
)
def test_contradictions_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_a_workspace_with_other_modifiers_is_refused(model):
    workspace = model.workspace()
    workspace["channels"][0]["samples"][0]["modifiers"].append({"name": "x", "type": "shapesys", "data": [1] * 5})
    with pytest.raises(InputError, match="modifier of type 'shapesys'"):
        TemplateModel.from_workspace(workspace)
