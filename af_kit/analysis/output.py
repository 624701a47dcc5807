"""Write the results of an analysis to disk; equal results are written as identical files."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Rows per group in a Parquet file, independent of the chunks.
_ROW_GROUP = 1 << 19


def write_histograms(outputs: Mapping[str, Any], path: str | Path) -> Path:
    """Write the histograms among ``outputs``, at any depth of nested mappings, as JSON in the UHI schema.

    Other values in ``outputs`` are not written. :func:`read_histograms` or any reader of UHI reads the file.
    """
    return write_text(json.dumps(_histograms(outputs), default=_uhi, sort_keys=True), path)


def read_histograms(path: str | Path) -> dict[str, Any]:
    """Read the histograms in a file from :func:`write_histograms`, in the same nesting.

    A histogram of ``Double`` storage has variances only if it had them when it was written.
    """
    import uhi.io.json
    from hist.serialization import from_uhi

    def histogram(value: Any) -> Any:
        if "uhi_schema" in value:
            found = from_uhi(value)
            if value["storage"]["type"] == "double":
                found._variance_known = value.get("writer_info", {}).get("af-kit", {}).get("counts") is True
            return found
        return {name: histogram(inner) for name, inner in value.items()}

    text = Path(path).read_text(encoding="utf-8")
    histograms: dict[str, Any] = histogram(json.loads(text, object_hook=uhi.io.json.object_hook))
    return histograms


def write_json(content: Mapping[str, Any], path: str | Path) -> Path:
    """Write plain values as indented JSON, in the order given."""
    return write_text(json.dumps(content, indent=2), path)


def write_table(table: pa.Table, path: str | Path) -> Path:
    """Write a table as Parquet; the file depends on the rows only, not on their chunks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Split into bytes, floating-point numbers compress better, and are written three times faster than a dictionary.
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in numbers]
    options = {"compression": "zstd", "use_byte_stream_split": numbers, "use_dictionary": others}
    with replacing(path) as part, pq.ParquetWriter(part, table.schema, **options) as writer:
        for start in range(0, table.num_rows, _ROW_GROUP):
            writer.write_table(table.slice(start, _ROW_GROUP).unify_dictionaries().combine_chunks(), _ROW_GROUP)
    return Path(path)


def write_text(text: str, path: str | Path) -> Path:
    """Write text and a final newline."""
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


def _uhi(value: Any) -> Any:
    """Encode a histogram; the schema itself does not tell counts from sums of weights in ``Double`` storage."""
    import uhi.io.json

    encoded = uhi.io.json.default(value)
    if (
        isinstance(encoded, dict)
        and getattr(value, "_variance_known", False)
        and encoded["storage"]["type"] == "double"
    ):
        encoded["writer_info"] = {**encoded.get("writer_info", {}), "af-kit": {"counts": True}}
    return encoded


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` after the block, so that no incomplete file is ever read."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:  # a full disk, for example: the error of a write does not name the file
        reason = error.strerror or " ".join(str(error).split())
        raise OSError(error.errno or errno.EIO, reason, str(target)) from error
    finally:
        part.unlink(missing_ok=True)
