"""Tables in ROOT files: bins, edges, errors, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import uproot

from af_kit.corrections import histogram
from af_kit.errors import InputError


def test_a_bin_contains_its_lower_edge_and_outside_is_the_nearest_bin(write_root, table) -> None:
    path = write_root("a.root", {"h": table([0, 1, 2], [10, 20, 50], values=[[1, 2], [3, 4]], errors=[[5, 6], [7, 8]])})
    found = histogram.read(path, "h")
    value, error = found.at(np.array([0.0, 0.999, 1.0, -5.0, 9.0]), np.array([10.0, 20.0, 19.9, 50.0, -1.0]))
    assert value.tolist() == [1, 2, 3, 2, 3]
    assert error.tolist() == [5, 6, 7, 6, 7]


def test_three_dimensions(write_root, table) -> None:
    values = np.arange(8.0).reshape(2, 2, 2)
    found = histogram.read(write_root("a.root", {"h": table([0, 1, 2], [0, 1, 2], [0, 1, 2], values=values)}), "h")
    for bins in np.ndindex(2, 2, 2):
        assert found.at(*(np.array([i + 0.5]) for i in bins))[0] == values[bins]


def test_tables_of_the_same_bins_are_averaged(write_root, table) -> None:
    one, other, different = (
        histogram.read(
            write_root(f"{edge}{value}.root", {"h": table([0, edge], values=[value], errors=[value / 10])}), "h"
        )
        for edge, value in ((1, 2), (1, 4), (2, 4))
    )
    ((share, both),) = histogram.average([(0.25, one), (0.75, other)])
    assert (share, both.values.tolist(), both.errors.tolist()) == (1.0, [3.5], [pytest.approx(0.35)])
    assert histogram.average([(0.25, one), (0.75, different)]) == ((0.25, one), (0.75, different))


def test_names_and_an_unknown_one(write_root, table) -> None:
    path = write_root("a.root", {"folder/pileup": table([0, 1], values=[1])})
    assert histogram.names(path)["folder/pileup"].startswith("TH1")
    with pytest.raises(InputError, match=r"no 'folder/pile_up' in .*a\.root\. Did you mean 'folder/pileup'\?"):
        histogram.read(path, "folder/pile_up")


def test_nan_and_other_objects_are_refused(write_root, table) -> None:
    path = write_root("a.root", {"h": table([0, 1], values=[np.nan]), "t": {"x": np.arange(3)}})
    with pytest.raises(InputError, match="NaN or infinite"):
        histogram.read(path, "h")
    with pytest.raises(InputError, match=r"'t' in .* is a ROOT::RNTuple, not a histogram"):
        histogram.read(path, "t")
    with pytest.raises(InputError, match="is a TH1D, not a graph"):
        histogram.read_graph(path, "h")


def test_points_of_a_graph_are_sorted(write_root) -> None:
    path = write_root("a.root", {"g": uproot.as_TGraph(pd.DataFrame({"x": [2.0, 1.0], "y": [20.0, 10.0]}))})
    x, y = histogram.read_graph(path, "g")
    assert (x.tolist(), y.tolist()) == ([1, 2], [10, 20])


def test_a_file_that_is_not_root_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    path.write_text("text")
    with pytest.raises(InputError, match=r"a\.root is not a ROOT file"):
        histogram.names(path)
