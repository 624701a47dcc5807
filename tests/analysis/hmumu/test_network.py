"""The networks: folds, training, export, and scores that depend on the event alone."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from af_kit.analysis import hmumu
from af_kit.analysis.hmumu import histograms as hists
from af_kit.analysis.hmumu import keras_model, network, score
from af_kit.analysis.hmumu.regions import REGIONS
from af_kit.cli import main
from af_kit.errors import InputError, MissingExtraError
from af_kit.run.dependencies import fingerprint

SCALES = {
    "dimuon_mass": (125, 5),
    "dimuon_mass_resolution": (1.5, 0.3),
    "dimuon_pt": (80, 20),
    "dijet_mass": (900, 200),
}
FACTORS = {"lumi": 0.5, "pileup": 1.0, "quark_gluon": 1.1, "btag": 1.0}


def selected(size: int, *, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a result with events of signal (large dijet masses) and background, whose numbers use all 64 bits."""
    rng = np.random.default_rng(seed)
    is_signal = np.arange(size) % 2 == 0
    columns: dict[str, Any] = {
        name: rng.normal(*SCALES.get(name, (0, 1)), size) for name in (*score.INPUTS, "zeppenfeld") if name != "year"
    }
    columns["dijet_mass"] += 400 * is_signal
    columns |= {
        "dataset": np.where(is_signal, "vbf_hmumu", "dy_m105_160"),
        "process": np.where(is_signal, "vbf", "dy"),
        "year": np.full(size, 2018, np.int16),
        "event": rng.integers(0, 2**64, size, dtype=np.uint64),
        "region": np.full(size, "signal"),
        "channel": np.full(size, "vbf"),
        "n_jets": np.full(size, 2),
        "weight": np.where(~is_signal & (rng.random(size) < 0.2), -1.0, 1.0),
        **changes,
    }
    normalisation = {name: {"factors": {"nominal": FACTORS}} for name in ("vbf_hmumu", "dy_m105_160")}
    return {"candidates": pa.table(columns), "normalisation": normalisation}


class Recording(keras_model.Trainer):
    """Keeps what it was trained on, and what keras itself says about the first events."""

    made: ClassVar[list[Recording]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.calls: list[Any] = []
        self.made.append(self)

    def fit(self, training: Any, validation: Any, *, seed: int) -> Any:
        layers, about = super().fit(training, validation, seed=seed)
        inputs = training[0][:64]
        standardised = ((inputs - layers.mean) / layers.width).astype(np.float32)
        output = self._model.predict(standardised, verbose=0)[:, 0]
        self.calls.append((training, validation, seed, layers, about, inputs, output))
        return layers, about


@pytest.fixture(scope="module")
def trained() -> network.Training:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "Trainer", Recording)
        return network.train(selected(3000), epochs=6, progress=False)


