"""The structure of events: which branches form a collection, and which buffer each part of the array reads.

It depends only on the branches, so it is made once per process for all files with the same branches.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from awkward._backends.numpy import NumpyBackend
from awkward._nplikes.shape import unknown_length
from awkward._nplikes.virtual import VirtualNDArray

from af_kit.data.reading.flat import gather
from af_kit.data.reading.layout import Layout
from af_kit.data.reading.reader import Reader
from af_kit.errors import BranchError

__all__ = ["FlatBranches", "Structure", "structure_of"]

# The coordinates that vector needs, and the names that it would prefer to them: NanoAOD's secondary vertices have a
# position x, y, z in addition to pt, eta, phi, mass, and must not become a momentum with px = x.
_MOMENTA = (
    ("Momentum4D", {"pt", "eta", "phi", "mass"}),
    ("Momentum3D", {"pt", "eta", "phi"}),
    ("Momentum2D", {"pt", "phi"}),
)
_OTHER_COORDINATES = {"x", "y", "z", "t", "px", "py", "pz", "E", "e", "energy", "M", "m", "rho", "theta", "tau"}

_structures: dict[str, Structure] = {}
_lock = threading.Lock()

_BACKEND = NumpyBackend.instance()
_KEY = "{form_key}-{attribute}"

# The form of a branch of vectors of strings, and the array for each of its buffers.
_STRINGS_FORM = ak.forms.ListOffsetForm(
    "i64",
    ak.forms.ListForm(
        "i64",
        "i64",
        ak.forms.NumpyForm("uint8", parameters={"__array__": "char"}, form_key="characters"),
        parameters={"__array__": "string"},
        form_key="strings",
    ),
    form_key="entries",
)
_STRINGS_BUFFERS = {
    "entries-offsets": "offsets",
    "strings-starts": "starts",
    "strings-stops": "stops",
    "characters-data": "characters",
}

# Builds one field of the events from a reader and a range of its entries.
FieldBuilder = Callable[[Reader, int, int], ak.contents.Content]


@dataclass(frozen=True)
class _Collection:
    """Jagged branches that are read as one list of records."""

    counter: str
    prefix: str
    members: list[str]


@dataclass(frozen=True)
class Structure:
    """The fields of the events, each with the function that builds it.

    The arrays are built from awkward's own classes, although the lazy one is not public: `ak.from_buffers` does the
    same with callables, but takes 33 ms instead of 7 for the 1500 branches of a NanoAOD file, in each chunk.
    """

    builders: Mapping[str, FieldBuilder]
    counters: Mapping[str, str | None]
    """For each branch of numbers the counter of its lists, None if it has one number per entry."""

    def events(self, reader: Reader, start: int, stop: int) -> ak.contents.RecordArray:
        """Return the entries ``start`` to ``stop`` of a reader; branches are read when they are first used."""
        contents = [build(reader, start, stop) for build in self.builders.values()]
        return _record(contents, list(self.builders), {"__record__": "Events"}, lambda: stop - start)


def structure_of(layout: Layout) -> Structure:
    """Return the structure for a layout; layouts with the same schema share one."""
    with _lock:
        if layout.schema not in _structures:
            import vector

            vector.register_awkward()
            _structures[layout.schema] = _Builder(layout).build()
        return _structures[layout.schema]


class FlatBranches:
    """The branches of numbers of one range of entries as flat arrays, without an awkward array around them.

    They are those that the `Structure` puts into the events: read when they are first used, with the same checks.
    """

    def __init__(self, structure: Structure, reader: Reader, start: int, stop: int) -> None:
        self._counters = structure.counters
        self._range = reader, start, stop
        self._offsets: dict[str, np.ndarray] = {}
        self._numbers: dict[str, np.ndarray] = {}

    def is_list(self, name: str) -> bool | None:
        """Whether the branch has a list per entry; None if it is none of these branches."""
        return self._counters[name] is not None if name in self._counters else None

    def numbers(self, name: str) -> np.ndarray:
        """Return the numbers of a branch, of all entries in a row."""
        if name not in self._numbers:
            counter = self._counters[name]
            reader, start, stop = self._range
            self._numbers[name] = (
                reader.numbers(name)[start:stop] if counter is None else _jagged(name, counter, *self._range)
            )
        return self._numbers[name]

    def take(self, name: str, index: np.ndarray) -> np.ndarray:
        """Return ``numbers(name)[index]``; see `Reader.take`."""
        reader, start, stop = self._range
        alone = (start, stop) == (0, reader.stop - reader.start)  # no other events want the branch of this reader
        # `_jagged` compares the counts of a branch with a counter of its own.
        if alone and reader.can_take(name) and reader.layout.columns[name].counter == self._counters[name]:
            return reader.take(name, index)
        return gather(self.numbers(name), index)

    def offsets(self, name: str) -> np.ndarray:
        """Return the index of each entry's first number (int64, entries + 1); branches of a collection share them."""
        counter = self._counters[name]
        assert counter is not None
        if counter not in self._offsets:
            self._offsets[counter] = _offsets(counter, *self._range)
        return self._offsets[counter]


