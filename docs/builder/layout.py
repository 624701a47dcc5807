"""Where the boxes and arrows of a flowchart go: in ranks along its direction, with few crossings (K. Sugiyama)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

CHARACTER, LINE, PADDING = 7.6, 19.0, 12.0  # pixels: width of a character, height of a line, room round a text
LABEL = 6.7  # width of a character of an arrow's label
_BETWEEN_RANKS, _BETWEEN_BOXES, _ROUND_GROUPS = 44.0, 20.0, 26.0


@dataclass(eq=False)
class Box:
    """A box, or a bend of a long arrow, which has no border.

    Attributes
    ----------
    lines : list of str
        Its text.
    group : str or None
        The group that it belongs to.
    is_bend : bool
        Whether it only leads an arrow past the boxes of a rank; its text is the arrow's label.
    x, y : float
        The place of its centre, in pixels.
    """

    lines: list[str]
    group: str | None = None
    is_bend: bool = False
    rank: int = 0
    band: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """Width in pixels."""
        longest = max(len(line) for line in self.lines)
        return longest * LABEL + 8 if self.is_bend else longest * CHARACTER + 2 * PADDING

    @property
    def height(self) -> float:
        """Height in pixels."""
        return LINE if self.is_bend else len(self.lines) * LINE + 1.2 * PADDING


@dataclass(eq=False)
class Arrow:
    """An arrow between two boxes.

    Attributes
    ----------
    bends : list of Box
        What it passes on its way, from start to end.
    side : float
        How far it is moved to one side, in pixels, if there are several between the same boxes.
    """

    start: Box
    end: Box
    label: str = ""
    both_ways: bool = False
    dotted: bool = False
    has_head: bool = True
    bends: list[Box] = field(default_factory=list)
    side: float = 0.0


def place(boxes: list[Box], arrows: list[Arrow], *, horizontal: bool) -> tuple[float, float]:
    """Give every box its place, and every long arrow its bends; return the width and the height of the chart."""
    for arrow in arrows:
        arrow.bends, arrow.side = [], 0.0
    _rank(boxes, arrows)
    links, bends = _bend(arrows)
    everything = [*boxes, *bends]
    _assign_bands(everything)
    ranks = _order(everything, links)
    across = _align(ranks, links, horizontal=horizontal)
    size = _along(ranks, arrows, across, horizontal=horizontal)
    together = defaultdict(list)
    for arrow in arrows:
        together[frozenset((arrow.start, arrow.end))].append(arrow)
    for several in together.values():
        for number, arrow in enumerate(several):
            side = (number - (len(several) - 1) / 2) * 18
            arrow.side = side if arrow.start is several[0].start else -side
    return size


def _rank(boxes: list[Box], arrows: list[Arrow]) -> None:
    """Number the ranks: an arrow leads to a later one, unless it leads back, or it has two heads between siblings."""
    for box in boxes:
        box.rank = 0
    forward: list[tuple[Box, Box]] = []

    def add(arrow: Arrow) -> None:
        if arrow.start is not arrow.end and not _leads(forward, arrow.end, arrow.start):
            forward.append((arrow.start, arrow.end))

    for arrow in arrows:
        if not arrow.both_ways:
            add(arrow)
    follows = {id(end) for _, end in forward}
    for arrow in arrows:
        if arrow.both_ways and not {id(arrow.start), id(arrow.end)} <= follows:
            add(arrow)
    for _ in boxes:
        for start, end in forward:
            end.rank = max(end.rank, start.rank + 1)
    follows = {id(end) for _, end in forward}
    for box in boxes:  # what only starts arrows stands next to where the first of them leads
        after = [end.rank for start, end in forward if start is box]
        if after and id(box) not in follows:
            box.rank = min(after) - 1


def _leads(links: Iterable[tuple[Box, Box]], start: Box, end: Box) -> bool:
    links, reached = list(links), {id(start)}
    while True:
        more = {id(last) for first, last in links if id(first) in reached} - reached
        if not more:
            return id(end) in reached
        reached |= more


def _bend(arrows: list[Arrow]) -> tuple[list[tuple[Box, Box]], list[Box]]:
    """Put a bend into every rank that an arrow passes; return the links between neighbouring ranks, and the bends."""
    links, bends = [], []
    for arrow in arrows:
        step = 1 if arrow.end.rank >= arrow.start.rank else -1
        group = arrow.start.group if arrow.start.group == arrow.end.group else None
        passed = range(arrow.start.rank + step, arrow.end.rank, step)
        arrow.bends = [Box([""], group, is_bend=True, rank=rank) for rank in passed]
        if arrow.bends:
            arrow.bends[len(arrow.bends) // 2].lines = [arrow.label]
        way = [arrow.start, *arrow.bends, arrow.end]
        links += list(pairwise(way))
        bends += arrow.bends
    return links, bends


def _assign_bands(boxes: list[Box]) -> None:
    """Separate what would stand inside a group's frame without belonging to it."""
    ranges: dict[str, tuple[int, int]] = {}
    for box in boxes:
        if box.group is not None:
            low, high = ranges.get(box.group, (box.rank, box.rank))
            ranges[box.group] = min(low, box.rank), max(high, box.rank)
    band_of: dict[str, int] = {}
    for group, (low, high) in ranges.items():
        taken = {band_of[other] for other in band_of if ranges[other][0] <= high and low <= ranges[other][1]}
        band_of[group] = next(band for band in range(len(ranges)) if band not in taken)
    for box in boxes:
        if box.group is not None:
            box.band = band_of[box.group]
        else:
            taken = {band_of[group] for group, (low, high) in ranges.items() if low <= box.rank <= high}
            box.band = next(band for band in range(len(ranges) + 1) if band not in taken)


