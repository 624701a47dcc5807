"""The chosen candidates as a ROOT file, for those who go on in ROOT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from af_kit.analysis.output import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1 << 19


def write_root(candidates: pa.Table, path: str | Path) -> Path:
    """Write the table as a TTree ``candidates`` with one branch per column; ``dataset`` and ``file`` are C strings."""
    import awkward as ak
    import pyarrow as pa
    import uproot

    texts = [field.name for field in candidates.schema if not _is_number(field.type)]
    types = {
        field.name: "string" if field.name in texts else np.dtype(field.type.to_pandas_dtype())
        for field in candidates.schema
    }
    with replacing(path) as part, uproot.recreate(part, compression=uproot.ZSTD(1)) as file:
        tree = file.mktree("candidates", types)
        for start in range(0, candidates.num_rows, _ROWS):
            rows = candidates.slice(start, _ROWS)
            columns = {
                name: rows[name].combine_chunks().to_numpy(zero_copy_only=False) for name in types if name not in texts
            }
            for name in texts:
                words = rows[name].cast(pa.large_string()).combine_chunks()
                columns[name] = ak.from_arrow(words)
            tree.extend(columns)
    return Path(path)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
