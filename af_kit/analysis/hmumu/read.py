"""Read a result back from the folder that `write` left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from af_kit.analysis import output
from af_kit.analysis.hmumu.variations import DIRECTIONS, label_of
from af_kit.errors import InputError

__all__ = ["read"]


def read(folder: str | Path) -> dict[str, Any]:
    """Read the histograms of a result, and what is known about them.

    Parameters
    ----------
    folder
        What ``af-kit run hmumu --out`` wrote, or :func:`write`.

    Returns
    -------
    dict
        As from :func:`process`: ``histograms``, ``samples``, ``campaign``, ``corrections``, ``duplicates``,
        ``normalisation`` and ``sources``; ``metadata``, for the labels of figures; ``folder``.
        :func:`pandas.read_parquet` reads its ``candidates.parquet``.

    Raises
    ------
    InputError
        A file is missing or unreadable; or some entries failed, so that yields are too low.
    """
    folder = Path(folder)
    about = _json(folder, "normalisation.json")
    if (folder / "report.json").exists():
        entries = _json(folder, "report.json")["entries"]
        if entries["processed"] != entries["planned"]:
            raise InputError(
                f"{folder} is not complete: {entries['planned'] - entries['processed']:,} of {entries['planned']:,} "
                "entries were not processed, so its yields are too low. Run the analysis again; --checkpoint keeps "
                "what is done."
            )
    try:
        histograms = output.read_histograms(folder / "histograms.json")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder / 'histograms.json'} cannot be read: {' '.join(str(error).split())}") from error
    about["normalisation"] = about.pop("datasets")
    labels = {
        label
        for own in histograms.values()
        for histogram in own.values()
        if "variation" in histogram.axes.name
        for label in histogram.axes["variation"]
    }
    return {"metadata": {}, **about, "histograms": histograms, "sources": _sources(labels), "folder": folder}


def _sources(labels: set[str]) -> list[str]:
    """Return the sources of which both directions are among the labels."""
    ending = label_of("", DIRECTIONS[0])
    found = (label.removesuffix(ending) for label in labels if label.endswith(ending))
    return sorted(name for name in found if all(label_of(name, direction) in labels for direction in DIRECTIONS))


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"There is no {name} in {folder}: it is not a result of the H -> mu mu analysis. Run: "
            f"af-kit run hmumu FILESET --variations all --out {folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return content
