"""What the tests of the readers share: samples, chunks, small files, and equality to the bit."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from af_kit.data.chunks import Chunk
from af_kit.data.reading.events import EventsArray, build
from af_kit.data.reading.reader import Reader
from af_kit.run.plan import plan

SAMPLES = Path(__file__).parents[1] / "samples"
CODECS = {
    "zlib": uproot.ZLIB(1),
    "lzma": uproot.LZMA(1),
    "lz4": uproot.LZ4(1),
    "zstd": uproot.ZSTD(1),
    "none": None,
}


def whole(path: Path | str | dict[str, Any], treename: str = "Events", **options: Any) -> Chunk:
    """One chunk with all entries of one file."""
    source = path if isinstance(path, dict) else str(path)
    (chunk,) = plan(source, treename=treename, chunk_entries=10**9, **options)
    return chunk


def cut(chunk: Chunk, start: int, stop: int) -> Chunk:
    """The same file's entries ``start`` to ``stop``."""
    return dataclasses.replace(chunk, entry_start=start, entry_stop=stop)


def opened(chunk: Chunk) -> tuple[EventsArray, Reader]:
    """Events and their reader, with its statistics."""
    reader = Reader(chunk.replicas[0], chunk.layout, chunk.entry_start, chunk.entry_stop)
    return build(reader, chunk.entry_start, chunk.entry_stop, {}), reader


def bits(array: Any) -> list[Any]:
    """The content of an array: its structure, and the type and bytes of each buffer."""
    _, length, buffers = ak.to_buffers(ak.to_packed(ak.materialize(array)))
    return [length, *((key, part.dtype.str, part.tobytes()) for key, part in buffers.items())]


def same(got: Any, want: Any) -> None:
    """Assert that two arrays are equal to the bit: values, also of NaN and -0, types, offsets.

    The names of records (Momentum4D) are not compared.
    """
    assert ak.array_equal(got, want, equal_nan=True, dtype_exact=True, check_parameters=False), (got.type, want.type)
    assert bits(got) == bits(want)


def jagged(rng: np.random.Generator, counts: np.ndarray, dtype: str = "f4") -> ak.Array:
    """Random bytes as numbers: all bit patterns, including NaNs with a payload."""
    size = int(counts.sum()) * np.dtype(dtype).itemsize
    return ak.unflatten(np.frombuffer(rng.bytes(size), dtype=dtype), counts)


def write_tree(path: Path, *parts: dict[str, Any], compression: Any = CODECS["zlib"], treename: str = "Events") -> Path:
    """A TTree with one cluster per part (assignment in uproot would make an RNTuple)."""
    with uproot.recreate(path, compression=compression) as file:
        tree = file.mktree(treename, {name: _type(column) for name, column in parts[0].items()})
        for part in parts:
            tree.extend(part)
    return path


def _type(column: Any) -> Any:
    return column.type.content if isinstance(column, ak.Array) else (column.dtype, column.shape[1:])


def write_nano(
    path: Path, entries: int = 100, *, clusters: int = 2, compression: Any = CODECS["zlib"], seed: int = 1
) -> Path:
    """A small NanoAOD-like tree: muons with a four-momentum, vertices that also have a position, scalars, triggers."""
    rng = np.random.default_rng(seed)
    edges = np.linspace(0, entries, clusters + 1).astype(int)
    return write_tree(path, *(_nano(rng, a, b) for a, b in itertools.pairwise(edges)), compression=compression)


def _nano(rng: np.random.Generator, start: int, stop: int) -> dict[str, Any]:
    n = int(stop - start)
    return {
        "run": np.full(n, 7, np.uint32),
        "event": np.arange(start, stop, dtype=np.uint64),
        "Muon": _vectors(rng, rng.integers(0, 4, n), {"charge": np.int32}),
        "SV": _vectors(rng, rng.integers(0, 3, n), {"x": np.float32, "y": np.float32, "z": np.float32}),
        "MET_pt": rng.exponential(30, n).astype(np.float32),
        "MET_phi": rng.uniform(-3, 3, n).astype(np.float32),
        "HLT_IsoMu24": rng.integers(0, 2, n).astype(bool),
        "HLT_Mu50": rng.integers(0, 2, n).astype(bool),
        "PV_npvs": rng.integers(0, 60, n).astype(np.int32),
    }


def _vectors(rng: np.random.Generator, counts: np.ndarray, more: dict[str, Any]) -> ak.Array:
    total = int(counts.sum())
    fields = {
        "pt": rng.exponential(20, total).astype(np.float32),
        "eta": rng.normal(0, 1.5, total).astype(np.float32),
        "phi": rng.uniform(-3, 3, total).astype(np.float32),
        "mass": np.full(total, 0.105, np.float32),
        **{name: rng.integers(-1, 2, total).astype(dtype) for name, dtype in more.items()},
    }
    return ak.zip({name: ak.unflatten(values, counts) for name, values in fields.items()})