@pytest.fixture(scope="module")
def folder(trained: network.Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network")
    trained.write(path, plots=False)
    return path


class Constant:
    """In place of the training: its network says which number it is, and remembers what it was given."""

    made: ClassVar[list[Constant]] = []

    def __init__(self, keras: Any, inputs: int, **options: Any) -> None:
        self.seen: list[set[bytes]] = []
        self.inputs = inputs
        self.made.append(self)

    def fit(self, training: Any, validation: Any, *, seed: int) -> Any:
        number = len(self.seen)
        self.seen.append({row.tobytes() for sample in (training, validation) for row in sample[0]})
        layers = keras_model.Layers(
            np.zeros(self.inputs), np.ones(self.inputs), [(np.zeros((self.inputs, 1)), np.array([number - 1.5]))]
        )
        return layers, {"loss": [1.0], "validation_loss": [1.0], "best_epoch": 0}


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> type[Constant]:
    monkeypatch.setattr(network, "Trainer", Constant)
    return Constant


# ------------------------------------------------------------------------------------------------------------ folds


@pytest.mark.parametrize(
    ("number", "fold"),
    [(0, 0), (7, 3), (2**53 + 1, 1), (2**53 + 3, 3), (2**63 + 2, 2), (2**64 - 1, 3)],
)
def test_the_fold_of_an_event(number: int, fold: int) -> None:
    unsigned = np.array([number], np.uint64)
    assert score.fold_of(unsigned) == score.fold_of(unsigned.view(np.int64)) == fold


def test_event_numbers_that_are_floats_are_refused() -> None:
    with pytest.raises(InputError, match=r"float64.*uint64"):
        score.fold_of(np.array([3.0]))


def test_the_parts_of_a_fold_are_apart() -> None:
    for fold in range(score.FOLDS):
        training, validation, scored = score.parts_of(fold)
        assert sorted((*training, validation, scored)) == [0, 1, 2, 3]
        assert scored == fold


@pytest.mark.parametrize("signed", [False, True])
def test_no_event_is_scored_by_a_network_that_saw_it(constant: type[Constant], signed: bool) -> None:
    result = selected(1000)
    training = network.train(result, progress=False)
    seen = constant.made[-1].seen
    table = result["candidates"]
    event = table["event"].to_numpy().view(np.int64) if signed else table["event"].to_numpy()
    assert (event > 2**53).mean() > 0.3
    inputs = score.inputs_of(lambda name: table[name].to_numpy(), region=np.full(1000, 3, np.int8), year=2018)
    outputs = [1 / (1 + np.exp(1.5 - number)) for number in range(score.FOLDS)]
    output = training.network.output(inputs, event)
    chosen = np.argmin(np.abs(output[:, None] - outputs), axis=1)  # which network scored the event
    np.testing.assert_allclose(output, np.array(outputs)[chosen], rtol=1e-6)
    assert np.bincount(chosen).min() > 200
    for row, number in zip(inputs, chosen, strict=True):
        assert row.tobytes() not in seen[number]
        assert sum(row.tobytes() in one for one in seen) == 3  # each of the others did see it


# --------------------------------------------------------------------------------------------------------- training


def test_the_network_separates(trained: network.Training) -> None:
    assert repr(trained) == f"<Training: 4 folds, AUC {trained.about['auc']:.3f}>"
    assert trained._repr_html_().count("<tr>") == 5
    assert trained.about["auc"] > 0.8
    assert all(fold["auc"]["unseen"] > 0.75 for fold in trained.about["folds"])
    assert next(iter(trained.about["importance"])) == "dijet_mass"
    assert trained.about["negative_weights"]["dy"] == pytest.approx(0.2, abs=0.03)
    assert trained.about["negative_weights"]["vbf"] == 0


def test_onnx_says_what_keras_says(trained: network.Training) -> None:
    for number, (*_, inputs, output) in enumerate(Recording.made[0].calls):
        own = trained.network.output(inputs, np.full(len(inputs), number, np.uint64))
        assert output.std() > 0.05
        np.testing.assert_allclose(own, output, atol=2e-6)


def test_the_weights_of_the_best_epoch_count(trained: network.Training) -> None:
    """The loss of the exported network is the smallest of the validation sample."""
    for number, (_, (inputs, is_signal, weight), *_) in enumerate(Recording.made[0].calls):
        output = trained.network.output(inputs, np.full(len(inputs), number, np.uint64))
        loss = np.average(-np.log(np.where(is_signal, output, 1 - output)), weights=weight)
        assert loss == pytest.approx(min(trained.about["folds"][number]["validation_loss"]), rel=1e-3)


def test_the_same_seed_gives_the_same_network(trained: network.Training) -> None:
    trainer = Recording.made[0]
    training, validation, seed, layers, about, *_ = trainer.calls[0]
    again, history = keras_model.Trainer.fit(trainer, training, validation, seed=seed)
    assert history == about
    for (kernel, bias), (other_kernel, other_bias) in zip(layers.dense, again.dense, strict=True):
        assert np.array_equal(kernel, other_kernel)
        assert np.array_equal(bias, other_bias)
    assert keras_model.Trainer.fit(trainer, training, validation, seed=seed + 1)[1] != about


def test_both_classes_weigh_the_same_and_no_weight_is_negative(trained: network.Training) -> None:
    for training, validation, *_ in Recording.made[0].calls:
        for _, is_signal, weight in (training, validation):
            assert weight.min() > 0
            assert weight.mean() == pytest.approx(1)
            assert weight[is_signal].sum() == pytest.approx(weight[~is_signal].sum())


def test_magnitudes_leave_each_dataset_its_share() -> None:
    result = selected(1000, n_jets=np.arange(1000) % 3 + 1)
    rows = network._rows_of(result, ("signal",), ("vbf",))
    frame = result["candidates"].to_pandas()
    kept = frame[frame["n_jets"] >= 2]
    np.testing.assert_allclose(rows.weight, kept["weight"] * 0.5 * 1.1)
    for process in ("dy", "vbf"):
        every = frame.loc[frame["process"] == process, "weight"]
        own = rows.process == process
        expected = np.abs(rows.weight[own]).sum() * every.sum() / every.abs().sum()
        assert rows.magnitude[own].sum() == pytest.approx(expected)


def test_the_area_under_the_curve() -> None:
    signal = np.array([True, True, False, False])
    ones = np.ones(4)
    assert network.auc(np.array([0.9, 0.8, 0.2, 0.1]), signal, ones) == 1
    assert network.auc(np.array([0.1, 0.2, 0.8, 0.9]), signal, ones) == 0
    assert network.auc(np.full(4, 0.3), signal, ones) == 0.5
    assert network.auc(np.array([0.9, 0.3, 0.5, 0.1]), signal, ones) == 0.75
    # By pairs: (1 * 3 * [0.9 > 0.5] + 1 * -1 * [0.9 > 0.1] + 3 * 0 + 1 * -1) / (2 * 2)
    assert network.auc(np.array([0.9, 0.3, 0.5, 0.1]), signal, np.array([1, 1, 3, -1])) == pytest.approx(0.25)


def test_the_mass_is_fixed_outside_the_signal_region() -> None:
    table = selected(6)["candidates"]
    region = np.array([REGIONS.index(name) for name in ("signal", "sidebands", "z_peak") * 2], np.int8)
    inputs = score.inputs_of(lambda name: table[name].to_numpy(), region=region, year=2018)
    named = dict(zip(score.INPUTS, inputs.T, strict=True))
    mass, resolution = (table[name].to_numpy() for name in ("dimuon_mass", "dimuon_mass_resolution"))
    inside = region == REGIONS.index("signal")
    np.testing.assert_allclose(named["dimuon_mass"], np.where(inside, mass, 125), rtol=1e-6)
    ratio = named["dimuon_mass_resolution"] / named["dimuon_mass_relative_resolution"]
    np.testing.assert_allclose(ratio, named["dimuon_mass"], rtol=1e-6)  # the resolutions do not tell the mass either
    np.testing.assert_allclose(named["dimuon_mass_relative_resolution"], resolution / mass, rtol=1e-6)


@pytest.mark.parametrize("zeppenfeld", [0.0, np.inf, np.nan])
def test_z_star_is_bounded(zeppenfeld: float) -> None:
    table = selected(1, zeppenfeld=[zeppenfeld])["candidates"]
    inputs = score.inputs_of(lambda name: table[name].to_numpy(), region=np.array([3], np.int8), year=2018)
    assert np.isfinite(inputs).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process": ["dy"] * 40}, "Fold 0 has no signal"),
        ({"event": np.arange(40, dtype=np.uint64) // 4 * 4 + 1}, "has no signal to train on.*More simulated"),
        ({"dataset": ["other"] * 40}, "no normalisation of the dataset 'other'"),
        ({"weight": -np.ones(40)}, "add up to a negative number"),
        ({"jet1_qgl": np.full(40, np.nan)}, "jet1_qgl of event .* is nan"),
        ({"event": np.arange(40, dtype=float)}, "float64"),
    ],
)
def test_bad_events_are_refused(constant: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        network.train(selected(40, **changes), progress=False)


def test_a_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_model, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'needs keras: pip install "af-kit\[train\]"'):
        network.train({}, progress=False)


@pytest.mark.parametrize(("backend", "used"), [("tensorflow", False), ("jax", True), ("other", False), (None, False)])
def test_a_configured_backend_counts_if_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str | None, used: bool
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras_model, "find_spec", lambda name: object() if name == "jax" else None)
    if backend is not None:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": backend}))
    assert keras_model._configured() is used


