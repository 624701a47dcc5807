"""Write a result into a folder: the counts, histograms, a table of events and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.analysis import output
from af_kit.analysis.counting.counts import summary, total
from af_kit.analysis.counting.plot import plot


def write(
    result: Mapping[str, Any],
    folder: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    plots: bool = True,
) -> list[Path]:
    """Write a result of :func:`process` into a folder.

    ``counts.json``, the counts of ``all`` datasets together and of each of the ``datasets``, with the b-tagging
    requirement; ``counts.txt``, the same as a table to read; ``histograms.json``; ``candidates.parquet``, the events of
    the two channels; ``plots/`` (see :func:`plot`).
    """
    folder = Path(folder)
    counts = {"all": total(result["counts"]), "datasets": result["counts"], "btag": result["btag"]}
    files = [
        output.write_json(counts, folder / "counts.json"),
        output.write_text(summary(result), folder / "counts.txt"),
        output.write_histograms(result, folder / "histograms.json"),
        output.write_table(result["candidates"], folder / "candidates.parquet"),
    ]
    if plots:
        files += plot(result, folder / "plots", metadata=metadata)
    return files
