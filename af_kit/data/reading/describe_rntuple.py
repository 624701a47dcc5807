"""Parse the metadata of an RNTuple to a `Layout` with its page table.

uproot parses the header and translates each field to an awkward form, whose keys name the columns. A field whose
columns the kit can decode keeps this form with its keys; of any other, the plain form is stored, and uproot reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import awkward as ak
import numpy as np

from af_kit.data.reading.codecs import CorruptBlock, decompress
from af_kit.data.reading.layout import Layout
from af_kit.data.reading.ntuple_columns import NotNative, NtupleColumns, children_of
from af_kit.data.reading.page_lists import Cluster, parse_page_list
from af_kit.data.reading.page_table import Field, PageTable

__all__ = ["describe_rntuple"]

Read = Callable[[Sequence[tuple[int, int]]], Sequence[Any]]


def describe_rntuple(ntuple: Any, about: Mapping[str, Any], read: Read) -> Layout:
    """Describe an RNTuple that uproot has opened; ``read`` returns byte ranges of its file."""
    clusters = _clusters(ntuple, read)
    entries = np.asarray([0, *(cluster.start + cluster.entries for cluster in clusters)], dtype=np.int64)
    if [cluster.start for cluster in clusters] != entries[:-1].tolist():
        raise CorruptBlock("the clusters of the RNTuple do not follow each other")
    typenames = {field.name: str(field.typename) for field in ntuple.fields}
    translated: dict[str, dict[str, Any]] = {}
    forms: dict[str, str] = {}
    fields: dict[str, Field] = {}
    unreadable: dict[str, str] = {}
    children = children_of(ntuple)
    for field in ntuple.fields:
        try:
            # to_akform() would look for the subfields of each field among all fields of the file
            translated[field.name] = ntuple.field_form(
                field.field_id, _keys(ntuple, children, field.field_id)
            ).to_dict()
        except Exception as error:  # noqa: BLE001 - uproot cannot interpret every type; the other fields can be read
            unreadable[field.name] = _cannot(typenames[field.name], error)
    columns = NtupleColumns(ntuple, clusters, entries, translated.values())
    for field in ntuple.fields:
        name = field.name
        if name in unreadable:
            continue
        try:
            keyed, used = columns.native_form(translated[name])
            forms[name], fields[name] = str(ak.forms.from_dict(keyed).to_json()), Field(True, used)
        except NotNative:
            own = columns.below(field.field_id)
            if reason := columns.misread(own, translated[name]):
                unreadable[name] = f"uproot reads its type {typenames[name]} wrongly {reason}"
                continue
            try:
                forms[name], fields[name] = _plain_form(field), Field(False, own)
            except Exception as error:  # noqa: BLE001 - as above
                unreadable[name] = _cannot(typenames[name], error)
    numbers = sorted({number for field in fields.values() for number in field.columns})
    table = PageTable(entries, {number: columns.table[number] for number in numbers}, fields)
    return Layout(
        **about,
        kind="RNTuple",
        entries=int(entries[-1]),
        clusters=np.unique(entries),
        bytes=table.bytes,
        columns={},
        forms=forms,
        unreadable=unreadable,
        typenames=typenames,
        pages=table,
    )


def _clusters(ntuple: Any, read: Read) -> list[Cluster]:
    """Return all clusters, with checked page lists: uproot does not check these."""
    links = [record.page_list_link for record in ntuple.footer.cluster_group_records]
    ranges = [(link.locator.offset, link.locator.offset + link.locator.num_bytes) for link in links]
    found: list[Cluster] = []
    for link, raw in zip(links, read(ranges) if ranges else [], strict=True):
        data, size = memoryview(bytes(raw)), int(link.env_uncomp_size)
        envelope = bytes(data if len(data) == size else decompress(data, size, size))
        found += parse_page_list(envelope, int(ntuple.header.checksum))
    return found


def _keys(ntuple: Any, children: Mapping[int, list[int]], number: int) -> list[str]:
    """Return the paths of a field and of all fields in it, by which uproot selects them."""
    found, todo = [], [number]
    while todo:
        number = todo.pop()
        path = ntuple.all_fields[number].path  # None for the elements of a list, for example
        found += [path] if path else []
        todo += children.get(number, [])
    return found


def _plain_form(field: Any) -> str:
    """Return the awkward form of a field by reading zero entries of it with uproot."""
    empty = field.array(entry_start=0, entry_stop=0, library="ak")  # an error if uproot cannot read it
    return str(ak.to_layout(empty, primitive_policy="error").form.to_json())


def _cannot(typename: str, error: Exception) -> str:
    return f"uproot cannot read its type {typename}: {' '.join(str(error).split())[:200]}"
