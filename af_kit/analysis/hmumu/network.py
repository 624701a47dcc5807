"""Train the networks that separate signal and background in events with two jets, and export them as ONNX.

Signal is H -> mu mu from vector-boson and gluon fusion, background is Drell-Yan and electroweak Zjj. The networks are
trained on events of the VBF channel in the signal region. In the sidebands they see a fixed mass, 125 GeV; trained on
those as well, they would learn that just this mass is background.

**Negative weights.** A cross-entropy with negative weights has no lower bound, and pairs of events cannot be cancelled
in 25 dimensions. So each event is trained on with the magnitude of its weight, times (sum of weights) / (sum of
magnitudes) of all selected events of its dataset: the processes keep their shares. This changes only how good the
separation is, never whether it is right: templates, ROC curves and AUC are made with the signed weights.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.hmumu import score
from af_kit.analysis.hmumu.keras_model import Trainer, exported, keras_module, step_size
from af_kit.analysis.hmumu.normalise import Factors, row_factors
from af_kit.analysis.hmumu.regions import CHANNELS, REGIONS
from af_kit.analysis.output import replacing, write_json
from af_kit.display.progress import Progress
from af_kit.display.tables import panel, table
from af_kit.errors import InputError, nearest

__all__ = ["BACKGROUND", "SIGNAL", "Training", "train"]

SIGNAL = ("vbf", "ggh")
BACKGROUND = ("dy", "ewkzjj")
"""The processes of the two classes."""

# Inputs that come from one variable are permuted together.
_TOGETHER = {
    "dimuon_pt": ("dimuon_pt", "log_dimuon_pt"),
    "dimuon_mass_resolution": ("dimuon_mass_resolution", "dimuon_mass_relative_resolution"),
    "dijet_mass": ("dijet_mass", "log_dijet_mass"),
}
# Of each fold; enough to see an importance of 0.01
_PERMUTED_ROWS = 20_000
_ROC_POINTS = 200

Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class Training:
    """Trained networks, and how the training went.

    Attributes
    ----------
    network : Network
        What `process` takes to score events.
    about : dict
        What ``network.json`` has: ``inputs``, ``years``, ``options``, ``events`` and share of ``negative_weights`` by
        process; ``folds``, for each its history of losses, AUC and ROC curve; ``auc`` of all events, each scored by the
        network that has not seen it; ``importance`` of the inputs; ``versions``.
    """

    network: score.Network
    about: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Training: {len(self.about['folds'])} folds, AUC {self.about['auc']:.3f}>"

    def _repr_html_(self) -> str:
        rows = [
            (
                str(fold["fold"]),
                fold["events"]["training"],
                f"{fold['best_epoch'] + 1} of {len(fold['loss'])}",
                f"{fold['auc']['training']:.3f}",
                f"{fold['auc']['unseen']:.3f}",
            )
            for fold in self.about["folds"]
        ]
        head = ("fold", "events", "best epoch", "AUC, training", "AUC, unseen")
        title = f"Training: AUC of events that their network has not seen: {self.about['auc']:.3f}"
        return panel(title, table(rows, head=head, numbers=range(1, 5)))

    def write(self, folder: str | Path, *, plots: bool = True, metadata: Mapping[str, Any] | None = None) -> list[Path]:
        """Write ``fold0.onnx`` to ``fold3.onnx``, ``network.json`` and ``plots/``; `load_network` reads the folder."""
        from af_kit.analysis.hmumu.network_plot import plot_training

        folder = Path(folder)
        paths = [folder / f"fold{fold}.onnx" for fold in range(score.FOLDS)]
        for path, model in zip(paths, self.network.models, strict=True):
            with replacing(path) as part:
                part.write_bytes(model)
        paths.append(write_json(self.about, folder / "network.json"))
        return paths + (plot_training(self.about, folder / "plots", metadata=metadata) if plots else [])


@dataclass(frozen=True)
class _Rows:
    """Events to train on."""

    inputs: NDArray[np.float32]
    event: NDArray[np.uint64]
    is_signal: NDArray[np.bool_]
    process: NDArray[Any]
    weight: Floats
    """Expected events, with their sign."""
    magnitude: Floats
    """The weight of the training: positive, with the same sum for each dataset as the weights have."""
    years: tuple[int, ...]

    def __len__(self) -> int:
        return self.event.size


def train(
    results: Any,
    *,
    regions: Sequence[str] = ("signal",),
    channels: Sequence[str] = ("vbf",),
    epochs: int = 100,
    batch_size: int = 4096,
    patience: int = 10,
    seed: int = 1,
    progress: bool | None = None,
) -> Training:
    """Train a network for each fold of the events.

    The network of a fold is trained on the next two folds (128, 64 and 32 tanh units, batch normalisation, dropout 0.2,
    Adam, cross-entropy), and stopped when the loss of the third has not become smaller for ``patience`` epochs; the
    weights of the best epoch count. Signal and background have the same sum of weights. Inputs are standardised with
    the mean and width of the events that the network is trained on.

    Parameters
    ----------
    results
        A result of `process`, the folder that ``af-kit run hmumu`` has written, or a list of these, for several years.
    regions, channels
        The events to train on, as in `REGIONS` and `CHANNELS`; they need two jets.
    epochs, batch_size, patience
        Largest number of epochs; events per step, fewer where an epoch would have less than 16 steps; epochs without
        improvement.
    seed
        Of starting weights, dropout and order of events.
    progress
        Show a progress bar; None: on a terminal and in a notebook.

    Raises
    ------
    InputError
        The results lack columns or normalisation; a fold has too few events of signal or background; an input is not a
        finite number.
    MissingExtraError
        keras or onnx is not installed.
    """
    keras = keras_module()  # before the rows are read: it may be missing
    for names, known in ((regions, REGIONS), (channels, CHANNELS)):
        for name in names:
            if name not in known:
                raise InputError(f"{name!r} is not one of {', '.join(known)}.{nearest(name, known)}")
    every = results if isinstance(results, list | tuple) else [results]
    rows = _joined([_rows_of(one, regions, channels) for one in every])
    _check(rows)
    fold, models, histories = score.fold_of(rows.event), [], []
    parts = [score.parts_of(number) for number in range(score.FOLDS)]
    step = min(step_size(int(np.isin(fold, one.training).sum()), batch_size) for one in parts)
    with Progress(epochs * len(parts), progress, what="train", unit="epochs") as bar:
        trainer = Trainer(
            keras,
            len(score.INPUTS),
            epochs=epochs,
            patience=patience,
            step=step,
            batch_size=batch_size,
            after_epoch=bar.update,
        )
        for number, one in enumerate(parts):
            samples = []
            for own in (np.isin(fold, one.training), fold == one.validation):
                signal = rows.is_signal[own]
                samples.append((rows.inputs[own], signal, _balanced(rows.magnitude[own], signal)))
            layers, history = trainer.fit(*samples, seed=seed * score.FOLDS + number)
            bar.skip(epochs - len(history["loss"]))  # it stopped early
            logger.info("train: fold %s of %s has stopped after %s epochs", number, len(parts), len(history["loss"]))
            notes = {"fold": str(number), "inputs": json.dumps(score.INPUTS), "years": json.dumps(rows.years)}
            models.append(exported(layers, notes))
            histories.append(history)
    network = score.Network(tuple(models), rows.years)
    options = {
        "regions": list(regions), "channels": list(channels), "epochs": epochs, "batch_size": batch_size,
        "patience": patience, "seed": seed, "events_per_step": step,
    }  # fmt: skip
    return Training(network, _about(network, rows, histories, options))


# The events

_COLUMNS = (
    "dataset", "process", "year", "event", "region", "n_jets", "weight",
    "dimuon_mass", "dimuon_mass_resolution", "dijet_mass", "zeppenfeld",
    *(name for name in score.INPUTS if not name.startswith("log_") and name != "dimuon_mass_relative_resolution"),
)  # fmt: skip


def _rows_of(result: Any, regions: Sequence[str], channels: Sequence[str]) -> _Rows:
    """Return the events of one result to train on."""
    import pyarrow.compute as pc

    kept = (
        pc.field("process").isin([*SIGNAL, *BACKGROUND])
        & pc.field("region").isin(list(regions))
        & pc.field("channel").isin(list(channels))
        & (pc.field("n_jets") >= 2)
    )
    if isinstance(result, Mapping):
        signs, table = result["candidates"].select(["dataset", "weight"]), result["candidates"].filter(kept)
        normalisation, where = result["normalisation"], "the result"
    else:
        signs, table, normalisation = _read(Path(result), kept)
        where = str(result)
    frame = table.select(list(dict.fromkeys(_COLUMNS))).to_pandas()
    weight, magnitude = np.empty(len(frame)), np.empty(len(frame))
    every = signs.to_pandas().groupby("dataset", observed=True)["weight"]
    share = every.sum() / every.apply(lambda weights: weights.abs().sum())
    for dataset, own in frame.groupby("dataset", observed=True).indices.items():
        if dataset not in normalisation:
            raise InputError(f"{where}: there is no normalisation of the dataset {dataset!r}.")
        if not share[dataset] > 0:
            raise InputError(
                f"{where}: the weights of the selected events of {dataset!r} add up to a negative number. It needs "
                "more events to train on."
            )
        factors = Factors(**normalisation[dataset]["factors"]["nominal"])
        weight[own] = frame["weight"].to_numpy()[own] * row_factors(factors, frame["n_jets"].to_numpy()[own])
        magnitude[own] = np.abs(weight[own]) * share[dataset]
    region = np.array([REGIONS.index(name) for name in frame["region"]], np.int8)
    year = frame["year"].to_numpy()
    inputs = score.inputs_of(lambda name: frame[name].to_numpy(), region=region, year=year)
    process = frame["process"].to_numpy(str)
    event = frame["event"].to_numpy()
    return _Rows(inputs, event, np.isin(process, SIGNAL), process, weight, magnitude, tuple(map(int, np.unique(year))))


def _read(folder: Path, kept: Any) -> tuple[Any, Any, Mapping[str, Any]]:
    """Return from a folder of results: dataset and weight of all rows, the rows to train on, the normalisation."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "candidates.parquet"
    columns = list(dict.fromkeys(_COLUMNS))
    try:
        signs = pq.read_table(path, columns=["dataset", "weight"])
        table = pq.read_table(path, columns=columns, filters=kept)
        normalisation = json.loads((folder / "normalisation.json").read_text(encoding="utf-8"))["datasets"]
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
        raise InputError(
            f"{folder} cannot be used for training: {reason}. Give the folder that af-kit run hmumu --out has written."
        ) from error
    return signs, table, normalisation