# ----------------------------------------------------------------------------------------------------------- scores


def test_a_score_does_not_depend_on_other_events(trained: network.Training) -> None:
    table = selected(5000, seed=2)["candidates"]
    event = table["event"].to_numpy()
    inputs = score.inputs_of(lambda name: table[name].to_numpy(), region=np.full(5000, 3, np.int8), year=2018)
    whole = trained.network.output(inputs, event)
    order = np.random.default_rng(0).permutation(5000)
    assert np.array_equal(trained.network.output(inputs[order], event[order]), whole[order])
    start = 0
    for size in (1, 2, 3, 5, 17, 63, 64, 65, 1000):
        part = slice(start, start + size)
        assert np.array_equal(trained.network.output(inputs[part], event[part]), whole[part]), size
        start += size


def test_an_output_of_one_has_a_finite_score() -> None:
    assert np.isfinite(score.transformed(np.array([0.0, 1.0]))).all()
    assert score.transformed(np.array([0.0, 0.5])) == pytest.approx([0, np.arctanh(0.5)])


@pytest.fixture(scope="module")
def scored(samples: Path, calibrations: Any, folder: Path) -> Any:
    options = {"datasets": ["data", "dy_m105_160_vbf", "vbf_hmumu"], "progress": False, "varied": ()}
    return hmumu.process(
        samples / "fileset.yaml", calibrations=calibrations, variations="all", network=folder, **options
    )