class _Builder:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.forms = {name: ak.forms.from_json(form) for name, form in layout.forms.items()}
        self.names = [name for name in layout.typenames if name in layout.columns or name in self.forms]

    def build(self) -> Structure:
        builders: dict[str, FieldBuilder] = {}
        counters: dict[str, str | None] = {}
        collections = self._collections()
        collection_of = {member: name for name, found in collections.items() for member in found.members}
        groups = self._scalar_groups(set(collection_of), collections)
        group_of = {member: prefix for prefix, members in groups.items() for member in members}
        for name in self.names:
            if name in self.layout.unreadable:
                continue  # the counter of a collection, with a type that differs from that in other files
            if name in collection_of:
                if collection_of[name] not in builders:
                    builders[collection_of[name]] = self._collection(collections[collection_of[name]])
                counters[name] = collections[collection_of[name]].counter
                if self._has_own_counter(name):  # it can be read by its own name, also if its counts are different
                    builders[name] = self._single(name)
                    counters[name] = self.layout.columns[name].counter
            else:
                if name not in group_of:
                    builders[name] = self._single(name)
                elif group_of[name] not in builders:
                    builders[group_of[name]] = self._group(group_of[name], groups[group_of[name]])
                column = self.layout.columns.get(name)
                if self._dtype(name) is not None:
                    counters[name] = None
                elif column is not None and column.counter is not None:
                    counters[name] = column.counter
        return Structure(builders, counters)

    def _collections(self) -> dict[str, _Collection]:
        """Return the jagged branches that belong together, by the name of their collection.

        They share a counter (``nMuon``, or Delphes' ``Jet_size``), or each has one of its own (``nMuon_pt``), as in
        files that uproot has written: then their counts are compared when they are read.
        """
        found: dict[str, _Collection] = {}
        for counter in self.names:
            for name, prefix in _counted(counter):
                members = self._members(counter, prefix) if self._is_count(counter) else []
                if members and name not in self.names:
                    found.setdefault(name, _Collection(counter, prefix, members))
        taken = {member for collection in found.values() for member in collection.members}
        own: dict[str, list[str]] = {}
        for branch in self.names:
            name, _, field = branch.partition("_")
            if field and branch not in taken and self._has_own_counter(branch):
                own.setdefault(name, []).append(branch)
        for name, members in own.items():
            if len(members) > 1 and name.isidentifier() and name not in {*self.names, *found}:
                found[name] = _Collection("n" + members[0], name + "_", members)
        return found

    def _is_count(self, name: str) -> bool:
        dtype = self._dtype(name)
        return dtype is not None and dtype.kind in "iu"

    def _has_own_counter(self, name: str) -> bool:
        column = self.layout.columns.get(name)
        return column is not None and column.counter == "n" + name

    def _dtype(self, name: str) -> np.dtype | None:
        """Return the type of a branch with one number per entry, None for any other."""
        if name in self.layout.columns:
            column = self.layout.columns[name]
            return np.dtype(column.dtype) if column.counter is None and not column.header else None
        form = self.forms.get(name)
        return np.dtype(form.primitive) if isinstance(form, ak.forms.NumpyForm) and not form.inner_shape else None

    def _members(self, counter: str, prefix: str) -> list[str]:
        """Return the branches of numbers that belong to a collection, in the order of the file."""
        return [name for name in self.names if name.startswith(prefix) and self._is_member(name, counter)]

    def _is_member(self, name: str, counter: str) -> bool:
        if name in self.layout.columns:
            column = self.layout.columns[name]
            return column.counter in (counter, "n" + name) or bool(column.header and not column.strings)
        form = self.forms[name]
        plain = isinstance(form, ak.forms.ListOffsetForm) and isinstance(form.content, ak.forms.NumpyForm)
        return plain and not form.parameters and not form.content.parameters and not form.content.inner_shape

    def _scalar_groups(self, inside: set[str], collections: Mapping[str, _Collection]) -> dict[str, list[str]]:
        counters = {collection.counter for collection in collections.values()}
        counters |= {"n" + name for name in self.names if self._has_own_counter(name)}
        groups: dict[str, list[str]] = {}
        for name in self.names:
            prefix, _, rest = name.partition("_")
            free = name not in self.layout.unreadable and name not in inside and name not in counters
            if rest and prefix and free and self._dtype(name) is not None:
                groups.setdefault(prefix, []).append(name)
        taken = {*self.names, *collections, *(name.partition(".")[0] for name in self.names)}
        return {prefix: members for prefix, members in groups.items() if prefix not in taken and prefix.isidentifier()}

    def _collection(self, collection: _Collection) -> FieldBuilder:
        fields = [member.removeprefix(collection.prefix) for member in collection.members]
        contents = [(member, self._number(member)) for member in collection.members]
        return functools.partial(_collection, collection.counter, contents, fields, _record_name(fields))

    def _number(self, name: str) -> np.dtype:
        """Return the type of the numbers in a jagged branch, in the machine's byte order."""
        column = self.layout.columns.get(name)
        dtype = np.dtype(column.dtype if column else self.forms[name].content.primitive)
        return dtype.newbyteorder("=")

    def _group(self, prefix: str, members: list[str]) -> FieldBuilder:
        fields = [member.removeprefix(prefix + "_") for member in members]
        return functools.partial(_group, [self._single(member) for member in members], fields, _record_name(fields))

    def _single(self, name: str) -> FieldBuilder:
        dtype = self._dtype(name)
        if dtype is not None:
            return functools.partial(_scalar, name, dtype.newbyteorder("="))
        column = self.layout.columns.get(name)
        if column is not None and column.counter is not None:
            return functools.partial(_collection, column.counter, [(name, self._number(name))], None, None)
        if column is not None and column.strings:
            return functools.partial(_strings, name)
        if column is not None and column.header:
            return functools.partial(_vector, name, self._number(name))
        return self._fallback(name)

    def _fallback(self, name: str) -> FieldBuilder:
        """Build a branch of any type from the array that uproot reads, or an RNTuple's field from its columns."""
        native = self.layout.pages is not None and self.layout.pages.fields[name].native
        keyed = json.loads(self.layout.forms[name])
        for number, node in enumerate(_nodes(keyed)):
            if not native:
                node["form_key"] = f"{name}@{number}"
            if node["class"] == "RecordArray" and not (node.get("parameters") or {}).get("__record__"):
                node["parameters"] = {**(node.get("parameters") or {}), **_record_name(node.get("fields") or [])}
        form = ak.forms.from_dict(keyed)
        keys = list(form.expected_from_buffers(buffer_key=_KEY))
        return functools.partial(_native if native else _fallback, name, form, keys)


