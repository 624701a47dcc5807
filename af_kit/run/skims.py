"""Encode a table as a Parquet or ROOT file: the same table always becomes the same bytes."""

from __future__ import annotations

import hashlib
import io
import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from af_kit.errors import InputError

__all__ = ["WRITERS", "encode"]

# Low compression levels, which are fast to write
_ROOT_LEVEL, _PARQUET_LEVEL = 1, 3


def encode(table: Any, format: str, treename: str, *, seed: str) -> tuple[int, bytes]:
    """Return the number of entries of a table and the content of its file, which is empty without entries.

    Parameters
    ----------
    table : awkward.Array of records, mapping of columns, pandas.DataFrame or pyarrow.Table
    format : str
        One of `WRITERS`.
    treename : str
        Name of the tree in a ROOT file.
    seed : str
        Determines the identifier in a ROOT file.

    Raises
    ------
    InputError
        It is not a table, or the format cannot hold one of its columns.
    """
    array = _as_records(table)
    if not len(array):
        return 0, b""
    try:
        return len(array), WRITERS[format](array, treename, seed)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"stage_out() cannot write this table as {format}: {type(error).__name__}: {error}. Columns of numbers and "
            "text, and of lists or records of numbers, can be written."
        ) from error


def _as_records(table: Any) -> Any:
    """Return the table as an awkward array of records, with all columns read."""
    import awkward as ak

    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(table).__mro__}
    if "pandas.DataFrame" in kinds:
        import pyarrow as pa

        table = pa.Table.from_pandas(table, preserve_index=False)
        kinds = {"pyarrow.Table"}
    if "pyarrow.Table" in kinds:
        return ak.from_arrow(_without_dictionaries(table), highlevel=True)
    if isinstance(table, Mapping):
        table = ak.zip(dict(table), depth_limit=1)
    if not isinstance(table, ak.Array) or not table.fields:
        got = "an array without named columns" if isinstance(table, ak.Array) else f"a {type(table).__name__}"
        raise InputError(
            f"stage_out() takes a table first (awkward records, a mapping of columns, pandas or Arrow), not {got}."
        )
    # Without the behavior of events and vectors, and without their file
    return ak.Array(ak.to_packed(ak.transform(_plain, ak.materialize(table))).layout)


def _plain(layout: Any, continuation: Any, **_: Any) -> Any:
    """Drop names and other parameters of a layout, except those that say that bytes are text."""
    if layout.is_unknown or layout.parameter("__array__") in ("string", "bytestring"):
        return layout
    return continuation().copy(parameters={})


def _without_dictionaries(table: Any) -> Any:
    """Return an Arrow table with plain values instead of dictionaries, such as categories of pandas."""
    import pyarrow as pa

    def plain(kind: Any) -> Any:
        if pa.types.is_dictionary(kind):
            return plain(kind.value_type)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return (pa.list_ if pa.types.is_list(kind) else pa.large_list)(plain(kind.value_type))
        if pa.types.is_struct(kind):
            return pa.struct([field.with_type(plain(field.type)) for field in kind])
        return kind

    kinds = [plain(field.type) for field in table.schema]
    if kinds == table.schema.types:
        return table
    return table.cast(pa.schema([field.with_type(kind) for field, kind in zip(table.schema, kinds, strict=True)]))


def _parquet(array: Any, treename: str, seed: str) -> bytes:
    import awkward as ak
    import pyarrow.parquet as pq

    table = ak.to_arrow_table(array, extensionarray=False)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=_PARQUET_LEVEL)
    return sink.getvalue()


def _root(array: Any, treename: str, seed: str) -> bytes:
    import uproot

    sink = _Sink()
    options = {"compression": uproot.ZSTD(_ROOT_LEVEL), "uuid_function": lambda: _identifier(array, seed)}
    with uproot.recreate(sink, **options) as file:
        columns = {name: _text(_without_option(array[name])) for name in array.fields}
        try:
            tree = file.mktree(treename, {name: column.type.content for name, column in columns.items()})
        except TypeError:
            _refuse_types(columns)
            raise
        tree.extend(columns)
    return undated(sink.getvalue())


def _identifier(array: Any, seed: str) -> uuid.UUID:
    """Return an identifier that is the same at every attempt, and different for other content."""
    import awkward as ak

    form, _, buffers = ak.to_buffers(array)
    digest = hashlib.sha256(f"{seed} {form.to_json()}".encode())
    for name in sorted(buffers):
        digest.update(memoryview(buffers[name]).cast("B"))
    return uuid.uuid5(uuid.NAMESPACE_OID, digest.hexdigest())


def _without_option(column: Any) -> Any:
    """Return a column of pandas or Arrow with a type that has no missing values, if no value is missing."""
    import awkward as ak

    full = ak.drop_none(column, axis=0)
    return full if len(full) == len(column) else column


def _text(column: Any) -> Any:
    """Return a column of bytes as one of text, for which ROOT has a type."""
    import awkward as ak

    layout = column.layout
    if layout.parameter("__array__") != "bytestring":
        return column
    letters = layout.content.copy(parameters={"__array__": "char"})
    return ak.Array(layout.copy(content=letters, parameters={"__array__": "string"}))


def _refuse_types(columns: Mapping[str, Any]) -> None:
    """Raise an InputError that names the first column that cannot be in a TTree."""
    import uproot

    for name, column in columns.items():
        kind = column.type.content
        try:
            with uproot.recreate(_Sink()) as file:
                file.mktree("tree", {name: kind})
        except TypeError as error:
            raise InputError(
                f"stage_out() cannot write this table as root: column {name!r} is of type {kind}, and a TTree holds "
                "numbers, text, and lists or records of numbers, without missing values. Change the column, or use "
                'format="parquet".'
            ) from error


class _Sink(io.BytesIO):
    """A file in memory that keeps its content when uproot closes it."""

    def close(self) -> None:
        """Do nothing, because the content is still needed."""


def undated(content: bytes) -> bytes:
    """Return a ROOT file without the times at which its parts were written, which differ at every attempt.

    The format is documented in ROOT's ``TFile`` and ``TKey``: consecutive records, each with a header that holds its
    length, its time and the length of the header; the top folder has two more times, and a list of such headers. A list
    of the gaps between records comes last. (Files of more than 2 GB have wider numbers; those of a chunk are smaller.)
    """
    data = bytearray(content)

    def number(format: str, at: int) -> int:
        value: int = struct.unpack_from(format, data, at)[0]
        return value

    def undate(header: int) -> int:
        data[header + 10 : header + 14] = bytes(4)
        return number(">h", header + 14)

    begin, end, free = (number(">i", at) for at in (8, 12, 16))
    gaps = {}
    listed = free + number(">h", free + 14)
    for gap in range(listed, listed + 10 * number(">i", 24), 10):
        gaps[number(">i", gap + 2)] = number(">i", gap + 6) + 1
    at = begin
    while at < end:
        if at in gaps:
            at = gaps[at]
        else:
            undate(at)
            at += number(">i", at)
    folder = begin + number(">i", 28)
    data[folder + 2 : folder + 10] = bytes(8)
    keys = number(">i", folder + 26)
    at = keys + undate(keys)
    count, at = number(">i", at), at + 4
    for _ in range(count):
        at += undate(at)
    return bytes(data)


WRITERS: dict[str, Callable[[Any, str, str], bytes]] = {"parquet": _parquet, "root": _root}