def _order(boxes: list[Box], links: list[tuple[Box, Box]]) -> list[list[Box]]:
    """Order the boxes of each rank so that they are near what they are linked to."""
    ranks: list[list[Box]] = [[] for _ in range(max(box.rank for box in boxes) + 1)]
    for box in boxes:
        ranks[box.rank].append(box)
    for sweep in range(8):
        for rank in ranks if sweep % 2 == 0 else reversed(ranks):
            position = {id(box): number for other in ranks for number, box in enumerate(other)}

            def key(box: Box, position: dict[int, int] = position) -> tuple[int, float]:
                near = [position[id(other)] for other in _linked(box, links) if other.rank != box.rank]
                return box.band, sum(near) / len(near) if near else float(position[id(box)])

            rank.sort(key=key)
    return [rank for rank in ranks if rank]


def _linked(box: Box, links: list[tuple[Box, Box]]) -> list[Box]:
    return [end if start is box else start for start, end in links if box in (start, end) and start is not end]


def _align(ranks: list[list[Box]], links: list[tuple[Box, Box]], *, horizontal: bool) -> dict[int, float]:
    """Return where each box stands across the chart's direction: level with what it is linked to, without overlaps."""

    def size(box: Box) -> float:
        return box.height if horizontal else box.width

    place: dict[int, float] = {}
    top = 0.0
    for band in sorted({box.band for rank in ranks for box in rank}):
        rows = [[box for box in rank if box.band == band] for rank in ranks]
        for row in rows:
            below = 0.0
            for box in row:
                place[id(box)] = below + size(box) / 2
                below += size(box) + _BETWEEN_BOXES
            for box in row:
                place[id(box)] -= below / 2
        for sweep in range(6):
            for row in rows if sweep % 2 == 0 else reversed(rows):
                wanted = []
                for box in row:
                    near = [place[id(other)] for other in _linked(box, links) if other.band == band]
                    wanted.append(sum(near) / len(near) if near else place[id(box)])
                for box, here in zip(row, _apart(wanted, [size(box) for box in row]), strict=True):
                    place[id(box)] = here
        inside = [box for row in rows for box in row]
        has_group = any(box.group is not None for box in inside)
        start = top + (_ROUND_GROUPS if has_group else 4.0) - min(place[id(box)] - size(box) / 2 for box in inside)
        for box in inside:
            place[id(box)] += start
        top = max(place[id(box)] + size(box) / 2 for box in inside) + (14.0 if has_group else 4.0)
    return place


def _apart(wanted: list[float], sizes: list[float]) -> list[float]:
    """Return places in the given order that do not overlap and are as near to the wanted ones as possible."""
    if not sizes:
        return []
    shifts = [0.0]
    for before, after in pairwise(sizes):
        shifts.append(shifts[-1] + (before + after) / 2 + _BETWEEN_BOXES)
    blocks: list[list[float]] = []  # isotonic regression: neighbours in the wrong order share their mean
    for here, shift in zip(wanted, shifts, strict=True):
        blocks.append([here - shift])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) > sum(blocks[-1]) / len(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    means = [sum(block) / len(block) for block in blocks for _ in block]
    return [mean + shift for mean, shift in zip(means, shifts, strict=True)]


def _along(
    ranks: list[list[Box]], arrows: list[Arrow], across: dict[int, float], *, horizontal: bool
) -> tuple[float, float]:
    """Set the places, rank after rank, with room for the labels between them; return the chart's size."""

    def size(box: Box, *, along: bool) -> float:
        return box.width if along == horizontal else box.height

    has_groups = any(box.group is not None for rank in ranks for box in rank)
    offset = 12.0 if has_groups else 4.0
    if has_groups and not horizontal:
        offset = _ROUND_GROUPS
    for rank, following in zip(ranks, [*ranks[1:], []], strict=True):
        thickness = max(size(box, along=True) for box in rank)
        for box in rank:
            centre, level = offset + thickness / 2, across[id(box)]
            box.x, box.y = (centre, level) if horizontal else (level, centre)
        labels = [
            len(arrow.label)
            for arrow in arrows
            if not arrow.bends
            and any(b in rank for b in (arrow.start, arrow.end))
            and (any(b in following for b in (arrow.start, arrow.end)))
        ]
        longest = max(labels, default=0)
        gap = longest * LABEL + 34 if horizontal else LINE + 50
        is_border = {box.group for box in rank} != {box.group for box in following}
        offset += thickness + max(_BETWEEN_RANKS, gap if longest else 0) + (22 if has_groups and is_border else 0)
    end = max((box.x if horizontal else box.y) + size(box, along=True) / 2 for rank in ranks for box in rank)
    side = max(across[id(box)] + size(box, along=False) / 2 for rank in ranks for box in rank)
    margin = 14.0 if has_groups else 4.0
    return (end + margin, side + margin) if horizontal else (side + margin, end + margin)
