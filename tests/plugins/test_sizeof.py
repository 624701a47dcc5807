"""What physics objects weigh for Dask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import awkward as ak
import boost_histogram as bh
import hist
import numpy as np
import pytest
import uproot
import vector
from dask.sizeof import sizeof

vector.register_awkward()

# The Python objects around the buffers.
SHELL = 2_000


def jagged(length: int = 10_000) -> ak.Array:
    """Records of one float64 and three float32 per entry: 8 + 12 bytes, and 8 of offsets."""
    return ak.zip(
        {"x": np.zeros(length), "n": ak.unflatten(np.zeros(3 * length, np.float32), np.full(length, 3))},
        depth_limit=1,
    )


def virtual(array: ak.Array) -> tuple[ak.Array, list[str]]:
    """The same array, read when used, and the list of what was read."""
    read: list[str] = []
    form, length, buffers = ak.to_buffers(array)

    def later(key: str):
        return lambda: (read.append(key), buffers[key])[1]

    return ak.from_buffers(form, length, {key: later(key) for key in buffers}), read


def test_awkward_array_weighs_its_buffers():
    assert sizeof(jagged()) == pytest.approx(280_008, abs=SHELL)
    assert sizeof(jagged().layout) == sizeof(jagged())


def test_a_record_keeps_its_array():
    assert sizeof(jagged()[0]) == pytest.approx(280_008, abs=SHELL)


@pytest.mark.parametrize(
    "array",
    [
        ak.Array(np.zeros((100, 1000))),
        ak.Array(ak.contents.RegularArray(ak.contents.NumpyArray(np.zeros(100_000)), 10)),
        ak.unflatten(np.zeros(100_000), np.full(100, 1000)),
        ak.mask(ak.Array(np.zeros(100_000)), np.ones(100_000, bool)),
        ak.concatenate([ak.Array(np.zeros(100_000)), ak.Array(["text"])]),
        ak.Array(np.zeros(100_000))[np.arange(100_000)],
    ],
    ids=["numpy", "regular", "jagged", "option", "union", "sliced"],
)
def test_all_layouts_are_looked_into(array: ak.Array):
    assert 800_000 <= sizeof(array) < 2_000_000


def test_shared_buffers_count_once():
    x = jagged().x
    assert sizeof(ak.zip({"a": x, "b": x}, depth_limit=1)) == pytest.approx(80_000, abs=SHELL)
    listed = jagged().n.layout.to_ListOffsetArray64()
    starts, stops = (ak.index.Index64(part) for part in (listed.offsets.data[:-1], listed.offsets.data[1:]))
    assert sizeof(ak.contents.ListArray(starts, stops, listed.content)) == pytest.approx(200_008, abs=SHELL)


def test_virtual_arrays_are_not_read():
    events, read = virtual(jagged())
    assert sizeof(events) < SHELL
    assert sizeof(events.n[5:]) < SHELL
    assert read == []
    np.asarray(events.x)
    assert len(read) == 1
    assert sizeof(events) == pytest.approx(80_000, abs=SHELL)
    assert len(read) == 1


def test_a_type_tracer_holds_no_memory():
    assert sizeof(ak.to_backend(jagged(), "typetracer")) < SHELL


def test_vectors():
    column = np.zeros(10_000)
    parts = {"pt": column, "eta": column + 1, "phi": column + 2, "mass": column + 3}
    assert sizeof(vector.zip(parts)) == pytest.approx(320_000, abs=SHELL)
    assert sizeof(vector.array(parts)) == pytest.approx(320_000, abs=SHELL)
    assert 0 < sizeof(vector.obj(pt=1, eta=0, phi=0, mass=0)) < SHELL


@pytest.mark.parametrize(
    ("storage", "size"),
    [("Int64", 8), ("Double", 8), ("Weight", 16), ("Mean", 24), ("WeightedMean", 32), ("Unlimited", 8)],
)
def test_histograms(storage: str, size: int):
    histogram = hist.Hist(hist.axis.Regular(98, 0, 1), hist.axis.Integer(0, 98), storage=storage)
    assert sizeof(histogram) == pytest.approx(10_000 * size, abs=SHELL)
    plain = bh.Histogram(bh.axis.Regular(9_998, 0, 1), storage=getattr(bh.storage, storage)())
    assert sizeof(plain) == pytest.approx(10_000 * size, abs=SHELL)


def test_histograms_hold_edges_and_categories():
    edges = hist.Hist.new.Var(np.arange(10_000.0)).Int64()
    assert sizeof(edges) == pytest.approx(160_000, abs=SHELL)
    categories = hist.Hist.new.StrCat([f"systematic {i}" for i in range(1000)], growth=True).Int64()
    assert 40_000 < sizeof(categories) < 100_000


def test_a_stack_weighs_its_histograms():
    one = hist.Hist.new.Reg(9_998, 0, 1).Int64()
    assert sizeof(hist.Stack(one, one.copy())) == pytest.approx(160_000, abs=2 * SHELL)


@pytest.fixture(scope="module")
def root_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sizeof") / "file.root"
    with uproot.recreate(path) as file:
        file["tree"] = {f"branch{i}": np.zeros(100) for i in range(20)}
        file["histogram"] = np.histogram(np.zeros(10), bins=10_000)
    return path


def test_open_files_and_trees_are_handles(root_file: Path):
    with uproot.open(root_file) as file:
        assert sizeof(file) == sizeof(file.file) == pytest.approx(10_000, abs=10_000)
        assert 100_000 < sizeof(file["tree"]) < 500_000  # 20 branches, not their data
        assert 5_000 < sizeof(file["tree"]["branch0"]) < 50_000


def test_objects_read_by_uproot_weigh_their_arrays(root_file: Path):
    with uproot.open(root_file) as file:
        # 10 002 contents in bins of one width; not the file behind them
        assert sizeof(file["histogram"]) == pytest.approx(80_016, abs=SHELL)


def test_a_process_that_never_imported_the_kit():
    code = (
        "import sys, dask.sizeof\n"
        "assert not {'awkward', 'hist', 'uproot', 'numpy'} & set(sys.modules), 'the entry point is not light'\n"
        "import awkward as ak, numpy as np, hist\n"
        "objects = ak.Array(np.zeros(100_000)), hist.Hist.new.Reg(9_998, 0, 1).Int64()\n"
        "print(*map(dask.sizeof.sizeof, objects))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    array, histogram = map(int, done.stdout.split())
    assert array == pytest.approx(800_000, abs=SHELL)
    assert histogram == pytest.approx(80_000, abs=SHELL)
