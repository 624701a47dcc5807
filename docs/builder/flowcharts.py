"""Mermaid's flowcharts as SVG, drawn when the site is built: readers need no network and no JavaScript.

A forge draws them in its own way. What is understood here: ``flowchart LR`` and ``TB``, boxes with and without a text,
arrows with and without a label, dotted lines, and groups of boxes (``subgraph``).
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from builder.layout import LABEL, LINE, Arrow, Box, place

# A chart that is wider than a page's text, in pixels, is drawn from top to bottom.
_PAGE = 900.0
_BOX = r"(\w+)(?:\[\"([^\"]*)\"\]|\[([^\]]*)\])?"
_LINK = r"(<?)(-\.->|-\.-|-->|---)(?:\|\"?([^|\"]*)\"?\|)?"


@dataclass
class Chart:
    """A flowchart: its boxes by name, its arrows, and the titles of its groups."""

    horizontal: bool = True
    boxes: dict[str, Box] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> Chart:
    """Return the flowchart that a text of Mermaid describes.

    Raises
    ------
    ValueError
        A line is not understood.
    """
    chart = Chart()
    group: str | None = None

    def box(match: re.Match[str]) -> Box:
        found = chart.boxes.setdefault(match[1], Box([match[1]]))
        label = match[2] if match[2] is not None else match[3]
        if label is not None:
            found.lines = re.split(r"<br ?/?>", label)
        found.group = found.group or group
        return found

    first, *lines = (line.strip().rstrip(";") for line in text.strip().splitlines())
    direction = re.fullmatch(r"(?:flowchart|graph) (LR|TB|TD)", first)
    if direction is None:
        raise ValueError(f"a chart that is not understood: {first!r}, not 'flowchart LR' or 'flowchart TB'")
    chart.horizontal = direction[1] == "LR"
    for line in lines:
        if match := re.fullmatch(rf"subgraph {_BOX}", line):
            group = match[1]
            chart.groups[group] = match[2] or match[3] or match[1]
        elif line == "end":
            group = None
        elif line and not line.startswith("%%"):
            _parse_arrows(line, chart, box)
    return chart


def _parse_arrows(line: str, chart: Chart, box: Any) -> None:
    """Add the boxes and arrows of one line: ``a``, ``a --> b`` or ``a --> b --> c``."""
    match = re.match(_BOX, line)
    rest = line[match.end() :] if match else line
    start = box(match) if match else None
    while match and (link := re.match(rf"\s*{_LINK}\s*", rest)):
        match = re.match(_BOX, rest[link.end() :])
        if match:
            end = box(match)
            stroke = link[2]
            chart.arrows.append(Arrow(start, end, link[3] or "", bool(link[1]), "." in stroke, stroke.endswith(">")))
            start, rest = end, rest[link.end() + match.end() :]
    if match is None or rest.strip():
        raise ValueError(f"a line of a flowchart that is not understood: {line!r}")


def svg(text: str) -> str:
    """Return a flowchart as an SVG element; its colours are those of the page's style sheet.

    Raises
    ------
    ValueError
        A line is not understood.
    """
    chart = parse(text)
    boxes = list(chart.boxes.values())
    width, height = place(boxes, chart.arrows, horizontal=chart.horizontal)
    if chart.horizontal and width > _PAGE:
        width, height = place(boxes, chart.arrows, horizontal=False)
        chart.horizontal = False
    frames = [_frame(boxes, name, title) for name, title in chart.groups.items()]
    lines, labels = [], []
    taken = [_Rectangle(box.x, box.y, box.width, box.height) for box in boxes]
    for arrow in chart.arrows:
        line, points = _arrow(arrow, horizontal=chart.horizontal)
        lines.append(line)
        if arrow.label:
            where = _label(arrow, points, taken, horizontal=chart.horizontal)
            taken.append(where)
            labels.append(_drawn_label(where, arrow.label))
    left = min([0.0, *(where.x - where.width / 2 - 4 for where in taken)])
    right = max([width, *(x + wide + 4 for x, _, wide, _, _ in frames), *(w.x + w.width / 2 + 4 for w in taken)])
    parts = [
        '<defs><marker id="flow-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0,0.5 L7.5,4 L0,7.5 z"/></marker></defs>',
        *(_drawn_frame(*frame) for frame in frames),
        *lines,
        *(_drawn_box(box) for box in boxes),
        *labels,
    ]
    described = "; ".join(f"{' '.join(arrow.start.lines)} to {' '.join(arrow.end.lines)}" for arrow in chart.arrows)
    return (
        f'<svg class="flowchart" role="img" aria-label="{html.escape(described)}" width="{right - left:.0f}" '
        f'style="min-width:{0.8 * (right - left):.0f}px" viewBox="{left:.0f} 0 {right - left:.0f} {height:.0f}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _drawn_box(box: Box) -> str:
    first = box.y - (len(box.lines) - 1) * LINE / 2
    lines = "".join(
        f'<tspan x="{box.x:.1f}" y="{first + number * LINE:.1f}">{html.escape(line)}</tspan>'
        for number, line in enumerate(box.lines)
    )
    return (
        f'<rect class="box" x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}" rx="5"/><text>{lines}</text>'
    )


def _frame(boxes: list[Box], group: str, title: str) -> tuple[float, float, float, float, str]:
    """Return the frame of a group: left, top, width, height and title."""
    inside = [box for box in boxes if box.group == group]
    left = min(box.x - box.width / 2 for box in inside) - 10
    right = max(box.x + box.width / 2 for box in inside) + 10
    top = min(box.y - box.height / 2 for box in inside) - 24
    bottom = max(box.y + box.height / 2 for box in inside) + 10
    return left, top, max(right - left, len(title) * LABEL + 16), bottom - top, title


def _drawn_frame(left: float, top: float, width: float, height: float, title: str) -> str:
    return (
        f'<rect class="group" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'
        f'<text class="title" x="{left + 8:.1f}" y="{top + 12:.1f}">{html.escape(title)}</text>'
    )


def _arrow(arrow: Arrow, *, horizontal: bool) -> tuple[str, list[tuple[float, float]]]:
    """Return the line of an arrow, from border to border through its bends, and these points."""
    if arrow.start is arrow.end:
        return _loop(arrow), [(arrow.start.x, arrow.start.y)] * 2
    dx, dy = (0.0, arrow.side) if horizontal else (arrow.side, 0.0)
    first = arrow.bends[0] if arrow.bends else arrow.end
    last = arrow.bends[-1] if arrow.bends else arrow.start
    points = [_border(arrow.start, first), *((bend.x, bend.y) for bend in arrow.bends), _border(arrow.end, last)]
    points = [(x + dx, y + dy) for x, y in points]
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        if arrow.bends:  # curves that enter and leave a bend in the chart's direction
            a, b = ((x1 + x2) / 2, y1), ((x1 + x2) / 2, y2)
            if not horizontal:
                a, b = (x1, (y1 + y2) / 2), (x2, (y1 + y2) / 2)
            path += f" C{a[0]:.1f},{a[1]:.1f} {b[0]:.1f},{b[1]:.1f} {x2:.1f},{y2:.1f}"
        else:
            path += f" L{x2:.1f},{y2:.1f}"
    heads = ' marker-end="url(#flow-head)"' if arrow.has_head else ""
    heads += ' marker-start="url(#flow-head)"' if arrow.both_ways else ""
    return f'<path class="line{" dotted" if arrow.dotted else ""}" d="{path}"{heads}/>', points


class _Rectangle(NamedTuple):
    """A rectangle, by its centre."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: _Rectangle) -> bool:
        """Return whether they have points in common."""
        return (
            abs(self.x - other.x) < (self.width + other.width) / 2
            and abs(self.y - other.y) < (self.height + other.height) / 2
        )


