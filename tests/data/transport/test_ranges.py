"""Merging byte ranges."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from af_kit.data.transport.ranges import coalesce

ranges = st.lists(
    st.tuples(st.integers(0, 9_000_000), st.integers(0, 3_000_000)).map(lambda r: (r[0], sum(r))), max_size=30
)


@given(ranges)
def test_each_range_is_part_of_one_merged_range(wanted):
    gap, longest = 1024, 2_097_136
    merged, index = coalesce(wanted, gap, longest)
    assert merged == sorted(merged)
    for (start, stop), i in zip(wanted, index, strict=True):
        assert (i == -1) == (start == stop)
        assert i == -1 or merged[i][0] <= start < stop <= merged[i][1]
    largest = max([stop - start for start, stop in wanted], default=0)
    assert all(stop - start <= max(longest, largest) for start, stop in merged)
    assert sum(b - a for a, b in merged) <= sum(b - a for a, b in wanted) + gap * len(wanted)


near_ranges = st.lists(
    st.tuples(st.integers(0, 300_000), st.integers(0, 50_000)).map(lambda r: (r[0], sum(r))), max_size=30
)


@given(near_ranges)
def test_ranges_within_the_gap_are_merged_and_little_else_is_fetched(wanted):
    merged, index = coalesce(wanted, 32 * 1024)
    assert merged == sorted(merged)
    for (start, stop), i in zip(wanted, index, strict=True):
        containing = [k for k, (first, last) in enumerate(merged) if first <= start and stop <= last]
        assert start == stop or containing == [i]
    assert all(b - a > 32 * 1024 for (_, a), (b, _) in itertools.pairwise(merged))
    covered = set()
    for start, stop in wanted:
        covered |= set(range(start // 1024, -(-stop // 1024)))
    assert sum(stop - start for start, stop in merged) <= 1024 * len(covered) + 33 * 1024 * max(len(wanted) - 1, 0)
