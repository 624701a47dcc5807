"""What all engines share: the merge tree, which is filled as tasks finish, and the outcome that they return.

An engine has to provide five things, and everything else is here or in `af_kit.run.task`:

1. call ``run_group(context, spans(group))`` for each group, anywhere, in any order, and again if the worker is lost;
2. call ``step`` when a group has finished, and be able to bring the group's result to the session for a checkpoint;
3. merge with ``combine`` the results that `Merger` asks for, anywhere: one node of the tree has `ARITY` children;
4. stop at once for an error of `stops_the_run` and for an interrupt, and return what is done by then;
5. end with a reason for each group that has no result, also if no worker ever comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from af_kit.errors import AfKitError
from af_kit.run.bookkeeping import Partial

__all__ = ["ARITY", "MergeTree", "Merger", "Outcome", "Step", "stops_the_run"]

# Neighbours that are merged at a time.
ARITY = 16

Step = Callable[[int, int, int, Callable[[], Partial]], None]
"""Called for each finished group with its number, the numbers of processed and of failed entries, and a function that
returns its partial result."""


@dataclass
class Outcome:
    """What an engine achieved before the run ended or was stopped."""

    partial: Partial
    reasons: dict[int, str] = field(default_factory=dict)
    """Why chunks of a group have no result, by the number of the group."""
    stopped_by: BaseException | None = None
    """The interrupt, or the error of the user's function, that ended the run early."""
    notes: list[str] = field(default_factory=list)
    """What the report should say."""
    threads: int = 0
    """Threads of all workers at the end; 0 if that is unknown."""


def stops_the_run(error: BaseException) -> bool:
    """Return whether an error ends the run; any other error only makes its group a failed one."""
    return isinstance(error, AfKitError) or not isinstance(error, Exception)


class MergeTree:
    """The order of merging: a tree over the tasks, fixed by their numbers.

    Neighbours are merged level by level, whichever finishes first, so a sum of weights has the same bits for any number
    of workers. A node is ``(level, number)``; the leaves are level 0.
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
        """Return the nodes that a node merges, in order."""
        level, number = node
        first = number * ARITY
        return [(level - 1, i) for i in range(first, min(first + ARITY, self.sizes[level - 1]))]

    def leaves(self, node: tuple[int, int]) -> range:
        """Return the numbers of the leaves below a node."""
        width = ARITY ** node[0]
        return range(node[1] * width, min((node[1] + 1) * width, self.sizes[0]))

    def finish(self, node: tuple[int, int]) -> tuple[int, int] | None:
        """Mark a node as done, once; return its parent if this was the last child."""
        parent = (node[0] + 1, node[1] // ARITY)
        if node == self.root:
            return None
        self._missing[parent] -= 1
        return parent if self._missing[parent] == 0 else None


class Merger:
    """Holds one handle per finished node, and merges neighbours as soon as the tree allows it.

    A handle is whatever the engine works with: a partial result, or a future of one. ``None`` is the handle of a group
    without a result.
    """

    def __init__(self, leaves: int, merge: Callable[[list[Any]], Any]) -> None:
        self._tree = MergeTree(leaves)
        self._merge = merge
        self._handles: dict[tuple[int, int], Any] = {}

    def finish(self, leaf: int, handle: Any) -> None:
        """Add a group's result."""
        node: tuple[int, int] = (0, leaf)
        self._handles[node] = handle
        while (parent := self._tree.finish(node)) is not None:
            children = [self._handles.pop(child) for child in self._tree.children(parent)]
            present = [child for child in children if child is not None]
            self._handles[parent] = self._merge(present) if len(present) > 1 else present[0] if present else None
            node = parent

    def finished(self) -> dict[tuple[int, int], Any]:
        """Return the handles that are not merged further, by their nodes; those without a result are left out."""
        return {node: handle for node, handle in self._handles.items() if handle is not None}

    def remaining(self) -> list[tuple[range, Any]]:
        """Return the handles that are not merged further, in order, each with the leaves that it covers."""
        left = [(self._tree.leaves(node), handle) for node, handle in self.finished().items()]
        return sorted(left, key=lambda item: item[0].start)