def _label(arrow: Arrow, points: list[tuple[float, float]], taken: list[_Rectangle], *, horizontal: bool) -> _Rectangle:
    """Return where an arrow's label goes: at a bend, or at a place along the line that is free."""
    width = len(arrow.label) * LABEL + 4
    if arrow.bends:
        return _Rectangle(*points[1 + len(arrow.bends) // 2], width, 16)
    (x1, y1), (x2, y2) = points
    if arrow.start.rank == arrow.end.rank:  # the line is short: beside it
        beside = (width / 2 + 5, 0.0) if horizontal else (0.0, 14.0)
        return _Rectangle((x1 + x2) / 2 + beside[0], (y1 + y2) / 2 + beside[1], width, 16)
    places = [
        _Rectangle(x1 + (x2 - x1) * t, y1 + (y2 - y1) * t, width, 16) for t in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
    ]
    return next((place for place in places if not any(place.overlaps(other) for other in taken)), places[0])


def _drawn_label(where: _Rectangle, text: str) -> str:
    return (
        f'<rect class="paper" x="{where.x - where.width / 2:.1f}" y="{where.y - where.height / 2:.1f}" '
        f'width="{where.width:.1f}" height="{where.height:.1f}"/>'
        f'<text class="label" x="{where.x:.1f}" y="{where.y:.1f}">{html.escape(text)}</text>'
    )


def _loop(arrow: Arrow) -> str:
    """Return an arrow from a box to itself, at its right side."""
    right, y = arrow.start.x + arrow.start.width / 2 + 2, arrow.start.y
    return f'<path class="line" d="M{right:.1f},{y - 8:.1f} c26,-12 26,28 0,16" marker-end="url(#flow-head)"/>'


def _border(box: Box, other: Box) -> tuple[float, float]:
    """Return where the line to another box leaves this one."""
    dx, dy = other.x - box.x, other.y - box.y
    scales = [
        (box.width / 2 + 2) / abs(dx) if dx else float("inf"),
        (box.height / 2 + 2) / abs(dy) if dy else float("inf"),
    ]
    return box.x + dx * min(scales), box.y + dy * min(scales)


class _Flowchart(nodes.General, nodes.Element):
    """A flowchart in the document."""


class _Directive(Directive):
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            drawn = svg("\n".join(self.content))
        except ValueError as error:
            raise self.error(str(error)) from error
        return [_Flowchart("", svg=drawn)]


def _visit(translator: Any, node: _Flowchart) -> None:
    translator.body.append(f'<div class="flowchart-frame">{node["svg"]}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension; conf.py makes Markdown's blocks of code in ``mermaid`` this directive."""
    app.add_node(_Flowchart, html=(_visit, None))
    app.add_directive("mermaid", _Directive)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
