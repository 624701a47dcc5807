"""Trained models on every worker: an ONNX file sent once, loaded once per process, evaluated on flat arrays."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.errors import InputError, MissingExtraError
from af_kit.plugins.files import file, send_files

__all__ = ["Model", "model", "send_model"]

_BATCH = 65_536
_loaded: dict[str, tuple[str, Model]] = {}
_lock = threading.Lock()


def send_model(client: Any, models: Mapping[str, str | Path], *, replace: bool = False) -> None:
    """Put ONNX models on every worker of a cluster, also on those that come later.

    Parameters
    ----------
    client : distributed.Client or None
        The cluster; None for a run on threads of this process.
    models : mapping
        Name: path of the ``.onnx`` file. In the function of events, ``af_kit.model(name)`` gives it, ready to use.
    replace : bool
        Whether a name that stands for another model already may be given this one.

    Raises
    ------
    InputError
        A file cannot be loaded as an ONNX model, or a name stands for another one.
    """
    for name, path in models.items():
        Model(str(path), name)  # here and now, rather than later on every worker
    send_files(client, models, replace=replace)


def model(name: str) -> Model:
    """The model that was sent under a name, loaded when first asked for in a process.

    Raises
    ------
    InputError
        No model was sent under this name.
    """
    path = file(name)
    with _lock:
        known = _loaded.get(name)
        if known is None or known[0] != path:
            _loaded[name] = known = (path, Model(path, name))
        return known[1]


class Model:
    """An ONNX model for inference.

    It computes on one thread: a worker runs as many tasks as it has cores already, and more threads would only get in
    each other's way.

    Parameters
    ----------
    path : str
        The ``.onnx`` file.
    name : str
        How to call it in errors.

    Attributes
    ----------
    inputs, outputs : list of str
        Names of the model's inputs and outputs.
    """

    def __init__(self, path: str, name: str = "model") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("Models need onnxruntime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{path}, the model {name!r}, cannot be loaded as ONNX: {reason}") from error
        self.name = name
        self.inputs = [item.name for item in self._session.get_inputs()]
        self.outputs = [item.name for item in self._session.get_outputs()]

    def __repr__(self) -> str:
        return f"<Model {self.name!r}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}>"

    def predict(self, features: Any, *, output: str | None = None) -> np.ndarray:
        """The model's output for each row.

        Parameters
        ----------
        features : array, sequence of arrays, or mapping
            For a model with one input: a two-dimensional array (rows, features), or the features as a sequence of
            flat arrays in the order of the training. For a model with several inputs: a mapping of their names.
        output : str, optional
            Which output; the first by default.

        Returns
        -------
        numpy.ndarray
            One row per row of the input; flat where the model gives one number per row.

        Raises
        ------
        InputError
            The inputs are of another number or length than the model's, or are not flat numbers.
        """
        wanted = self.outputs[0] if output is None else output
        if wanted not in self.outputs:
            raise InputError(f"The model {self.name!r} has no output {wanted!r}; it has {', '.join(self.outputs)}.")
        feeds = self._feeds(features)
        rows = len(next(iter(feeds.values())))
        answers = [
            self._run(wanted, {name: array[at : at + _BATCH] for name, array in feeds.items()})
            for at in range(0, max(rows, 1), _BATCH)
        ]
        values = np.concatenate(answers)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

    def _run(self, output: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            return np.asarray(self._session.run([output], dict(feeds))[0])
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"The model {self.name!r} does not take {shapes}: {reason}") from error

    def _feeds(self, features: Any) -> dict[str, np.ndarray]:
        given = features if isinstance(features, Mapping) else {self.inputs[0]: features}
        if set(given) != set(self.inputs):
            raise InputError(f"The model {self.name!r} takes {', '.join(self.inputs)}; given was {', '.join(given)}.")
        types = {item.name: item.type for item in self._session.get_inputs()}
        return {name: _matrix(array, types[name], self.name) for name, array in given.items()}


def _matrix(array: Any, kind: str, name: str) -> np.ndarray:
    """Features as the two-dimensional array of the model's own number type."""
    columns = isinstance(array, Sequence) and not isinstance(array, (str, bytes))
    try:
        matrix = np.stack([np.asarray(column) for column in array], axis=-1) if columns else np.asarray(array)
        matrix = matrix.astype({"tensor(double)": np.float64, "tensor(int64)": np.int64}.get(kind, np.float32))
    except (ValueError, TypeError) as error:
        raise InputError(f"The features of the model {name!r} must be flat numbers of equal length: {error}") from error
    if matrix.ndim < 2:
        raise InputError(f"The features of the model {name!r} must be rows of numbers: give a list of flat arrays.")
    return matrix
