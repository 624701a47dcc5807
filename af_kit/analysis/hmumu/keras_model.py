"""The network in keras: import it with a backend that is there, fit it, and export it as ONNX."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.errors import FitError, MissingExtraError

__all__ = ["Layers", "Trainer", "exported", "keras_module", "step_size"]

UNITS = (128, 64, 32)
DROPOUT = 0.2
# An epoch has at least this many steps: small samples are trained on in smaller batches.
_LEAST_STEPS = 16
_BACKENDS = ("jax", "tensorflow", "torch")
# Understood by every ONNX Runtime since 2021
_OPSET, _IR_VERSION = 13, 8

Sample = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]
"""Inputs, whether it is signal, and weight of each event."""


class Layers(NamedTuple):
    """The numbers of a trained network, in double precision, without batch normalisation."""

    mean: NDArray[np.float64]
    width: NDArray[np.float64]
    """Of the inputs in the training."""
    dense: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
    """Kernel and bias of each layer: tanh units, and one sigmoid unit at the end."""


def keras_module() -> Any:
    """Import keras, and return it.

    The backend is the user's if keras is imported already, if ``KERAS_BACKEND`` is set, or if keras' configuration file
    names an installed one. Otherwise it is jax, which the kit's environment has; the environment variable is as before
    afterwards.
    """
    for name in ("keras", "onnx"):
        if find_spec(name) is None:
            raise MissingExtraError(f'Training a network needs {name}: pip install "af-kit[train]"')
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND") or _configured():
        import keras

        return keras
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = "jax"
    try:
        import keras
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before
    return keras


def _configured() -> bool:
    """Return whether keras' configuration file names a backend that is installed.

    keras writes the file when it is first imported, with tensorflow in it whether there is one or not.
    """
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        backend = json.loads(path.read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return False
    return backend in _BACKENDS and find_spec(backend) is not None


class Trainer:
    """A compiled network that is fitted to one sample after the other, each time from new starting weights.

    Compiling takes longer than training on a small sample.

    Parameters
    ----------
    keras
        From `keras_module`.
    inputs
        Number of inputs.
    epochs, patience
        Largest number of epochs, and of epochs without improvement.
    step, batch_size
        Events per step of the training, and of the validation.
    after_epoch
        Called after each epoch.
    """

    def __init__(
        self,
        keras: Any,
        inputs: int,
        *,
        epochs: int,
        patience: int,
        step: int,
        batch_size: int,
        after_epoch: Callable[[], None] = lambda: None,
    ) -> None:
        self._keras, self._epochs, self._patience = keras, epochs, patience
        self._step, self._batch_size, self._after_epoch = step, batch_size, after_epoch
        layers: list[Any] = [keras.Input((inputs,))]
        for units in UNITS:
            layers += [
                keras.layers.Dense(units, activation="tanh", dtype="float32"),
                keras.layers.BatchNormalization(dtype="float32"),
                keras.layers.Dropout(DROPOUT, dtype="float32"),
            ]
        layers.append(keras.layers.Dense(1, activation="sigmoid", dtype="float32"))
        self._model = keras.Sequential(layers)
        self._model.compile(optimizer=keras.optimizers.Adam(), loss="binary_crossentropy")
        self._model.optimizer.build(self._model.trainable_variables)
        self._start = [np.asarray(variable) for variable in self._model.optimizer.variables]

    def fit(self, training: Sample, validation: Sample, *, seed: int) -> tuple[Layers, dict[str, Any]]:
        """Fit the network, and return its numbers at the epoch with the smallest loss of the validation sample.

        Returns
        -------
        Layers
            The numbers of the network.
        dict
            ``loss`` and ``validation_loss``, one of each per epoch, and ``best_epoch``, counted from 0. The loss of the
            training sample is that during the epoch, with dropout.
        """
        inputs, _, weight = training
        mean = np.average(inputs.astype(np.float64), axis=0, weights=weight)
        width = np.sqrt(np.average((inputs - mean) ** 2, axis=0, weights=weight))
        width[width < 1e-6 * np.maximum(np.abs(mean), 1)] = 1.0  # the year, in a sample of one year
        self._reset(seed)
        stop = self._keras.callbacks.EarlyStopping("val_loss", patience=self._patience, restore_best_weights=True)
        history = self._model.fit(
            _batches(self._keras, _standardised(training, mean, width), self._step, seed),
            validation_data=_padded(_standardised(validation, mean, width), self._batch_size),
            validation_batch_size=self._batch_size,
            epochs=self._epochs,
            callbacks=[stop, self._keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: self._after_epoch())],
            shuffle=False,  # the batches are shuffled already; keras would use the global random numbers
            verbose=0,
        ).history
        losses = {"loss": history["loss"], "validation_loss": history["val_loss"]}
        about: dict[str, Any] = {name: [float(loss) for loss in values] for name, values in losses.items()}
        if not np.isfinite(about["validation_loss"]).all():
            raise FitError("The training failed: the loss of the validation sample is not a finite number.")
        return Layers(mean, width, _dense(self._model)), {
            **about,
            "best_epoch": int(np.argmin(about["validation_loss"])),
        }

    def _reset(self, seed: int) -> None:
        """Set all variables to starting values (Glorot's for the weights), and the seed of each dropout."""
        rng = np.random.default_rng(seed)
        for number, layer in enumerate(self._model.layers):
            kind = type(layer).__name__
            if kind == "Dense":
                units_in, units_out = layer.kernel.shape
                limit = np.sqrt(6 / (units_in + units_out))
                layer.set_weights([rng.uniform(-limit, limit, (units_in, units_out)), np.zeros(units_out)])
            elif kind == "BatchNormalization":
                size = layer.gamma.shape[0]
                layer.set_weights([np.ones(size), np.zeros(size), np.zeros(size), np.ones(size)])
            elif kind == "Dropout":
                layer.seed_generator.state.assign(np.array([seed, number], np.uint32))
        for variable, value in zip(self._model.optimizer.variables, self._start, strict=True):
            variable.assign(value)


def step_size(rows: int, batch_size: int) -> int:
    """Return the events per step: ``batch_size``, or fewer in a small sample."""
    return max(rows // max(_LEAST_STEPS, -(-rows // batch_size)), 1)


def _standardised(sample: Sample, mean: Any, width: Any) -> Sample:
    inputs, is_signal, weight = sample
    return ((inputs - mean) / width).astype(np.float32), is_signal, weight


def _arrays(sample: Sample) -> tuple[NDArray[np.float32], ...]:
    inputs, is_signal, weight = sample
    return inputs, is_signal.astype(np.float32)[:, None], weight.astype(np.float32)


def _padded(sample: Sample, batch_size: int) -> tuple[NDArray[np.float32], ...]:
    """Return the sample filled up with events of weight 0 to whole batches, so that only one size is compiled."""
    rows = len(sample[2])
    whole = -(-rows // batch_size) * batch_size
    filled = []
    for values in _arrays(sample):
        filled.append(np.zeros((whole, *values.shape[1:]), np.float32))
        filled[-1][:rows] = values
    filled[2] *= whole / rows  # the loss is a mean over all rows
    return tuple(filled)


def _batches(keras: Any, sample: Sample, size: int, seed: int) -> Any:
    """Return the sample in batches of one size, in a new order each epoch; a few events are left out of each."""

    class Batches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self._arrays, self._rng = _arrays(sample), np.random.default_rng(seed)
            self.on_epoch_end()

        def on_epoch_end(self) -> None:
            self._order = self._rng.permutation(len(sample[2]))

        def __len__(self) -> int:
            return len(sample[2]) // size

        def __getitem__(self, number: int) -> tuple[NDArray[np.float32], ...]:
            rows = self._order[number * size : (number + 1) * size]
            return tuple(values[rows] for values in self._arrays)

    return Batches()


def _dense(model: Any) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return kernels and biases, with each batch normalisation folded into the layer after it."""
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    scale: Any = 1.0
    shift: Any = 0.0
    for layer in model.layers:
        values = [np.asarray(value, np.float64) for value in layer.get_weights()]
        kind = type(layer).__name__
        if kind == "Dense":
            kernel, bias = values
            found.append((np.reshape(scale, (-1, 1)) * kernel, bias + np.asarray(shift) @ kernel if found else bias))
        elif kind == "BatchNormalization":
            gamma, beta, mean, variance = values
            scale = gamma / np.sqrt(variance + layer.epsilon)
            shift = beta - mean * scale
    return found


def exported(layers: Layers, notes: Mapping[str, str]) -> bytes:
    """Return a network as an ONNX model, with ``notes`` as its metadata.

    The input ``inputs`` is of shape (events, inputs), before standardisation; the output ``score`` of (events, 1).
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = {"mean": layers.mean, "scale": 1 / layers.width}
    nodes = [
        helper.make_node("Sub", ["inputs", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["hidden0"]),
    ]
    for number, (kernel, bias) in enumerate(layers.dense):
        constants |= {f"kernel{number}": kernel, f"bias{number}": bias}
        last = number == len(layers.dense) - 1
        nodes += [
            helper.make_node("Gemm", [f"hidden{number}", f"kernel{number}", f"bias{number}"], [f"sum{number}"]),
            helper.make_node(
                "Sigmoid" if last else "Tanh", [f"sum{number}"], ["score" if last else f"hidden{number + 1}"]
            ),
        ]
    graph = helper.make_graph(
        nodes,
        "hmumu",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["events", layers.mean.size])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["events", 1])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(model, dict(notes))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
