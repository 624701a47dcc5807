"""`send_model`: deliver ONNX models to every worker; each process loads a model once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from af_kit.errors import InputError, MissingExtraError
from af_kit.plugins.files import file, send_files

__all__ = ["Model", "model", "send_model"]

_BATCH_ROWS = 65_536
_loaded: dict[str, tuple[str, Model]] = {}
_lock = threading.Lock()


def send_model(client: Any, models: Mapping[str, str | Path], *, replace: bool = False) -> None:
    """Put ONNX models on all workers of a cluster, including those that join later.

    Parameters
    ----------
    client : distributed.Client, pyspark.sql.SparkSession or None
        The cluster; None for a run on threads of this process.
    models : mapping
        Name to path of the ``.onnx`` file. In your function, ``af_kit.model(name)`` returns the model, ready to use.
    replace : bool
        Replace models that were sent under the same names with different content.

    Raises
    ------
    InputError
        A file cannot be loaded as an ONNX model, or a different model was sent under this name and ``replace`` is not
        set.
    """
    for name, path in models.items():
        Model(str(path), name)  # an error here is better than one on every worker
    send_files(client, models, replace=replace)


def model(name: str) -> Model:
    """Return a model from `send_model`; the first call in a process loads it.

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

    It uses one thread: a worker already runs one task per core.

    Parameters
    ----------
    path : str
        The ``.onnx`` file.
    name : str
        Its name in error messages.

    Attributes
    ----------
    inputs, outputs : list of str
        Names of the model's inputs and outputs.
    """

    def __init__(self, path: str, name: str = "model") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError('Models need onnxruntime: pip install "af-kit[models]"') from error
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
        """Evaluate the model for each row of features.

        Parameters
        ----------
        features : array, sequence of arrays, or mapping
            For a model with one input: a two-dimensional array (rows, features), or a sequence of flat arrays, one per
            feature, in the order of the training. For a model with several inputs: a mapping from their names to such
            features.
        output : str, optional
            The name of the output; by default the first.

        Returns
        -------
        numpy.ndarray
            One row per row of the input; one-dimensional if the model returns one number per row.

        Raises
        ------
        InputError
            The inputs do not match the model's names or shapes, or are not flat numbers.
        """
        wanted = self.outputs[0] if output is None else output
        if wanted not in self.outputs:
            raise InputError(f"The model {self.name!r} has no output {wanted!r}; it has {', '.join(self.outputs)}.")
        feeds = self._feeds(features)
        rows = len(next(iter(feeds.values())))
        batches = [
            self._run(wanted, {name: array[start : start + _BATCH_ROWS] for name, array in feeds.items()})
            for start in range(0, max(rows, 1), _BATCH_ROWS)
        ]
        values = np.concatenate(batches)
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

    def _run(self, output: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            return np.asarray(self._session.run([output], dict(feeds))[0])
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"The model {self.name!r} does not accept {shapes}: {reason}") from error

    def _feeds(self, features: Any) -> dict[str, np.ndarray]:
        given = features if isinstance(features, Mapping) else {self.inputs[0]: features}
        if set(given) != set(self.inputs):
            raise InputError(f"The model {self.name!r} takes {', '.join(self.inputs)}, not {', '.join(given)}.")
        types = {item.name: item.type for item in self._session.get_inputs()}
        return {name: _matrix(array, types[name], self.name) for name, array in given.items()}


def _matrix(array: Any, onnx_type: str, name: str) -> np.ndarray:
    """Convert features to a two-dimensional array of the model's number type."""
    columns = isinstance(array, Sequence) and not isinstance(array, (str, bytes))
    try:
        matrix = np.stack([np.asarray(column) for column in array], axis=-1) if columns else np.asarray(array)
        matrix = matrix.astype({"tensor(double)": np.float64, "tensor(int64)": np.int64}.get(onnx_type, np.float32))
    except (ValueError, TypeError) as error:
        raise InputError(f"The features of the model {name!r} must be flat numbers of equal length: {error}") from error
    if matrix.ndim < 2:
        raise InputError(f"The features of the model {name!r} must be rows of numbers: give a list of flat arrays.")
    return matrix
