"""The order of merging: a tree over the tasks, fixed by their number alone.

Sixteen neighbours at a time, level by level, whoever finishes first: so a sum of weights has the same bits for any
number of workers.
"""

from __future__ import annotations

__all__ = ["ARITY", "MergeTree"]

ARITY = 16


class MergeTree:
    """Tells which node can be merged next when the leaves finish in any order.

    A node is ``(level, number)``; the leaves are level 0. Each finished node is handed in once by `finish`, which
    gives the parent when all of its children are there.
    """

    def __init__(self, leaves: int) -> None:
        self.sizes = [leaves]
        while self.sizes[-1] > 1:
            self.sizes.append(-(-self.sizes[-1] // ARITY))
        self._missing = {
            (level, number): len(self.children((level, number)))
            for level in range(1, len(self.sizes))
            for number in range(self.sizes[level])
        }

    @property
    def root(self) -> tuple[int, int]:
        """The node that holds everything."""
        return (len(self.sizes) - 1, 0)

    def children(self, node: tuple[int, int]) -> list[tuple[int, int]]:
        """The nodes that a node merges, in order."""
        level, number = node
        first = number * ARITY
        return [(level - 1, i) for i in range(first, min(first + ARITY, self.sizes[level - 1]))]

    def leaves(self, node: tuple[int, int]) -> range:
        """The numbers of the leaves below a node."""
        width = ARITY ** node[0]
        return range(node[1] * width, min((node[1] + 1) * width, self.sizes[0]))

    def finish(self, node: tuple[int, int]) -> tuple[int, int] | None:
        """Note that a node is done; the parent, if this was the last of its children."""
        parent = (node[0] + 1, node[1] // ARITY)
        if node == self.root:
            return None
        self._missing[parent] -= 1
        return parent if self._missing[parent] == 0 else None
