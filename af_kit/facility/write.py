"""Write a bench to a folder: ``bench.json``, ``table.md``, ``facility.png``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from af_kit.analysis.output import replacing, write_json, write_text
from af_kit.facility.limits import Limit, limit_of
from af_kit.facility.picture import draw
from af_kit.facility.point import Point
from af_kit.facility.published import PUBLISHED
from af_kit.facility.table import page

__all__ = ["FORMAT", "document", "write_bench", "write_pages"]

FORMAT = 1


def document(about: Mapping[str, Any], points: Sequence[Point], failures: Sequence[str]) -> dict[str, Any]:
    """Return the bench as plain values: what was asked for, the points with their limits, what failed, and published
    tables."""
    return {
        "format": FORMAT,
        **about,
        "points": [{**point.to_dict(), "limit": _limit(limit_of(point))} for point in points],
        "failed": list(failures),
        "published": [asdict(one) for one in PUBLISHED],
    }


def write_bench(folder: Path, about: Mapping[str, Any], points: Sequence[Point], failures: Sequence[str]) -> Path:
    """Write the `document` as ``bench.json``."""
    return write_json(document(about, points, failures), folder / "bench.json")


def write_pages(folder: Path, points: Sequence[Point], failures: Sequence[str] = ()) -> list[Path]:
    """Write the tables, and the picture if there is something to draw."""
    files = [write_text(page(points, failures).rstrip("\n"), folder / "table.md")]
    path = folder / "facility.png"
    path.unlink(missing_ok=True)  # of an older bench
    if points:
        with replacing(path) as part:
            draw(points).savefig(part, format="png", dpi=110)
        files.append(path)
    return files


def _limit(limit: Limit) -> dict[str, Any]:
    def short(values: Mapping[str, float]) -> dict[str, float]:
        return {part: float(f"{value:.4g}") for part, value in values.items()}

    return {
        "part": limit.part,
        "sentence": limit.sentence,
        "shares": short(limit.shares),
        "bounds": short(limit.bounds),
    }
