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

from af_kit.data.layout import Layout
from af_kit.data.reader import Reader
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

Buffer = Callable[[Reader, int, int], np.ndarray]


@dataclass(frozen=True)
class Structure:
    """Form of the events, and how to get each of its buffers for the entries ``start`` to ``stop`` of a reader."""

    form: ak.forms.RecordForm
    sources: Mapping[str, Buffer]

    def buffers(self, reader: Reader, start: int, stop: int) -> dict[str, Callable[[], np.ndarray]]:
        """One callable per buffer, so that awkward asks for a branch when it is first used."""
        return {key: functools.partial(source, reader, start, stop) for key, source in self.sources.items()}


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
        self.sources: dict[str, Buffer] = {}
        self.forms = {name: ak.forms.from_json(form) for name, form in layout.forms.items()}
        self.names = [name for name in layout.typenames if name in layout.columns or name in self.forms]

    def build(self) -> Structure:
        contents: dict[str, ak.forms.Form] = {}
        collections = {name[1:]: self._members(name) for name in self.names if self._is_counter(name)}
        collections = {name: members for name, members in collections.items() if members and name not in self.names}
        inside = {member for members in collections.values() for member in members}
        groups = self._scalar_groups(inside, collections)
        grouped = {member: prefix for prefix, members in groups.items() for member in members}
        for name in self.names:
            if name in inside:
                collection = next(c for c in collections if name in collections[c])
                if collection not in contents:
                    contents[collection] = self._collection(collection, collections[collection])
            elif name in grouped:
                prefix = grouped[name]
                if prefix not in contents:
                    contents[prefix] = self._group(prefix, groups[prefix])
            else:
                contents[name] = self._alone(name)
        form = ak.forms.RecordForm(list(contents.values()), list(contents), parameters={"__record__": "Events"})
        return Structure(form, self.sources)

    def _is_counter(self, name: str) -> bool:
        dtype = self._dtype(name)
        return name.startswith("n") and len(name) > 1 and dtype is not None and dtype.kind in "iu"

    def _dtype(self, name: str) -> np.dtype | None:
        """Type of a scalar branch of plain numbers, None for anything else."""
        if name in self.layout.columns:
            column = self.layout.columns[name]
            return np.dtype(column.dtype) if column.counter is None else None
        form = self.forms.get(name)
        return np.dtype(form.primitive) if isinstance(form, ak.forms.NumpyForm) and not form.inner_shape else None

    def _members(self, counter: str) -> list[str]:
        """The branches of plain numbers that belong to a collection, in the file's order."""
        prefix = counter[1:] + "_"
        return [name for name in self.names if name.startswith(prefix) and self._is_member(name, counter)]

    def _is_member(self, name: str, counter: str) -> bool:
        if name in self.layout.columns:
            return self.layout.columns[name].counter == counter
        form = self.forms[name]
        plain = isinstance(form, ak.forms.ListOffsetForm) and isinstance(form.content, ak.forms.NumpyForm)
        return plain and not form.parameters and not form.content.parameters and not form.content.inner_shape

    def _scalar_groups(self, inside: set[str], collections: Mapping[str, Any]) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for name in self.names:
            prefix, _, rest = name.partition("_")
            if rest and prefix and name not in inside and self._dtype(name) is not None:
                groups.setdefault(prefix, []).append(name)
        taken = {*self.names, *collections}
        return {prefix: members for prefix, members in groups.items() if prefix not in taken and prefix.isidentifier()}

    def _collection(self, collection: str, members: list[str]) -> ak.forms.Form:
        counter = "n" + collection
        fields = [member.removeprefix(collection + "_") for member in members]
        contents = [self._content(member, counter) for member in members]
        self.sources[f"{collection}-offsets"] = functools.partial(_offsets, counter)
        record = ak.forms.RecordForm(contents, fields, parameters=_record_name(fields))
        return ak.forms.ListOffsetForm("i64", record, form_key=collection)

    def _content(self, name: str, counter: str) -> ak.forms.Form:
        column = self.layout.columns.get(name)
        dtype = np.dtype(column.dtype if column else self.forms[name].content.primitive)
        self.sources[f"{name}-data"] = functools.partial(_jagged, name, counter)
        return ak.forms.numpyform.from_dtype(dtype.newbyteorder("=")).copy(form_key=name)

    def _group(self, prefix: str, members: list[str]) -> ak.forms.Form:
        fields = [member.removeprefix(prefix + "_") for member in members]
        return ak.forms.RecordForm([self._alone(m) for m in members], fields, parameters=_record_name(fields))

    def _alone(self, name: str) -> ak.forms.Form:
        dtype = self._dtype(name)
        if dtype is not None:
            self.sources[f"{name}-data"] = functools.partial(_scalar, name)
            return ak.forms.numpyform.from_dtype(dtype.newbyteorder("=")).copy(form_key=name)
        column = self.layout.columns.get(name)
        if column is not None and column.counter is not None:
            self.sources[f"{name}-offsets"] = functools.partial(_offsets, column.counter)
            return ak.forms.ListOffsetForm("i64", self._content(name, column.counter), form_key=name)
        return self._by_uproot(name)

    def _by_uproot(self, name: str) -> ak.forms.Form:
        """A branch of any type: its buffers are cut from the array that uproot makes."""
        keyed = json.loads(self.layout.forms[name])
        for number, node in enumerate(_nodes(keyed)):
            node["form_key"] = f"{name}@{number}"
            if node["class"] == "RecordArray" and not (node.get("parameters") or {}).get("__record__"):
                node["parameters"] = {**(node.get("parameters") or {}), **_record_name(node.get("fields") or [])}
        form = ak.forms.from_dict(keyed)
        for key in form.expected_from_buffers(buffer_key="{form_key}-{attribute}"):
            self.sources[key] = functools.partial(_uproot_buffer, name, key)
        return form


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


def _scalar(name: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    return reader.numbers(name)[start:stop]


def _offsets(counter: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    offsets = reader.offsets(counter)[start : stop + 1]
    return offsets if offsets[0] == 0 else offsets - offsets[0]


def _jagged(name: str, counter: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    offsets = reader.offsets(counter)
    numbers = reader.numbers(name)
    if not reader.is_fast(name):
        # Such a branch brings offsets of its own; only if they are the counter's is it part of the collection.
        counts = ak.to_numpy(ak.num(reader.array(name)))
        if not np.array_equal(counts, np.diff(offsets)):
            raise BranchError(
                f"Branch {name!r} of {reader.path} has not as many numbers per entry as {counter!r} says. "
                f"Read it with `branches=[{name!r}]`, without {counter!r}."
            )
    return numbers[offsets[start] : offsets[stop]]


def _uproot_buffer(name: str, key: str, reader: Reader, start: int, stop: int) -> np.ndarray:
    array = ak.to_packed(reader.array(name)[start:stop])
    _, _, buffers = ak.to_buffers(array, form_key=f"{name}@{{id}}", buffer_key="{form_key}-{attribute}", id_start=0)
    return buffers[key]
