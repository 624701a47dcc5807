"""What an analysis leaves on disk. The same result gives the same bytes, whenever and wherever it is written."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Rows are written in groups of this many, whatever chunks they came in.
_ROW_GROUP = 1 << 19


def write_histograms(outputs: Mapping[str, Any], path: str | Path) -> Path:
    """Write the histograms among ``outputs``, at any depth of nested mappings, as JSON in the UHI schema.

    Everything else in ``outputs`` is left out. :func:`read_histograms` gives them back; so does any reader of UHI.
    """
    import uhi.io.json

    return write_text(json.dumps(_histograms(outputs), default=uhi.io.json.default, sort_keys=True), path)


def read_histograms(path: str | Path) -> dict[str, Any]:
    """The histograms of a file that :func:`write_histograms` wrote, in the same nesting."""
    import uhi.io.json
    from hist.serialization import from_uhi

    def histogram(value: Any) -> Any:
        if "uhi_schema" in value:
            return from_uhi(value)
        return {name: histogram(inner) for name, inner in value.items()}

    text = Path(path).read_text(encoding="utf-8")
    found: dict[str, Any] = histogram(json.loads(text, object_hook=uhi.io.json.object_hook))
    return found


def write_json(content: Mapping[str, Any], path: str | Path) -> Path:
    """Write plain values as JSON for people and programs: indented, in the order given."""
    return write_text(json.dumps(content, indent=2), path)


def write_table(table: pa.Table, path: str | Path) -> Path:
    """Write a table as Parquet; the bytes depend on its rows, not on the chunks in which they were produced."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Numbers byte by byte: they compress better so, and are written three times faster than through a dictionary.
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in numbers]
    options = {"compression": "zstd", "use_byte_stream_split": numbers, "use_dictionary": others}
    with replacing(path) as part, pq.ParquetWriter(part, table.schema, **options) as writer:
        for start in range(0, table.num_rows, _ROW_GROUP):
            writer.write_table(table.slice(start, _ROW_GROUP).unify_dictionaries().combine_chunks(), _ROW_GROUP)
    return Path(path)


def write_text(text: str, path: str | Path) -> Path:
    """Write text, and a line's end after it."""
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def _histograms(outputs: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in outputs.items():
        if hasattr(value, "_to_uhi_"):
            found[str(name)] = value
        elif isinstance(value, Mapping) and (inner := _histograms(value)):
            found[str(name)] = inner
    return found


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` when it is complete: nobody ever reads half a file."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