def _counted(counter: str) -> list[tuple[str, str]]:
    """Return the collections that a branch may count, each with the beginning of its members' names."""
    found = []
    if counter.startswith("n") and len(counter) > 1:
        found.append((counter[1:], counter[1:] + "_"))
    if counter.endswith("_size") and len(counter) > len("_size"):  # Delphes: Jet_size counts Jet.PT, Jet.Eta, ...
        name = counter.removesuffix("_size")
        found.append((name, name + "."))
    return found


def _record_name(fields: list[str]) -> dict[str, str]:
    """Return the parameters for vector's behaviour, if the fields are clearly those of a momentum."""
    if _OTHER_COORDINATES & set(fields):
        return {}
    return next(({"__record__": name} for name, coordinates in _MOMENTA if coordinates <= set(fields)), {})


def _nodes(form: Any) -> Iterator[dict[str, Any]]:
    yield form
    inner = form.get("contents", form.get("content"))
    for child in inner if isinstance(inner, list) else [inner] if inner is not None else []:
        yield from _nodes(child)


def _record(
    contents: list[ak.contents.Content],
    fields: list[str],
    parameters: Mapping[str, str] | None,
    count: Callable[[], int],
) -> ak.contents.RecordArray:
    return ak.contents.RecordArray(
        contents, fields, unknown_length, count, parameters=dict(parameters or {}) or None, backend=_BACKEND
    )


def _lazy(
    dtype: np.dtype, length: int | None, source: Callable[[], np.ndarray], count: Callable[[], int] | None = None
) -> ak.contents.NumpyArray:
    """Return numbers that are read when they are used, and so is their number if ``length`` is None."""
    shape = (unknown_length if length is None else length,)
    measure = None if count is None else lambda: (count(),)
    return ak.contents.NumpyArray(VirtualNDArray(_BACKEND.nplike, shape, dtype, source, measure), backend=_BACKEND)


def _scalar(name: str, dtype: np.dtype, reader: Reader, start: int, stop: int) -> ak.contents.Content:
    return _lazy(dtype, stop - start, lambda: reader.numbers(name)[start:stop])


def _group(
    builders: list[FieldBuilder],
    fields: list[str],
    parameters: Mapping[str, str],
    reader: Reader,
    start: int,
    stop: int,
) -> ak.contents.Content:
    return _record([build(reader, start, stop) for build in builders], fields, parameters, lambda: stop - start)


