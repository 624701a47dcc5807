"""The columns of an RNTuple in planning: which of them the kit can decode, and which lists contain their elements."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from af_kit.data.reading.page_lists import Cluster
from af_kit.data.reading.page_table import PageColumn
from af_kit.data.reading.pages import Encoding, encoding_of

__all__ = ["NotNative", "NtupleColumns", "children_of"]

_DEFERRED = 1  # flag of a column that was added after the first entries
_CHECKED = 128
# uproot's form keys; the reader's are without the role, which follows from the node and the column.
_KEY = re.compile(r"column-(\d+)(-cardinality|-optional)?")
_ROLES = {"NumpyArray": (None, "-cardinality"), "ListOffsetArray": (None,), "IndexedOptionArray": ("-optional",)}
_WITHOUT_COLUMN = ("RecordArray", "RegularArray")


class NotNative(Exception):
    """The kit does not decode this field."""


class NtupleColumns:
    """The columns of an RNTuple that uproot has opened.

    Parameters
    ----------
    ntuple : uproot's RNTuple
        For the records of its fields and columns.
    clusters : list of Cluster
        The parsed page lists.
    entries : numpy.ndarray
        First entry of each cluster, and the entry after the last.
    forms : iterable of dict
        uproot's awkward forms of the fields, whose keys name columns.

    Attributes
    ----------
    table : dict
        The `PageColumn` of each column.
    """

    def __init__(
        self, ntuple: Any, clusters: Sequence[Cluster], entries: np.ndarray, forms: Iterable[dict[str, Any]]
    ) -> None:
        self._records = list(ntuple.column_records)
        self._fields = list(ntuple.field_records)
        self._clusters = clusters
        self._entries = entries
        self._of_field: dict[int, list[int]] = {}
        for number, record in enumerate(self._records):
            self._of_field.setdefault(int(record.field_id), []).append(number)
        self._children = children_of(ntuple)
        self.table = {number: self._page_column(number) for number in range(len(self._records))}
        self._inexact: set[int] = set()  # with other numbers of elements than their lists or entries need
        self._complete = self._placed(forms)
        self._same = self._merged()

    def below(self, field: int) -> tuple[int, ...]:
        """Return the columns of a field and of all fields in it, also of those that it shows under another name."""
        found: set[int] = set()
        todo, seen = [field], set()
        while todo:
            number = todo.pop()
            if number not in seen:
                seen.add(number)
                found.update(self._of_field.get(number, []))
                source = self._fields[number].source_field_id
                todo += [*self._children.get(number, []), *([] if source is None else [int(source)])]
        return tuple(sorted(found))

    def native_form(self, form: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Return a form with the reader's keys, and its columns; raise `NotNative` if the kit cannot decode it."""
        form = copy.deepcopy(form)
        numbers: dict[int, None] = {}
        for node, _, _ in _walk(form):
            number = _column_of(node)
            if number is None:
                if node["class"] not in _WITHOUT_COLUMN:
                    raise NotNative
                node["form_key"] = None
                continue
            number = self._same.get(number, number)
            column = self.table[number]
            counts = node["form_key"].endswith("-cardinality")
            is_offsets = node["class"] != "NumpyArray"
            if number not in self._complete or column.is_index != (is_offsets or counts) or node.get("inner_shape"):
                raise NotNative
            node["form_key"] = f"column-{number}"
            if node["class"] == "ListOffsetArray":
                node["offsets"] = "i64"
            elif node["class"] == "IndexedOptionArray":
                node["index"] = "i64"
            else:
                node["primitive"] = column.dtype.name
            numbers[number] = None
        if not numbers:
            raise NotNative
        return form, tuple(numbers)

    def misread(self, numbers: Iterable[int], form: dict[str, Any]) -> str:
        """Return why uproot would read a field with these columns wrongly, or nothing."""
        records = [self._records[number] for number in numbers]
        if len(self._clusters) > 1 and any(node["class"] == "UnionArray" for node, _, _ in _walk(form)):
            # In uproot 5.7 the indices of the second cluster point to the first, without an error.
            return "in files with several clusters"
        if any(record.flags & _DEFERRED for record in records):
            return "if it was added after the first entries"
        if any(record.repr_idx for record in records):
            return "if its columns have several representations"
        if self._inexact.intersection(numbers):
            return "in a damaged file, whose pages do not have the elements that its entries need"
        return ""

    def _placed(self, forms: Iterable[dict[str, Any]]) -> list[int]:
        """Find the lists that contain the elements of each column; return the columns that the kit can decode.

        These have exactly the elements that their lists or entries need, in each cluster. A list comes before its
        elements.
        """
        places: dict[int, set[tuple[int, int]]] = {}
        for form in forms:
            for node, parent, repeat in _walk(form):
                number = _column_of(node)
                if number is not None:
                    places.setdefault(number, set()).add((parent, repeat))
        # A parent comes before its children, because each form is walked from the top.
        unique = {number: next(iter(found)) for number, found in places.items() if len(found) == 1}
        content: dict[int, np.ndarray] = {}
        for number, (parent, repeat) in unique.items():
            ends = self.table[number].first_elements
            if parent >= 0 and repeat and not self._deferred(number) and not np.any(ends % repeat):
                content.setdefault(parent, ends // repeat)
        complete: dict[int, None] = {}
        for number, (parent, repeat) in unique.items():
            column = self.table[number]
            if parent >= 0 and (parent not in complete or parent not in content):
                continue
            needed = (self._entries if parent < 0 else content[parent]) * repeat
            exact = np.array_equal(np.maximum(needed, column.edges[0]), column.first_elements)
            if not exact and repeat and not self._deferred(number) and len(self._representations(number)) == 1:
                self._inexact.add(number)
            if not exact or not repeat or not self._is_decodable(number) or (column.is_index and number not in content):
                continue
            own = content[number] if column.is_index else column.content
            self.table[number] = replace(column, parent=parent, repeat=repeat, content=own)
            complete[number] = None
        return list(complete)

    def _merged(self) -> dict[int, int]:
        """Return the columns for which an earlier one stands: ROOT stores equal pages of offsets once."""
        same: dict[int, int] = {}
        known: dict[tuple[Any, ...], int] = {}
        for number in self._complete:
            column = self.table[number]
            if column.parent in same:
                self.table[number] = column = replace(column, parent=same[column.parent])
            if column.is_index:
                names = ("pages", "edges", "seeks", "sizes", "flags", "content")
                arrays = (getattr(column, name).tobytes() for name in names)
                first = known.setdefault((column.encodings, column.parent, column.repeat, *arrays), number)
                if first != number:
                    same[number] = first
        return same

    def _is_decodable(self, number: int) -> bool:
        choices = self._representations(number)
        encodings = [self._encoding(choice) for choice in choices]
        if None in encodings or len({encoding.index for encoding in encodings if encoding}) > 1:
            return False
        firsts = self.table[number].first_elements
        for i, cluster in enumerate(self._clusters):
            for choice in choices:
                there = cluster.columns[choice] if choice < len(cluster.columns) else None
                if there is not None and there.pages and there.first != firsts[i]:
                    return False
        return True

    def _deferred(self, number: int) -> bool:
        return bool(self._records[number].flags & _DEFERRED)

    def _encoding(self, number: int) -> Encoding | None:
        record = self._records[number]
        limits = None if record.min_value is None else (float(record.min_value), float(record.max_value))
        return encoding_of(int(record.type), int(record.nbits), limits)

    def _representations(self, number: int) -> list[int]:
        """Return the columns that may hold the same elements: one in each cluster. The first one stands for all."""
        record = self._records[number]
        same = self._of_field[int(record.field_id)]
        if record.repr_idx:
            return [number]
        sets: dict[int, list[int]] = {}
        for other in same:
            sets.setdefault(int(self._records[other].repr_idx), []).append(other)
        place = sets[0].index(number)
        return [numbers[place] for _, numbers in sorted(sets.items()) if place < len(numbers)]

    def _page_column(self, number: int) -> PageColumn:
        choices = self._representations(number)
        encodings = [self._encoding(choice) for choice in choices]
        counts, pages, flags = [0], [], []
        for cluster in self._clusters:
            for which, choice in enumerate(choices):
                there = cluster.columns[choice] if choice < len(cluster.columns) else None
                if there is not None and there.first >= 0:
                    pages += [page[:3] for page in there.pages]
                    flags += [which + _CHECKED * page[3] for page in there.pages]
            counts.append(len(pages))
        numbers = np.asarray(pages, dtype=np.int64).reshape(-1, 3)
        first = abs(int(np.uint64(self._records[number].first_element_index).astype(np.int64)))
        return PageColumn(
            # of a column that cannot be decoded, only the pages matter
            tuple(e or Encoding("u1", int(self._records[c].nbits)) for c, e in zip(choices, encodings, strict=True)),
            -1,
            1,
            pages=np.asarray(counts, dtype=np.int64),
            edges=first + np.concatenate([[0], np.cumsum(numbers[:, 0])]).astype(np.int64),
            seeks=numbers[:, 1].copy(),
            sizes=numbers[:, 2].copy(),
            flags=np.asarray(flags, dtype=np.uint8),
            content=np.zeros(0, dtype=np.int64),
        )


def children_of(ntuple: Any) -> dict[int, list[int]]:
    """Return the numbers of the fields in each field of an RNTuple."""
    found: dict[int, list[int]] = {}
    for number, field in enumerate(ntuple.field_records):
        if field.parent_field_id != number:
            found.setdefault(int(field.parent_field_id), []).append(number)
    return found


def _walk(node: dict[str, Any], parent: int = -1, repeat: int = 1) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Yield each node of a form with the list that contains its elements (-1: the entries), and how many per element.

    The inside of nodes that the kit does not decode is left out.
    """
    kind, number = node["class"], _column_of(node)  # first, because the receiver may change the keys
    yield node, parent, repeat
    if kind == "RecordArray":
        for content in node["contents"]:
            yield from _walk(content, parent, repeat)
    elif kind == "RegularArray":
        yield from _walk(node["content"], parent, repeat * node["size"])
    elif kind in ("ListOffsetArray", "IndexedOptionArray") and number is not None:
        yield from _walk(node["content"], number, 1)


def _column_of(node: dict[str, Any]) -> int | None:
    """Return the column that a node of uproot's form reads, if the kit knows what it means."""
    match = _KEY.fullmatch(node.get("form_key") or "")
    return int(match[1]) if match and match[2] in _ROLES.get(node["class"], ()) else None