def _joined(parts: Sequence[_Rows]) -> _Rows:
    names = ("inputs", "event", "is_signal", "process", "weight", "magnitude")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return _Rows(**columns, years=tuple(sorted({year for part in parts for year in part.years})))


def _check(rows: _Rows) -> None:
    """Raise an InputError if a fold has no events of a class, or an input is not a finite number."""
    fold = score.fold_of(rows.event)
    for name, chosen in (("signal", rows.is_signal), ("background", ~rows.is_signal)):
        counts = np.bincount(fold[chosen], minlength=score.FOLDS)
        if counts.min() < 1:
            processes = ", ".join(SIGNAL if name == "signal" else BACKGROUND)
            raise InputError(
                f"Fold {counts.argmin()} has no {name} to train on; events of {processes} by fold: "
                f"{', '.join(map(str, counts))}. More simulated events are needed, or more channels."
            )
    if not np.isfinite(rows.inputs).all():
        row, column = np.argwhere(~np.isfinite(rows.inputs))[0]
        raise InputError(f"{score.INPUTS[column]} of event {rows.event[row]} is {rows.inputs[row, column]}.")


def _balanced(magnitude: Floats, is_signal: NDArray[np.bool_]) -> Floats:
    """Return weights with a mean of 1, and the same sum for signal and background."""
    weights = magnitude.copy()
    for chosen in (is_signal, ~is_signal):
        weights[chosen] *= magnitude.size / 2 / magnitude[chosen].sum()
    return weights