def test_scores_do_not_depend_on_the_chunks(samples: Path, calibrations: Any, folder: Path, scored: Any) -> None:
    options = {"datasets": ["vbf_hmumu"], "progress": False, "varied": (), "chunk_entries": 37}
    cut = hmumu.process(samples / "fileset.yaml", calibrations=calibrations, network=folder, **options)
    rows = scored["candidates"].to_pandas().query("dataset == 'vbf_hmumu'")
    np.testing.assert_array_equal(cut["candidates"]["dnn_score"].to_numpy(), rows["dnn_score"])
    histogram = cut["histograms"]["vbf_hmumu"]["dnn_score"]
    expected = scored["histograms"]["vbf_hmumu"]["dnn_score"]
    np.testing.assert_allclose(
        histogram.view(flow=True)["value"][:, :, 0], expected.view(flow=True)["value"][:, :, 0], rtol=1e-10
    )


def test_rows_and_histogram_have_the_score_of_the_network(scored: Any, folder: Path) -> None:
    rows = scored["candidates"].to_pandas()
    assert (rows["dnn_score"].isna() == (rows["n_jets"] < 2)).all()
    two = rows[rows["n_jets"] >= 2]
    region = np.array([REGIONS.index(name) for name in two["region"]], np.int8)
    inputs = score.inputs_of(lambda name: two[name].to_numpy(), region=region, year=2018)
    loaded = hmumu.load_network(folder)
    output = loaded.output(inputs, two["event"].to_numpy())
    np.testing.assert_array_equal(two["dnn_score"], np.arctanh(output))
    assert scored["network"] == loaded.digest
    bins = hmumu.load_campaign(2018).score_bins
    for dataset in ("data", "vbf_hmumu"):
        own = two[(two["dataset"] == dataset) & (two["region"] == "signal") & (two["channel"] == "vbf")]
        factor = 1.0
        if dataset != "data":
            factors = hmumu.Factors(**scored["normalisation"][dataset]["factors"]["nominal"])
            factor = factors.product(two_jets=True)
        # What is above the last edge counts in the last bin.
        values = np.minimum(own["dnn_score"], np.nextafter(bins[-1], 0))
        expected, _ = np.histogram(values, bins, weights=own["weight"] * factor)
        found = hmumu.spectrum(scored, "dnn_score", datasets=[dataset], region="signal", channel="vbf")
        np.testing.assert_allclose(found.view(flow=True)["value"], [0, *expected, 0], rtol=1e-10)


def test_the_last_bin_takes_what_is_above_it() -> None:
    values = np.array([-0.1, 0.0, 2.79, 2.8, 9.0, np.nan])
    entry = np.zeros(6, np.int8), np.zeros(6, np.int64), values, np.array([1.0, 2, 4, 8, 16, 32])
    found = hists.filled("dnn_score", ["nominal"], {"nominal": entry}, score_bins=(0, 1, 2.8))
    assert found.view(flow=True)["value"][0, 0, 0].tolist() == [1, 2, 28, 0]


def test_every_variation_has_its_own_scores(scored: Any) -> None:
    total = functools.partial(hmumu.spectrum, scored, "dnn_score", datasets=["vbf_hmumu"])
    nominal = total().view(flow=True)["value"]
    for label in ("jes_Absolute_up", "jes_Absolute_down", "jer1_up", "pileup_up", "THU_VBF_TOT_up"):
        assert not np.array_equal(total(variation=label).view(flow=True)["value"], nominal), label
    histograms = scored["histograms"]
    assert list(histograms["vbf_hmumu"]["dimuon_mass"].axes["variation"]) == ["nominal"]
    assert list(histograms["data"]["dnn_score"].axes["variation"]) == ["nominal"]


def test_variations_of_weights_share_the_scores(samples: Path, calibrations: Any, folder: Path) -> None:
    import af_kit as af

    events = af.read(af.plan(af.load_fileset(samples / "fileset.yaml"), datasets=["vbf_hmumu"])[0])
    network = hmumu.load_network(folder)
    passes = hmumu.select(events, calibrations=calibrations, variations="all", network=network).passes
    nominal = passes["nominal"].variables.dnn_score
    assert passes["pileup_up"].variables.dnn_score is nominal
    for label in ("jes_Absolute_up", "jer1_up", "muon_scale_up"):  # the inputs move, some only a little
        assert not np.array_equal(passes[label].variables.dnn_score, nominal, equal_nan=True), label


# ---------------------------------------------------------------------------------------------------- what is refused


