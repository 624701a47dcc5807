"""Read the range of each input, and the values of each choice, from the JSON of a correction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def bounds_of(data: Any, inputs: list[str]) -> dict[str, tuple[float, float]]:
    """Return the widest range of each binned input; outside it correctionlib raises.

    The range can be smaller for some categories or bins of the other inputs; `Limits` knows it for each.

    Parameters
    ----------
    data : mapping
        The ``data`` of a correction in schema version 2 (https://cms-nanoaod.github.io/correctionlib/schemav2.html).
    inputs : list of str
        Names of the correction's inputs.

    Returns
    -------
    dict
        Lowest and highest edge of each input that has a binning with ``flow: error``, in the unit of the input. Inputs
        that the correction itself clamps, or has a default for, are not included.
    """
    bounds: dict[str, tuple[float, float]] = {}
    for node in _nodes(data):
        if node.get("nodetype") not in ("binning", "multibinning") or node.get("flow") != "error":
            continue
        is_multi = node["nodetype"] == "multibinning"
        names = node["inputs"] if is_multi else [node["input"]]
        edges = node["edges"] if is_multi else [node["edges"]]
        for name, edge in zip(names, edges, strict=True):
            low, *_, high = edges_of(edge)
            if name in inputs:
                known = bounds.get(name, (low, high))
                bounds[name] = (min(known[0], low), max(known[1], high))
    return bounds


def choices_of(data: Any) -> dict[str, list[Any]]:
    """Return the keys of each input with a category, in the file's order. (A default allows other values, too.)"""
    choices: dict[str, dict[Any, None]] = {}
    for node in _nodes(data):
        if node.get("nodetype") == "category":
            choices.setdefault(node["input"], {}).update(dict.fromkeys(item["key"] for item in node["content"]))
    return {name: list(keys) for name, keys in choices.items()}


def edges_of(edges: Any) -> list[float]:
    """Return the edges of a binning as numbers."""
    if isinstance(edges, Mapping):  # a regular binning
        low, high, bins = float(edges["low"]), float(edges["high"]), int(edges["n"])
        return [low + (high - low) * i / bins for i in range(bins)] + [high]
    return [_number(edge) for edge in edges]


def _number(edge: Any) -> float:
    """Convert an edge to a number; the schema writes infinities as strings."""
    return {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf}[edge] if isinstance(edge, str) else float(edge)


def _nodes(data: Any) -> Iterator[Mapping[str, Any]]:
    pending = [data]
    while pending:  # not recursive: jet corrections nest thousands of nodes
        item = pending.pop()
        if isinstance(item, Mapping):
            yield item
            pending += reversed([value for value in item.values() if isinstance(value, (Mapping, list))])
        elif isinstance(item, list):
            pending += reversed([value for value in item if isinstance(value, (Mapping, list))])
