"""A merged result: data and simulation separately."""

from __future__ import annotations

import numpy as np
import pytest

from af_kit.analysis.dsphipi.results import parts, spectrum


def test_data_and_simulation_are_never_added_up(both):
    pieces = parts(both)
    assert both["simulated"] == {"mc_2017B": 40_000}
    assert list(pieces) == ["data", "simulation"]
    assert list(pieces["data"]["mass"].axes["dataset"]) == ["data_2017B", "data_2017C"]
    for kind, piece in pieces.items():
        rows = piece["candidates"]
        names = set(rows["dataset"].to_pylist())
        assert names == {
            name for name in both["mass"].axes["dataset"] if name.startswith(kind[:1] if kind == "data" else "mc")
        }
        inside = np.histogram(rows["mass"], 62, (1.65, 2.01), weights=rows["weight"])[0].sum()
        assert spectrum(piece).sum().value == pytest.approx(inside, abs=1)
        assert piece["cutflow"].sum() > 0
    assert sum(piece["candidates"].num_rows for piece in pieces.values()) == both["candidates"].num_rows
    assert sum(piece["cutflow"].sum() for piece in pieces.values()) == both["cutflow"].sum()


def test_one_kind_alone_is_the_result_itself(data):
    assert parts(data) == {"data": data}
