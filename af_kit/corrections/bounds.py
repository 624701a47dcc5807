"""Where a correction ends: the range of each input, and the values of each choice, read from its JSON schema."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["bounds_of", "choices_of"]


def bounds_of(data: Any, inputs: list[str]) -> dict[str, tuple[float, float]]:
    """The range of each binned input outside of which the library raises.

    Parameters
    ----------
    data : mapping
        The ``data`` of a correction in schema version 2.
    inputs : list of str
        Names of the correction's inputs.

    Returns
    -------
    dict
        Lowest and highest edge of each input that has a binning with ``flow: error``. Inputs that the correction
        itself clamps, or has a default for, are not in it.
    """
    found: dict[str, tuple[float, float]] = {}
    for node in _nodes(data):
        if node.get("nodetype") not in ("binning", "multibinning") or node.get("flow") != "error":
            continue
        several = node["nodetype"] == "multibinning"
        names = node["inputs"] if several else [node["input"]]
        edges = node["edges"] if several else [node["edges"]]
        for name, edge in zip(names, edges, strict=True):
            low, high = _ends(edge)
            if name in inputs:
                before = found.get(name, (low, high))
                found[name] = (min(before[0], low), max(before[1], high))
    return found


def choices_of(data: Any) -> dict[str, list[Any]]:
    """The keys that each input with a category may take, in the file's order; with a default, any other too."""
    found: dict[str, dict[Any, None]] = {}
    for node in _nodes(data):
        if node.get("nodetype") == "category":
            found.setdefault(node["input"], {}).update(dict.fromkeys(item["key"] for item in node["content"]))
    return {name: list(keys) for name, keys in found.items()}


def _ends(edges: Any) -> tuple[float, float]:
    if isinstance(edges, Mapping):  # a regular binning: n, low, high
        return float(edges["low"]), float(edges["high"])
    numbers = [_number(edge) for edge in edges]
    return numbers[0], numbers[-1]


def _number(edge: Any) -> float:
    """An edge as a number; the schema writes infinities as text."""
    return {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf}[edge] if isinstance(edge, str) else float(edge)


def _nodes(data: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [data]
    while waiting:  # not recursive: jet corrections nest thousands of nodes
        item = waiting.pop()
        if isinstance(item, Mapping):
            yield item
            waiting += reversed([value for value in item.values() if isinstance(value, (Mapping, list))])
        elif isinstance(item, list):
            waiting += reversed([value for value in item if isinstance(value, (Mapping, list))])
