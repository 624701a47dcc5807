"""The merge tree: whichever task finishes first, the same neighbours are merged."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from af_kit.run.engines.base import ARITY, Merger, MergeTree


def merged_in(order: list[int], absent: frozenset[int] = frozenset()) -> list[tuple[range, object]]:
    """What remains when the leaves finish in this order; a merge is a nested list."""
    merger = Merger(len(order), lambda parts: list(parts))
    for leaf in order:
        merger.finish(leaf, None if leaf in absent else leaf)
    return merger.remaining()


def leaves_of(node: object) -> list[int]:
    return [leaf for part in node for leaf in leaves_of(part)] if isinstance(node, list) else [node]


@given(st.integers(1, 600), st.integers(0, 10), st.floats(0, 1))
def test_any_order_gives_the_same_merges(leaves, seed, share):
    source = random.Random(seed)
    order = list(range(leaves))
    absent = frozenset(leaf for leaf in order if source.random() < share)
    in_order = merged_in(order, absent)
    source.shuffle(order)
    assert merged_in(order, absent) == in_order
    present = [leaf for leaf in range(leaves) if leaf not in absent]
    assert [leaf for _, node in in_order for leaf in leaves_of(node)] == present
    assert len(in_order) <= 1


@given(st.integers(1, 600), st.data())
def test_a_run_that_stops_keeps_every_finished_leaf_once(leaves, data):
    done = data.draw(st.sets(st.integers(0, leaves - 1)))
    merger = Merger(leaves, lambda parts: list(parts))
    for leaf in done:
        merger.finish(leaf, leaf)
    left = merger.remaining()
    assert [leaf for _, node in left for leaf in leaves_of(node)] == sorted(done)
    for numbers, node in left:
        assert leaves_of(node) == list(numbers)


@pytest.mark.parametrize("leaves", [1, 2, ARITY, ARITY + 1, ARITY**2, ARITY**2 + 1])
def test_the_leaves_of_a_node(leaves):
    tree = MergeTree(leaves)
    assert tree.leaves(tree.root) == range(leaves)
    if leaves > 1:
        assert [leaf for child in tree.children(tree.root) for leaf in tree.leaves(child)] == list(range(leaves))
