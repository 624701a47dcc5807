"""Rows of a table with bins that differ from row to row."""

from __future__ import annotations

import numpy as np
import pytest

from af_kit.corrections.bins import Bins
from af_kit.errors import InputError

# in eta -1..0 the edges in pt are 10, 20, 50; in eta 0..1 they are 10, 30
BINS = Bins([[-1, 10], [-1, 20], [0, 10]], [[0, 20], [0, 50], [1, 30]])


@pytest.mark.parametrize(
    ("eta", "pt", "row"),
    [
        (-0.5, 15, 0),
        (-0.5, 20, 1),  # the lower edge belongs to the bin
        (-0.5, 49.9, 1),
        (0.0, 29, 2),
        (0.5, 30, -1),  # the upper edge does not
        (-1.0, 10, 0),
        (1.0, 15, -1),
        (-1.1, 15, -1),
        (0.5, 9.9, -1),
        (np.nan, 15, -1),
    ],
)
def test_the_row_of_a_point(eta: float, pt: float, row: int) -> None:
    assert BINS.find([np.array([eta]), np.array([pt])]).tolist() == [row]


def test_many_points_agree_with_a_search_row_by_row() -> None:
    rng = np.random.default_rng(1)
    edges = [np.sort(rng.uniform(5, 100, 6)) for _ in range(8)]
    low = [[eta, pt] for eta in range(8) for pt in edges[eta][:-1]]
    high = [[eta + 1, pt] for eta in range(8) for pt in edges[eta][1:]]
    eta, pt = rng.uniform(-0.5, 8.5, 1000), rng.uniform(0, 110, 1000)
    found = Bins(low, high).find([eta, pt])
    for row, at_eta, at_pt in zip(found, eta, pt, strict=True):
        holds = [k for k in range(len(low)) if low[k][0] <= at_eta < high[k][0] and low[k][1] <= at_pt < high[k][1]]
        assert [row] == (holds or [-1])


def test_an_axis_can_be_clamped() -> None:
    eta, pt = np.array([-0.5, 0.5, -0.5, 5.0]), np.array([500.0, 5.0, 1.0, 15.0])
    assert BINS.find([eta, pt], clamp=(1,)).tolist() == [1, 2, 0, -1]


def test_the_first_of_overlapping_rows_counts() -> None:
    assert Bins([[0], [1]], [[2], [3]]).find([np.array([0.5, 1.5, 2.5])]).tolist() == [0, 0, 1]


def test_same_bins() -> None:
    assert Bins([[0], [1]], [[1], [2]]).same(Bins([[0], [1]], [[1], [2]]))
    assert not Bins([[0], [1]], [[1], [2]]).same(Bins([[1], [0]], [[2], [1]]))
    assert not Bins([[0], [1]], [[1], [2]]).same(Bins([[0], [1]], [[1], [3]]))


def test_a_table_that_would_fill_the_memory_is_refused() -> None:
    edges = np.linspace(0, 1, 6001)
    diagonal = np.stack([edges, edges], axis=1)
    with pytest.raises(InputError, match="too many different edges"):
        Bins(diagonal[:-1], diagonal[1:])
