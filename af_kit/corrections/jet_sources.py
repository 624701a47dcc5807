"""Text files with sources of uncertainty of the jet energy scale: curves in pt, in bins of eta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from af_kit.corrections.files import once_per_file
from af_kit.corrections.jet_text import read_sections
from af_kit.errors import InputError, nearest

__all__ = ["SourceCurves", "read_sources"]


@dataclass(frozen=True, eq=False)
class SourceCurves:
    """Curves in pt for each source and bin in eta, linear between common points and constant beyond them."""

    names: tuple[str, ...]
    eta: NDArray[np.float64]
    points: NDArray[np.float64]
    values: NDArray[np.float64]
    """Of shape (sources, bins in eta, points)."""

    def select(self, names: Sequence[str], path: str | Path) -> SourceCurves:
        """Return the curves of some sources only, in this order; ``path`` is for the message about an unknown one."""
        for name in names:
            if name not in self.names:
                raise InputError(f"There is no source {name!r} in {path}.{nearest(name, self.names)}")
        kept = self.values[[self.names.index(name) for name in names]]
        return SourceCurves(tuple(names), self.eta, self.points, kept)

    def evaluate(
        self, pt: NDArray[np.float64], eta: NDArray[np.float64], indices: Sequence[int]
    ) -> list[NDArray[np.float64]]:
        """Return the relative uncertainty of each jet, for each source by its index; the search is shared."""
        in_eta = np.clip(np.searchsorted(self.eta, eta, side="right") - 1, 0, len(self.eta) - 2)
        last = len(self.points) - 2
        below = np.clip(np.searchsorted(self.points, pt, side="right") - 1, 0, last)
        low = self.points[below]
        fraction = np.clip((pt - low) / (self.points[below + 1] - low), 0.0, 1.0)
        at = in_eta * len(self.points) + below
        found = []
        for index in indices:
            curve = self.values[index].ravel()
            left = curve[at]
            found.append(left + fraction * (curve[at + 1] - left))
        return found


@once_per_file
def read_sources(path: str) -> SourceCurves:
    """Read a text file of sources; each line has the limits in eta, a count, and pt, up, down for each point."""
    sections = read_sections(path)
    sections.pop("", None)
    curves: dict[str, list[tuple[float, float, NDArray[np.float64]]]] = {}
    for name, lines in sections.items():
        if not lines or "JetEta 1 JetPt" not in " ".join(lines[0].split()):
            raise InputError(f"Source {name!r} in {path} does not depend on JetEta and JetPt.")
        curves[name] = [_curve(line, name, path) for line in lines[1:]]
    if not curves or not all(curves.values()):
        raise InputError(f"{path} has no sources of uncertainty, or one without numbers.")
    rows = [row for source in curves.values() for row in source]
    edges = np.unique([edge for low, high, _ in rows for edge in (low, high)])
    # the curves are linear between points, so a common set of points changes nothing
    points = np.unique(np.concatenate([curve[0] for _, _, curve in rows]))
    values = np.full((len(curves), len(edges) - 1, len(points)), np.nan)
    for index, source in enumerate(curves.values()):
        for low, high, curve in source:
            values[index, np.searchsorted(edges, low) : np.searchsorted(edges, high)] = np.interp(points, *curve)
    if np.isnan(values).any() or len(points) < 2:
        raise InputError(f"{path} does not have all sources in all bins of eta.")
    return SourceCurves(tuple(curves), edges, points, values)


def _curve(line: str, name: str, path: str) -> tuple[float, float, NDArray[np.float64]]:
    """Return the limits in eta, and pt and uncertainty at each point."""
    try:
        low, high, count, *rest = (float(word) for word in line.split())
        pt, up, down = np.reshape(rest, (-1, 3)).T
        complete = len(rest) == count
    except ValueError:
        complete = False
    if not complete:
        raise InputError(f"Source {name!r} in {path} has a line with a wrong count of numbers: {line[:60]!r}")
    if not np.array_equal(up, down):
        raise InputError(f"Source {name!r} in {path} is not the same up and down, which is not supported.")
    return low, high, np.stack([pt, up])