def _collection(
    counter: str,
    members: list[tuple[str, np.dtype]],
    fields: list[str] | None,
    parameters: Mapping[str, str] | None,
    reader: Reader,
    start: int,
    stop: int,
) -> ak.contents.Content:
    """Build jagged branches that share offsets: a list of records, or of numbers if ``fields`` is None."""

    def count() -> int:
        offsets = reader.offsets(counter)
        return int(offsets[stop] - offsets[start])

    contents = [
        _lazy(dtype, None, functools.partial(_jagged, name, counter, reader, start, stop), count)
        for name, dtype in members
    ]
    content = contents[0] if fields is None else _record(contents, fields, parameters, count)
    read_offsets = functools.partial(_offsets, counter, reader, start, stop)
    offsets = VirtualNDArray(_BACKEND.nplike, (stop - start + 1,), np.dtype(np.int64), read_offsets)
    return ak.contents.ListOffsetArray(ak.index.Index64(offsets), content)


def _vector(name: str, dtype: np.dtype, reader: Reader, start: int, stop: int) -> ak.contents.Content:
    """Build a branch of vectors of numbers, with its own offsets."""

    def offsets() -> np.ndarray:
        return _from_zero(reader.vector_offsets(name)[start : stop + 1])

    def numbers() -> np.ndarray:
        first, last = reader.vector_offsets(name)[[start, stop]]
        return reader.numbers(name)[first:last]

    content = _lazy(dtype, None, numbers, lambda: int(np.diff(reader.vector_offsets(name)[[start, stop]])[0]))
    virtual = VirtualNDArray(_BACKEND.nplike, (stop - start + 1,), np.dtype(np.int64), offsets)
    return ak.contents.ListOffsetArray(ak.index.Index64(virtual), content)


def _strings(name: str, reader: Reader, start: int, stop: int) -> ak.contents.Content:
    """Build a branch of vectors of strings, without a copy of their characters."""

    def buffer(part: str) -> np.ndarray:
        strings = reader.strings(name)
        if part == "offsets":
            return _from_zero(strings.offsets[start : stop + 1])
        if part == "characters":
            return strings.characters
        first, last = strings.offsets[[start, stop]]
        return (strings.starts if part == "starts" else strings.stops)[first:last]

    sources = {key: functools.partial(buffer, part) for key, part in _STRINGS_BUFFERS.items()}
    return ak.from_buffers(_STRINGS_FORM, stop - start, sources, buffer_key=_KEY, highlevel=False)


def _from_zero(offsets: np.ndarray) -> np.ndarray:
    return offsets if offsets[0] == 0 else offsets - offsets[0]


def _offsets(counter: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    return _from_zero(reader.offsets(counter)[start : stop + 1])


def _jagged(name: str, counter: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    offsets = reader.offsets(counter)
    numbers = reader.numbers(name)
    column = reader.layout.columns.get(name)
    # A vector, a branch with a counter of its own, or one read with uproot, belongs to the collection only if its
    # offsets are equal.
    own = offsets
    if not reader.is_fast(name) or column is None or column.header:
        own = reader.vector_offsets(name)
    elif column.counter not in (None, counter):
        own = reader.offsets(column.counter)
    if own is not offsets and not reader.agrees(own, counter):
        raise BranchError(
            f"Branch {name!r} of {reader.path} does not have the same number of values per entry as {counter!r} says. "
            f"Read it with `branches=[{name!r}]`, without {counter!r}."
        )
    return numbers[offsets[start] : offsets[stop]]


def _native(name: str, form: ak.forms.Form, keys: list[str], reader: Reader, start: int, stop: int) -> Any:
    sources = {key: functools.partial(_page_buffer, name, key, reader, start, stop) for key in keys}
    return ak.from_buffers(form, stop - start, sources, buffer_key=_KEY, highlevel=False)


def _page_buffer(name: str, key: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    """Return a buffer of a field of an RNTuple; its key names the column and what the array takes from it."""
    column, _, part = key.removeprefix("column-").partition("-")
    if part == "data":
        return reader.column(name, int(column), start, stop)
    offsets = reader.column(name, int(column), start, stop, offsets=True)
    if part == "offsets":
        return offsets
    return np.where(offsets[1:] > offsets[:-1], offsets[:-1], -1)  # the index of optional values


def _fallback(name: str, form: ak.forms.Form, keys: list[str], reader: Reader, start: int, stop: int) -> Any:
    sources = {key: functools.partial(_uproot_buffer, name, key, reader, start, stop) for key in keys}
    return ak.from_buffers(form, stop - start, sources, buffer_key=_KEY, highlevel=False)


def _uproot_buffer(name: str, key: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    array = ak.to_packed(reader.array(name)[start:stop])
    _, _, buffers = ak.to_buffers(array, form_key=f"{name}@{{id}}", buffer_key=_KEY, id_start=0)
    return buffers[key]
