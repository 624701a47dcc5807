"""Sizes of awkward, hist and uproot objects for ``dask.sizeof``, which Dask's memory management relies on.

Without this, Dask counts an awkward array of any length as 56 bytes. Dask calls `register` through the entry point
``dask.sizeof`` in every process that imports it. The functions for a package are registered when Dask meets the first
of its objects, so nothing is imported early. Numpy-based vector arrays need nothing: they are numpy arrays for Dask.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# The Python objects around the buffers: small, but never 0, because Dask compares sizes.
_OVERHEAD = 1_000
# An open file has its header, its streamers and its directory's keys in memory; a branch its members and basket tables.
# Measured with tracemalloc on narrow and on NanoAOD files of 1500 branches.
_FILE = 10_000
_BRANCH = 10_000
# Attributes that lead from an uproot object to its file, which does not count.
_FILE_ATTRIBUTES = frozenset({"_file", "_parent", "_cursor", "_concrete", "_context"})


def register(sizeof: Any) -> None:
    """Register the types of awkward, hist and uproot with ``dask.sizeof.sizeof``.

    Parameters
    ----------
    sizeof : dask.utils.Dispatch
        Dask passes it during its own import.
    """
    for package, add in (
        ("awkward", _add_awkward),
        ("boost_histogram", _add_histograms),  # hist.Hist inherits from boost_histogram's
        ("hist", _add_stacks),
        ("uproot", _add_uproot),
    ):
        sizeof.register_lazy(package, functools.partial(add, sizeof))


def _add_awkward(sizeof: Any) -> None:
    import awkward as ak

    def layout_bytes(layout: Any) -> int:
        # A type tracer has shapes but no memory.
        return _OVERHEAD + (0 if ak.backend(layout) == "typetracer" else _memory(_buffers(layout)))

    sizeof.register(ak.Array, lambda array: layout_bytes(array.layout))
    sizeof.register(ak.Record, lambda record: layout_bytes(record.layout.array))
    sizeof.register(ak.contents.Content, layout_bytes)
    sizeof.register(ak.index.Index, lambda index: _OVERHEAD + _memory([index.data]))


def _buffers(layout: Any) -> Iterator[Any]:
    """Yield all arrays of an awkward layout, without reading virtual ones."""
    for name in ("data", "offsets", "starts", "stops", "index", "mask", "tags"):
        part = getattr(layout, name, None)
        if part is not None:
            yield getattr(part, "data", part) if name != "data" else part
    for content in getattr(layout, "contents", None) or [getattr(layout, "content", None)]:
        if content is not None:
            yield from _buffers(content)


def _memory(arrays: Any) -> int:
    """Return the bytes of memory that arrays occupy; memory shared between them (views, record fields) counts once."""
    import numpy as np
    from numpy.lib.array_utils import byte_bounds

    spans, elsewhere = [], 0
    for array in arrays:
        if not getattr(array, "is_materialized", True):
            continue  # a virtual array that has not been read
        if hasattr(array, "materialize"):
            array = array.materialize()
        if isinstance(array, np.ndarray):
            if array.size:
                spans.append(byte_bounds(array))
        elif hasattr(array, "__dlpack__"):  # on a GPU; a placeholder has no memory
            elsewhere += int(array.nbytes)
    total, end = 0, 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total + elsewhere


def _add_histograms(sizeof: Any) -> None:
    import boost_histogram as bh

    def histogram_bytes(histogram: Any) -> int:
        return _OVERHEAD + int(histogram.view(flow=True).nbytes) + sum(_axis_bytes(axis) for axis in histogram.axes)

    def _axis_bytes(axis: Any) -> int:
        # Regular and integer axes compute their edges; the others store them, or a string per category.
        if isinstance(axis, bh.axis.Variable):
            return 8 * (len(axis) + 1)
        if isinstance(axis, (bh.axis.StrCategory, bh.axis.IntCategory)):
            return sum(sys.getsizeof(axis.bin(i)) for i in range(len(axis)))
        return 0

    sizeof.register(bh.Histogram, histogram_bytes)


def _add_stacks(sizeof: Any) -> None:
    import hist

    sizeof.register(hist.Stack, lambda stack: _OVERHEAD + sum(sizeof(histogram) for histogram in stack))


def _add_uproot(sizeof: Any) -> None:
    import uproot

    def tree_bytes(tree: Any) -> int:
        return _FILE + _BRANCH * len(tree.keys(recursive=True))

    def model_bytes(model: Any) -> int:
        return _OVERHEAD + _memory(_model_arrays(model, set()))

    sizeof.register(uproot.ReadOnlyFile, lambda file: _FILE)
    sizeof.register(uproot.ReadOnlyDirectory, lambda directory: _FILE)
    sizeof.register(uproot.behaviors.TBranch.HasBranches, tree_bytes)
    sizeof.register(uproot.behaviors.RNTuple.HasFields, tree_bytes)
    sizeof.register(uproot.Model, model_bytes)


def _model_arrays(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the numpy arrays in an object read by uproot: a histogram's contents, a graph's points."""
    import numpy as np
    import uproot

    if isinstance(value, np.ndarray):
        yield value
        return
    if isinstance(value, uproot.Model):
        parts: Any = [part for name, part in vars(value).items() if name not in _FILE_ATTRIBUTES]
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    else:
        return
    if id(value) not in seen:
        seen.add(id(value))
        for part in parts:
            yield from _model_arrays(part, seen)