def test_a_checkpoint_sees_the_content_of_the_network(trained: network.Training) -> None:
    one = trained.network
    same = score.Network(tuple(bytes(bytearray(model)) for model in one.models), one.years)
    other = score.Network((one.models[1], *one.models[1:]), one.years)
    keys = [fingerprint(functools.partial(hmumu.analyse, network=network)) for network in (one, same, other)]
    assert keys[0] == keys[1] != keys[2]


def changed(about: dict[str, Any], **values: Any) -> str:
    return json.dumps({**about, **values})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder, about: (folder / "network.json").unlink(), "has no network.json"),
        (lambda folder, about: (folder / "network.json").write_text("{"), "network.json cannot be used"),
        (lambda folder, about: (folder / "fold2.onnx").unlink(), "fold2.onnx cannot be read.*Copy the whole folder"),
        (lambda folder, about: shutil.copy(folder / "fold0.onnx", folder / "fold1.onnx"), "fold1.onnx is damaged"),
        (
            lambda folder, about: (folder / "network.json").write_text(changed(about, inputs=["dimuon_pT"])),
            "unknown input 'dimuon_pT'. Did you mean 'dimuon_pt'",
        ),
        (
            lambda folder, about: (folder / "network.json").write_text(changed(about, inputs=about["inputs"][:-1])),
            "does not have the input.s. year",
        ),
        (
            lambda folder, about: (folder / "network.json").write_text(changed(about, inputs=about["inputs"][::-1])),
            "another order",
        ),
        (
            lambda folder, about: (folder / "network.json").write_text(changed(about, folds=about["folds"][:3])),
            "does not list the folds 0 to 3",
        ),
    ],
)
def test_a_folder_that_is_no_network_is_refused(folder: Path, tmp_path: Path, damage: Any, message: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    damage(tmp_path / "copy", json.loads((folder / "network.json").read_text()))
    with pytest.raises(InputError, match=message):
        hmumu.load_network(tmp_path / "copy")


def test_networks_of_other_folds_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    about = json.loads((folder / "network.json").read_text())
    about["folds"][1]["sha256"] = about["folds"][0]["sha256"]
    (tmp_path / "copy/network.json").write_text(json.dumps(about))
    shutil.copy(folder / "fold0.onnx", tmp_path / "copy/fold1.onnx")
    with pytest.raises(InputError, match=r"fold1.onnx is the network of fold 0, not 1"):
        hmumu.load_network(tmp_path / "copy")


def test_events_that_cannot_be_scored_are_refused(samples: Path, folder: Path) -> None:
    loaded = hmumu.load_network(folder)
    of_2017 = dataclasses.replace(loaded, years=(2017,))
    with pytest.raises(InputError, match=r"trained on 2017, and the campaign is of 2018"):
        hmumu.process(samples / "fileset.yaml", corrections="none", network=of_2017)
    with pytest.raises(InputError, match=r"2022 has no bins for the score"):
        score.check_scored(loaded, hmumu.load_campaign(2022))
    with pytest.raises(InputError, match=r"'dnn_score' needs a network"):
        hmumu.process(samples / "fileset.yaml", corrections="none", histograms=["dnn_score"])
    inputs = np.zeros((1, len(score.INPUTS)), np.float32)
    inputs[0, 1] = np.nan
    with pytest.raises(InputError, match=r"dimuon_pt of event 7 is nan"):
        loaded.output(inputs, np.array([7]))


# -------------------------------------------------------------------------------------------------------- the command


def test_the_commands_train_and_score(
    constant: Any, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(samples / "fileset.yaml"), "--corrections", "none", "--no-plots"]
    datasets = ["--datasets", "dy_m105_160_vbf", "vbf_hmumu", "ewk_lljj_m105_160"]
    results, network, scored = (str(tmp_path / name) for name in ("results", "network", "scored"))
    assert main(["run", "hmumu", *files, *datasets, "--out", results]) == 0
    assert main(["train", "hmumu", results, "--channels", "vbf,ggh_2jets", "--out", network]) == 0
    assert re.search(r"fold 3: .* AUC 0\.500", capsys.readouterr().out)
    assert {path.name for path in Path(network, "plots").glob("*.png")} == {
        "training.png", "roc.png", "importance.png"
    }  # fmt: skip
    assert main(["run", "hmumu", *files, *datasets, "--network", network, "--out", scored]) == 0
    about = json.loads(Path(scored, "normalisation.json").read_text())
    assert about["network"] == hmumu.load_network(network).digest
    assert main(["train", "hmumu", str(tmp_path), "--out", network]) == 2
    assert "Give the folder that af-kit run hmumu --out has written" in capsys.readouterr().err
