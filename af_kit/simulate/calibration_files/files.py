"""Write text, JSON and ROOT histograms."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import ArrayLike

from af_kit.simulate.writer import replacing


def write_text(path: Path, text: str) -> Path:
    """Write text, compressed if the name ends in ``.gz``; the same text always gives the same bytes."""
    data = text.encode()
    with replacing(path) as part:
        part.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file."""
    return write_text(path, json.dumps(content, indent=1) + "\n")


def write_root(path: Path, objects: Mapping[str, Any]) -> Path:
    """Write histograms and graphs to a ROOT file; names may have folders."""
    with replacing(path) as part, uproot.recreate(part) as file:
        for name, item in objects.items():
            file[name] = item
    return path


def histogram(edges: Sequence[ArrayLike], values: ArrayLike, errors: ArrayLike | float = 0.0) -> Any:
    """Return a histogram of one to three axes with these bin contents and errors."""
    from hist import Hist, axis, storage

    made = Hist(*(axis.Variable(np.asarray(edge, float)) for edge in edges), storage=storage.Weight())
    view: Any = made.view()
    view["value"] = values
    view["variance"] = np.broadcast_to(np.square(errors), np.shape(values))
    return made


def graph(x: ArrayLike, y: ArrayLike, title: str) -> Any:
    """Return a TGraph: uproot writes no TGraphErrors, and no reader of these files needs the errors."""
    return uproot.as_TGraph({"x": np.asarray(x, float), "y": np.asarray(y, float)}, title=title)


def table(header: str, rows: Sequence[Sequence[Any]]) -> str:
    """Return the text of a jet correction: a header in braces, and one row per bin."""
    return "\n".join([f"{{{header}}}", *(" ".join(f"{value:.8g}" for value in row) for row in rows)]) + "\n"