# How good they are


def roc(output: Floats, is_signal: NDArray[np.bool_], weight: Floats) -> tuple[Floats, Floats]:
    """Return the efficiencies of signal and background for every cut on the output, from the tightest on.

    With negative weights they may be outside 0..1, and need not be monotonous.
    """
    order = np.argsort(-output, kind="stable")
    last = np.append(np.diff(output[order]) != 0, True)  # events with the same output pass together
    signal, background = (
        np.cumsum(np.where(chosen, weight, 0)[order])[last] / weight[chosen].sum() for chosen in (is_signal, ~is_signal)
    )
    return np.insert(signal, 0, 0.0), np.insert(background, 0, 0.0)


def auc(output: Floats, is_signal: NDArray[np.bool_], weight: Floats) -> float:
    """Return the area under the ROC curve: 0.5 if the output does not separate at all, 1 for perfect separation."""
    signal, background = roc(output, is_signal, weight)
    return float(np.trapezoid(signal, background))


def _about(network: score.Network, rows: _Rows, histories: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    fold = score.fold_of(rows.event)
    unseen = network.output(rows.inputs, rows.event)
    folds = []
    for number, history in enumerate(histories):
        parts = score.parts_of(number)
        # The event numbers only choose the network: here the one of this fold, for events of other folds.
        output = network.output(rows.inputs, np.full(len(rows), number, np.uint64))
        chosen = {
            "training": np.isin(fold, parts.training), "validation": fold == parts.validation, "unseen": fold == number
        }  # fmt: skip
        areas = {name: auc(output[own], rows.is_signal[own], rows.weight[own]) for name, own in chosen.items()}
        own = chosen["unseen"]
        curve = roc(output[own], rows.is_signal[own], rows.weight[own])
        points = np.unique(np.linspace(0, curve[0].size - 1, _ROC_POINTS).astype(int))
        folds.append(
            {
                "fold": number,
                "trained_on": list(parts.training),
                "validated_on": parts.validation,
                "events": {name: int(own.sum()) for name, own in chosen.items()},
                "sha256": hashlib.sha256(network.models[number]).hexdigest(),
                "auc": areas,
                **history,
                "roc": dict(zip(("signal", "background"), (part[points].tolist() for part in curve), strict=True)),
            }
        )
    of_process = {name: rows.process == name for name in (*SIGNAL, *BACKGROUND) if (rows.process == name).any()}
    return {
        "inputs": list(score.INPUTS),
        "years": list(rows.years),
        "signal": list(SIGNAL),
        "background": list(BACKGROUND),
        "options": dict(options),
        "events": {name: int(own.sum()) for name, own in of_process.items()},
        "negative_weights": {name: float((rows.weight[own] < 0).mean()) for name, own in of_process.items()},
        "auc": auc(unseen, rows.is_signal, rows.weight),
        "folds": folds,
        "importance": _importance(network, rows, seed=options["seed"]),
        "versions": _versions(),
    }


def _importance(network: score.Network, rows: _Rows, *, seed: int) -> dict[str, dict[str, float]]:
    """Return by how much the AUC of unseen events falls when a variable is permuted among the events of a fold.

    ``auc_lost`` is the mean of the folds, ``error`` that of the mean, from their differences. The most important
    variable is the first.
    """
    rng = np.random.default_rng(seed)
    fold = score.fold_of(rows.event)
    lost: dict[str, list[float]] = {}
    repeated = {name for group in _TOGETHER.values() for name in group[1:]}
    names = [name for name in score.INPUTS if name not in repeated]
    for number in range(score.FOLDS):
        own = np.flatnonzero(fold == number)
        own = np.sort(rng.permutation(own)[:_PERMUTED_ROWS])
        inputs, event = rows.inputs[own], rows.event[own]
        area = functools.partial(auc, is_signal=rows.is_signal[own], weight=rows.weight[own])
        before = area(network.output(inputs, event))
        for name in names:
            columns = [score.INPUTS.index(one) for one in _TOGETHER.get(name, (name,))]
            permuted = inputs.copy()
            permuted[:, columns] = inputs[rng.permutation(own.size)][:, columns]
            lost.setdefault(name, []).append(before - area(network.output(permuted, event)))
    constant = {name for name in names if not np.ptp(rows.inputs[:, score.INPUTS.index(name)])}
    found = {
        name: {"auc_lost": float(np.mean(drops)), "error": float(np.std(drops, ddof=1) / np.sqrt(score.FOLDS))}
        for name, drops in lost.items()
        if name not in constant
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]["auc_lost"]))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    import keras

    names = ("af-kit", "keras", "onnx", "onnxruntime", "numpy")
    return {"python": platform.python_version(), "backend": keras.backend.backend()} | {
        name: version(name) for name in names
    }
