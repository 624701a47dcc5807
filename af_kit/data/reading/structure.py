"""The structure of events: which branches make a collection, and where each buffer of the array comes from.

It depends on the branches alone, not on the file's positions: made once per process for all files that look alike.
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

from af_kit.data.reading.layout import Layout
from af_kit.data.reading.reader import Reader
from af_kit.errors import BranchError

__all__ = ["Structure", "structure_of"]

# What vector needs, and the names that it would take for coordinates first: NanoAOD's secondary vertices have x, y, z
# (a place) beside pt, eta, phi, mass (a momentum), and must not become a momentum of px = x.
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

# A branch of vectors of texts, and what its buffers hold.
_TEXTS = ak.forms.ListOffsetForm(
    "i64",
    ak.forms.ListForm(
        "i64",
        "i64",
        ak.forms.NumpyForm("uint8", parameters={"__array__": "char"}, form_key="characters"),
        parameters={"__array__": "string"},
        form_key="texts",
    ),
    form_key="entries",
)
_TEXTS_PARTS = {
    "entries-offsets": "offsets",
    "texts-starts": "begins",
    "texts-stops": "ends",
    "characters-data": "characters",
}

# Makes one field of the events from a reader and a range of its entries.
Node = Callable[[Reader, int, int], ak.contents.Content]


@dataclass(frozen=True)
class Structure:
    """The fields of the events, each with what makes it.

    The arrays are put together from awkward's own parts, the lazy one of which is not public: `ak.from_buffers` makes
    the same from callables, at five times the price per branch, and that is paid for each of a NanoAOD file's 1500
    branches in each chunk (33 ms instead of 7).
    """

    nodes: Mapping[str, Node]

    def events(self, reader: Reader, start: int, stop: int) -> ak.contents.RecordArray:
        """The entries ``start`` to ``stop`` of a reader; a branch is read when it is first used."""
        contents = [node(reader, start, stop) for node in self.nodes.values()]
        return _record(contents, list(self.nodes), {"__record__": "Events"}, lambda: stop - start)


def structure_of(layout: Layout) -> Structure:
    """The structure for a layout; equal schemas share one."""
    with _lock:
        if layout.schema not in _structures:
            import vector

            vector.register_awkward()
            _structures[layout.schema] = _Builder(layout).build()
        return _structures[layout.schema]


class _Builder:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.forms = {name: ak.forms.from_json(form) for name, form in layout.forms.items()}
        self.names = [name for name in layout.typenames if name in layout.columns or name in self.forms]

    def build(self) -> Structure:
        nodes: dict[str, Node] = {}
        collections = {name[1:]: self._members(name) for name in self.names if self._is_counter(name)}
        collections = {name: members for name, members in collections.items() if members and name not in self.names}
        home = {member: name for name, members in collections.items() for member in members}
        groups = self._scalar_groups(set(home), collections)
        grouped = {member: prefix for prefix, members in groups.items() for member in members}
        for name in self.names:
            if name in home:
                if home[name] not in nodes:
                    nodes[home[name]] = self._collection(home[name], collections[home[name]])
            elif name in grouped:
                if grouped[name] not in nodes:
                    nodes[grouped[name]] = self._group(grouped[name], groups[grouped[name]])
            else:
                nodes[name] = self._alone(name)
        return Structure(nodes)

    def _is_counter(self, name: str) -> bool:
        dtype = self._dtype(name)
        return name.startswith("n") and len(name) > 1 and dtype is not None and dtype.kind in "iu"

    def _dtype(self, name: str) -> np.dtype | None:
        """Type of a scalar branch of plain numbers, None for anything else."""
        if name in self.layout.columns:
            column = self.layout.columns[name]
            return np.dtype(column.dtype) if column.counter is None and not column.header else None
        form = self.forms.get(name)
        return np.dtype(form.primitive) if isinstance(form, ak.forms.NumpyForm) and not form.inner_shape else None

    def _members(self, counter: str) -> list[str]:
        """The branches of plain numbers that belong to a collection, in the file's order."""
        prefix = counter[1:] + "_"
        return [name for name in self.names if name.startswith(prefix) and self._is_member(name, counter)]

    def _is_member(self, name: str, counter: str) -> bool:
        if name in self.layout.columns:
            column = self.layout.columns[name]
            return column.counter == counter or bool(column.header and not column.texts)
        form = self.forms[name]
        plain = isinstance(form, ak.forms.ListOffsetForm) and isinstance(form.content, ak.forms.NumpyForm)
        return plain and not form.parameters and not form.content.parameters and not form.content.inner_shape

    def _scalar_groups(self, inside: set[str], collections: Mapping[str, Any]) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for name in self.names:
            prefix, _, rest = name.partition("_")
            counter = name[0] == "n" and name[1:] in collections
            if rest and prefix and not counter and name not in inside and self._dtype(name) is not None:
                groups.setdefault(prefix, []).append(name)
        taken = {*self.names, *collections}
        return {prefix: members for prefix, members in groups.items() if prefix not in taken and prefix.isidentifier()}

    def _collection(self, collection: str, members: list[str]) -> Node:
        counter = "n" + collection
        fields = [member.removeprefix(collection + "_") for member in members]
        contents = [(member, self._number(member)) for member in members]
        return functools.partial(_collection, counter, contents, fields, _record_name(fields))

    def _number(self, name: str) -> np.dtype:
        """Type of the numbers in a jagged branch, in the machine's byte order."""
        column = self.layout.columns.get(name)
        dtype = np.dtype(column.dtype if column else self.forms[name].content.primitive)
        return dtype.newbyteorder("=")

    def _group(self, prefix: str, members: list[str]) -> Node:
        fields = [member.removeprefix(prefix + "_") for member in members]
        return functools.partial(_group, [self._alone(member) for member in members], fields, _record_name(fields))

    def _alone(self, name: str) -> Node:
        dtype = self._dtype(name)
        if dtype is not None:
            return functools.partial(_scalar, name, dtype.newbyteorder("="))
        column = self.layout.columns.get(name)
        if column is not None and column.counter is not None:
            return functools.partial(_collection, column.counter, [(name, self._number(name))], None, None)
        if column is not None and column.texts:
            return functools.partial(_texts, name)
        if column is not None and column.header:
            return functools.partial(_vector, name, self._number(name))
        return self._by_uproot(name)

    def _by_uproot(self, name: str) -> Node:
        """A branch of any type: its buffers are cut from the array that uproot makes."""
        keyed = json.loads(self.layout.forms[name])
        for number, node in enumerate(_nodes(keyed)):
            node["form_key"] = f"{name}@{number}"
            if node["class"] == "RecordArray" and not (node.get("parameters") or {}).get("__record__"):
                node["parameters"] = {**(node.get("parameters") or {}), **_record_name(node.get("fields") or [])}
        form = ak.forms.from_dict(keyed)
        keys = list(form.expected_from_buffers(buffer_key=_KEY))
        return functools.partial(_by_uproot, name, form, keys)


