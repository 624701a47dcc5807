from __future__ import annotations

import numpy as np
import pytest
from hist import Hist

from af_kit.analysis.fit import Binned, Unbinned, as_data
from af_kit.errors import InputError


def test_a_histogram_of_counts_is_counts():
    for storage in ("Int64", "Double", "Weight"):
        histogram = getattr(Hist.new.Reg(4, 0, 4), storage)().fill([0.5, 0.5, 2.5, 7])
        data = as_data(histogram)
        assert isinstance(data, Binned)
        assert data.counts.tolist() == [2, 0, 1, 0]
        assert not data.weighted


def test_a_weighted_histogram_has_the_sums_of_squares():
    data = as_data(Hist.new.Reg(2, 0, 2).Weight().fill([0.5, 0.5], weight=[2, 3]))
    assert data.weighted
    assert data.counts.tolist() == [5, 0]
    assert data.variances.tolist() == [13, 0]


def test_weights_without_their_squares_are_not_counts():
    empty = Hist.new.Reg(2, 0, 2)
    plain = empty.Double().fill([0.5])
    halves = empty.Double()
    halves.view()[...] = [0.5, 1]
    for wrong in (empty.Double().fill([0.5], weight=[2]), empty.Unlimited().fill([0.5], weight=[2]), plain * 2, halves):
        with pytest.raises(InputError, match=r"errors are unknown.*\.Weight\(\)"):
            as_data(wrong)
    counts = empty.Int64().fill([0.5])
    assert not as_data(counts + counts).weighted
    scaled = as_data(empty.Weight().fill([0.5]) * 0.5)
    assert scaled.variances.tolist() == [0.25, 0]


def test_values_with_weights_of_one_are_counted():
    assert not as_data([1.0, 2.0], [1, 1]).weighted
    assert as_data([1.0, 2.0], [1, 2]).total == 3


def test_only_data_inside_the_range_are_used():
    data = Unbinned(np.array([0.5, 1.0, 1.5, 2.0]), np.array([1.0, 2, 3, 4])).inside(1, 2)
    assert data.values.tolist() == [1, 1.5]
    assert data.weights.tolist() == [2, 3]
    inside = as_data(Hist.new.Reg(10, 0, 1).Int64().fill([0.05, 0.35, 0.45])).inside(0.3, 0.7)
    assert inside.counts.tolist() == [1, 1, 0, 0]
    assert inside.edges == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])


def test_values_in_bins_keep_their_weights():
    data = Unbinned(np.array([0.5, 0.6, 1.5]), np.array([2.0, 3, 1])).binned(np.array([0.0, 1, 2]))
    assert data.counts.tolist() == [5, 1]
    assert data.variances.tolist() == [13, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: as_data([1.0, np.nan]), "1 of 2 values are not finite"),
        (lambda: as_data([[1.0]]), "an array of 2 dimensions"),
        (lambda: as_data([1.0, 2.0], [1]), "2 values need as many finite weights"),
        (lambda: as_data(Hist.new.Reg(2, 0, 1, name="mass").Reg(2, 0, 1, name="pt").Int64()), "the axes mass, pt"),
        (lambda: as_data(Hist.new.Reg(1, 0, 1).Weight().fill([0.5], weight=[-1])), "negative sum of weights"),
        (lambda: Binned(np.array([0.0, 1]), np.array([-1.0])), "negative count"),
        (lambda: as_data(Hist.new.Reg(3, 0, 1).Int64()).inside(0.3, 0.6), "does not start and end at bin edges"),
        (lambda: as_data(Hist.new.Reg(3, 0, 1).Int64()).inside(0, 2), "does not start and end at bin edges"),
    ],
)
def test_invalid_data_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
