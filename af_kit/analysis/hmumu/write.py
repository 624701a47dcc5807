"""Write a result into a folder: histograms, rows, cutflow, normalisation, figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.analysis import output
from af_kit.analysis.hmumu.plot import plot
from af_kit.analysis.hmumu.results import EFFICIENCY_STEPS, cutflow_table, efficiency_table

__all__ = ["write"]


def write(
    result: Mapping[str, Any], folder: str | Path, *, metadata: Mapping[str, Any] | None = None, plots: bool = True
) -> list[Path]:
    """Write a result of :func:`process` into a folder.

    ``histograms.json`` (normalised) and ``candidates.parquet`` (weights before normalisation); ``cutflow.json``, with
    numbers and sums of generator weights by dataset and step, and ``efficiencies.csv``, the main steps;
    ``normalisation.json``, the factors on the weights of each dataset and variation; for data
    ``luminosity_blocks_processed.json`` and, with a golden JSON, ``luminosity_blocks_missing.json``: its blocks that
    have events in the files, and the rest of it; ``plots/``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = ("campaign", "lacking", "corrections", "samples", "duplicates", "network")
    about = {name: result[name] for name in known if name in result} | {"metadata": dict(metadata or {})}
    files = [
        output.write_histograms(result["histograms"], folder / "histograms.json"),
        output.write_table(result["candidates"], folder / "candidates.parquet"),
        output.write_json(_cutflows(result), folder / "cutflow.json"),
        output.write_json({**about, "datasets": result["normalisation"]}, folder / "normalisation.json"),
    ]
    for name, blocks in result["luminosity_blocks"].items():
        files.append(output.write_json(blocks.to_dict(), folder / f"luminosity_blocks_{name}.json"))
    path = folder / "efficiencies.csv"
    with output.replacing(path) as part:
        part.write_text(efficiency_table(result).to_csv(lineterminator="\n"), encoding="utf-8")
    files.append(path)
    if plots:
        files += plot(result, folder / "plots", metadata=metadata)
    return files


def _cutflows(result: Mapping[str, Any]) -> dict[str, Any]:
    tables = {dataset: cutflow_table(result, dataset) for dataset in result["cutflow"]}
    return {
        dataset: {
            "steps": [
                {"step": str(step), "events": int(row["events"]), "weighted": float(row["weighted"])}
                for step, row in table.iterrows()
            ],
            "efficiencies": {title: int(table["events"][step]) for step, title in EFFICIENCY_STEPS.items()},
        }
        for dataset, table in tables.items()
    }
