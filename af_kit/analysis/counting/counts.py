"""The counts of a merged result: the sum over its datasets, and all of them as a table of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# The columns of the table: a heading, and the counts below it with their keys.
_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "": {"events": ("events",)},
    "jets": {name: ("jets", name) for name in ("all", "selected", "btagged")},
    "muons": {name: ("muons", name) for name in ("all", "loose", "fakeable", "tight")},
    "electrons": {name: ("electrons", name) for name in ("all", "loose", "fakeable", "tight")},
    "events in channel": {name: ("channels", name) for name in ("dilepton", "trilepton")},
}


def total(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum over the datasets of ``result["counts"]``, in the form of one of them."""
    return _sum(list(counts.values()))


def summary(result: Mapping[str, Any]) -> str:
    """Return the counts of a result as a table of text: one row per dataset, and "all" if there are several."""
    counts = list(result["counts"].items())
    if len(counts) > 1:
        counts.append(("all", total(result["counts"])))
    rows = [list(_headings()), *([name, *_numbers(of_dataset)] for name, of_dataset in counts)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [_groups(widths)]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    notes = [f"b-tagged: {result['btag']}. Counts are of events, without weights."] if "btag" in result else []
    return "\n".join([line.rstrip() for line in lines] + notes)


def _sum(values: list[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return {key: _sum([value[key] for value in values]) for key in values[0]}
    return sum(values)


def _headings() -> Iterator[str]:
    yield "dataset"
    for columns in _COLUMNS.values():
        yield from columns


def _numbers(counts: Mapping[str, Any]) -> Iterator[str]:
    for columns in _COLUMNS.values():
        for keys in columns.values():
            value: Any = counts
            for key in keys:
                value = value[key]
            yield f"{value:,}"


def _groups(widths: list[int]) -> str:
    """Return the line of headings, each over the columns of its group, which are widened if it is longer."""
    line, at = " " * widths[0], 1
    for heading, columns in _COLUMNS.items():
        last = at + len(columns)
        width = sum(widths[at:last]) + 2 * (len(columns) - 1)
        widths[at] += max(len(heading) - width, 0)
        width = max(width, len(heading))
        line += "  " + (f" {heading} ".center(width, "-") if heading else " " * width)
        at = last
    return line