def _record_name(fields: list[str]) -> dict[str, str]:
    """Parameters that give a record vector's behaviour, where its fields are a momentum without doubt."""
    if _OTHER_COORDINATES & set(fields):
        return {}
    return next(({"__record__": kind} for kind, needs in _MOMENTA if needs <= set(fields)), {})


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
    """Numbers that are read when they are used; their count too, where it depends on what is read."""
    shape = (unknown_length if length is None else length,)
    measure = None if count is None else lambda: (count(),)
    return ak.contents.NumpyArray(VirtualNDArray(_BACKEND.nplike, shape, dtype, source, measure), backend=_BACKEND)


def _scalar(name: str, dtype: np.dtype, reader: Reader, start: int, stop: int) -> ak.contents.Content:
    return _lazy(dtype, stop - start, lambda: reader.numbers(name)[start:stop])


def _group(
    nodes: list[Node], fields: list[str], parameters: Mapping[str, str], reader: Reader, start: int, stop: int
) -> ak.contents.Content:
    return _record([node(reader, start, stop) for node in nodes], fields, parameters, lambda: stop - start)


def _collection(
    counter: str,
    members: list[tuple[str, np.dtype]],
    fields: list[str] | None,
    parameters: Mapping[str, str] | None,
    reader: Reader,
    start: int,
    stop: int,
) -> ak.contents.Content:
    """Jagged branches over one set of offsets: a list of records, or of numbers where there are no ``fields``."""

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
    """A branch of vectors of numbers: a list for each entry, by offsets of its own."""

    def offsets() -> np.ndarray:
        return _from_zero(reader.vector_offsets(name)[start : stop + 1])

    def numbers() -> np.ndarray:
        first, last = reader.vector_offsets(name)[[start, stop]]
        return reader.numbers(name)[first:last]

    content = _lazy(dtype, None, numbers, lambda: int(np.diff(reader.vector_offsets(name)[[start, stop]])[0]))
    where = VirtualNDArray(_BACKEND.nplike, (stop - start + 1,), np.dtype(np.int64), offsets)
    return ak.contents.ListOffsetArray(ak.index.Index64(where), content)


def _texts(name: str, reader: Reader, start: int, stop: int) -> ak.contents.Content:
    """A branch of vectors of texts, whose characters stay where they were read."""

    def part(where: str) -> np.ndarray:
        found = reader.texts(name)
        if where == "offsets":
            return _from_zero(found.offsets[start : stop + 1])
        if where == "characters":
            return found.characters
        first, last = found.offsets[[start, stop]]
        return (found.begins if where == "begins" else found.ends)[first:last]

    sources = {key: functools.partial(part, where) for key, where in _TEXTS_PARTS.items()}
    return ak.from_buffers(_TEXTS, stop - start, sources, buffer_key=_KEY, highlevel=False)


def _from_zero(offsets: np.ndarray) -> np.ndarray:
    return offsets if offsets[0] == 0 else offsets - offsets[0]


def _offsets(counter: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    return _from_zero(reader.offsets(counter)[start : stop + 1])


def _jagged(name: str, counter: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    offsets = reader.offsets(counter)
    numbers = reader.numbers(name)
    column = reader.layout.columns.get(name)
    # Such a branch brings offsets of its own; only if they are the counter's is it part of the collection.
    has_own = not reader.is_fast(name) or (column is not None and column.header)
    if has_own and not np.array_equal(reader.vector_offsets(name), offsets):
        raise BranchError(
            f"Branch {name!r} of {reader.path} has not as many numbers per entry as {counter!r} says. "
            f"Read it with `branches=[{name!r}]`, without {counter!r}."
        )
    return numbers[offsets[start] : offsets[stop]]


def _by_uproot(name: str, form: ak.forms.Form, keys: list[str], reader: Reader, start: int, stop: int) -> Any:
    sources = {key: functools.partial(_uproot_buffer, name, key, reader, start, stop) for key in keys}
    return ak.from_buffers(form, stop - start, sources, buffer_key=_KEY, highlevel=False)


def _uproot_buffer(name: str, key: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    array = ak.to_packed(reader.array(name)[start:stop])
    _, _, buffers = ak.to_buffers(array, form_key=f"{name}@{{id}}", buffer_key=_KEY, id_start=0)
    return buffers[key]
