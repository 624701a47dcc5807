"""Make templates fit for a likelihood: each step is an option, and everything that it changes is recorded."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from af_kit.analysis.templates.model import Channel, Process, Shape
from af_kit.analysis.templates.smoothing import smoothed
from af_kit.errors import InputError, nearest

__all__ = ["Change", "merged", "prepare"]

Floats = NDArray[np.float64]

SYMMETRISE = ("none", "one_sided", "all")


class Change(NamedTuple):
    """Something that `prepare` changed, and where; empty: in all processes, or not about a source."""

    step: str
    channel: str
    process: str
    source: str
    what: str


def prepare(
    channels: Collection[Channel],
    *,
    merge: float | None = 0.3,
    negative: bool = True,
    smooth: Collection[str] = (),
    symmetrise: str = "one_sided",
    prune: float = 0.005,
) -> tuple[tuple[Channel, ...], list[Change]]:
    """Return channels that a `TemplateModel` accepts, and the list of what was changed.

    The steps, in this order:

    1. ``merge``: neighbouring bins are merged until, in each, the statistical uncertainty of all processes together is
       at most this fraction of the expectation, the expectation is positive, and each process that has free factors
       has events in total. None: bins stay as they are.
    2. ``negative``: bins of a process with a negative content get 0, and the others are scaled so that its total
       stays. Negative bins of a varied template get 0. A process whose total is not positive is left out of the
       channel. False: the model refuses them.
    3. ``smooth``: the ratios of these sources' varied templates to the nominal ones are smoothed (`smoothed`); their
       yields stay. For sources that move events between bins, so that their variations fluctuate independently.
    4. ``symmetrise``: "one_sided": where both variations of a source change the yield in the same direction, the
       larger one is mirrored; "all": half the difference of up and down is taken in both directions, everywhere;
       "none".
    5. ``prune``: a source's effect on a yield, or on the shape in any bin, is left out if it is smaller than this
       fraction. 0: everything stays.

    Parameters
    ----------
    channels
        Channels before any check, as filled.

    Raises
    ------
    InputError
        A channel has no expected events at all, or an option is unknown.
    """
    if symmetrise not in SYMMETRISE:
        raise InputError(f"symmetrise={symmetrise!r} is not known.{nearest(symmetrise, SYMMETRISE)}")
    known = {name for channel in channels for process in channel.processes for name in process.shapes}
    for name in smooth:
        if name not in known:
            raise InputError(f"There is no source {name!r} to smooth.{nearest(name, known)}")
    changes: list[Change] = []
    steps: list[Callable[[Channel], Channel]] = []
    if merge is not None:
        steps.append(lambda channel: _merge(channel, merge, changes))
    if negative:
        steps.append(lambda channel: _without_negative(channel, changes))
    steps += [
        lambda channel: _each_shape(channel, functools.partial(_smooth, chosen=set(smooth), changes=changes)),
        lambda channel: _each_shape(channel, functools.partial(_symmetrise, how=symmetrise, changes=changes)),
        lambda channel: _prune(channel, prune, changes),
    ]
    done = []
    for channel in channels:
        for step in steps:
            channel = step(channel)
        done.append(channel)
    return tuple(done), changes


def merged(channel: Channel, edges: Collection[float]) -> Channel:
    """Return a channel with fewer bins.

    Parameters
    ----------
    edges
        The edges that stay: some of the channel's. Bins outside them are dropped.
    """
    chosen = np.asarray(sorted(edges), float)
    positions = np.searchsorted(channel.edges, chosen - 1e-9 * np.ptp(channel.edges))
    if (positions >= channel.edges.size).any() or not np.allclose(channel.edges[positions], chosen):
        wrong = next(edge for edge in chosen if not np.isclose(channel.edges, edge).any())
        near = channel.edges[np.argmin(np.abs(channel.edges - wrong))]
        raise InputError(f"Channel {channel.name!r} has no edge at {wrong:g}; the nearest is {near:g}.")

    def add(values: Any) -> Floats:
        return np.add.reduceat(np.append(values, 0.0), positions)[:-1]

    def one(process: Process) -> Process:
        return dataclasses.replace(
            process,
            values=add(process.values),
            variances=add(process.variances),
            shapes={name: Shape(add(shape.up), add(shape.down)) for name, shape in process.shapes.items()},
        )

    return dataclasses.replace(
        channel,
        edges=channel.edges[positions],
        processes=tuple(map(one, channel.processes)),
        data=None if channel.data is None else add(channel.data),
    )


def _merge(channel: Channel, fraction: float, changes: list[Change]) -> Channel:
    total = channel.total
    variance = np.asarray(sum(process.variances for process in channel.processes), float)
    if not total.sum() > 0:
        raise InputError(
            f"Channel {channel.name!r} has {total.sum():.4g} expected events in all bins together. Use more simulated "
            "events, or another channel."
        )
    kept, start = [0], 0
    for end in range(1, total.size + 1):
        inside = slice(start, end)
        content, error = total[inside].sum(), np.sqrt(variance[inside].sum())
        if content > 0 and error <= fraction * content:
            kept.append(end)
            start = end
    if kept[-1] != total.size:  # what is left over at the end belongs to the last bin
        kept = [*(kept[:-1] or kept), total.size]
    if len(kept) - 1 < total.size:
        changes.append(
            Change(
                "merge",
                channel.name,
                "",
                "",
                f"{total.size} bins to {len(kept) - 1}, with edges {', '.join(f'{channel.edges[i]:g}' for i in kept)}: "
                f"the statistical uncertainty of the simulation is at most {fraction:g} in each",
            )
        )
    return merged(channel, channel.edges[kept])


def _without_negative(channel: Channel, changes: list[Change]) -> Channel:
    kept = []
    for process in channel.processes:
        total = process.total
        if not total > 0:
            text = f"left out: {total:.4g} expected events"
            changes.append(Change("negative", channel.name, process.name, "", text))
            continue
        values, variances, shapes = process.values, process.variances, dict(process.shapes)
        bins = np.flatnonzero(values < 0)
        if bins.size:
            positive = np.maximum(values, 0)
            factor = total / positive.sum()
            listed = ", ".join(f"{number} ({values[number]:.4g})" for number in bins)
            text = f"bins {listed} to 0, the others times {factor:.4g}"
            changes.append(Change("negative", channel.name, process.name, "", text))
            values = positive * factor
        for name, shape in shapes.items():
            pair = []
            for direction, varied in zip(("up", "down"), shape, strict=True):
                bins = np.flatnonzero(varied < 0)
                if not varied.sum() > 0:
                    text = f"{direction}: {varied.sum():.4g} expected events; the nominal template is used"
                    changes.append(Change("negative", channel.name, process.name, name, text))
                    varied = values
                elif bins.size:
                    text = f"{direction}: bins {', '.join(map(str, bins))} to 0"
                    changes.append(Change("negative", channel.name, process.name, name, text))
                    varied = np.maximum(varied, 0) * varied.sum() / np.maximum(varied, 0).sum()
                pair.append(varied)
            shapes[name] = Shape(*pair)
        kept.append(dataclasses.replace(process, values=values, variances=variances, shapes=shapes))
    return dataclasses.replace(channel, processes=tuple(kept))


def _each_shape(channel: Channel, change: Callable[[str, Process, str, Shape], Shape]) -> Channel:
    processes = []
    for process in channel.processes:
        shapes = {name: change(channel.name, process, name, shape) for name, shape in process.shapes.items()}
        processes.append(dataclasses.replace(process, shapes=shapes))
    return dataclasses.replace(channel, processes=tuple(processes))


def _smooth(
    channel: str, process: Process, source: str, shape: Shape, chosen: set[str], changes: list[Change]
) -> Shape:
    if source not in chosen or process.values.size < 3:
        return shape
    nominal = process.values
    pair = []
    for varied in shape:
        ratio = np.divide(varied, nominal, out=np.ones_like(varied), where=nominal > 0)
        new = np.maximum(smoothed(ratio) * nominal, 0)
        pair.append(new * varied.sum() / new.sum())
    moved = max(
        float(np.max(np.abs(a - b)[nominal > 0] / nominal[nominal > 0])) for a, b in zip(pair, shape, strict=True)
    )
    changes.append(Change("smooth", channel, process.name, source, f"bins change by at most {moved:.3g}"))
    return Shape(*pair)


def _symmetrise(channel: str, process: Process, source: str, shape: Shape, how: str, changes: list[Change]) -> Shape:
    nominal = process.values
    up, down = (float(varied.sum()) - process.total for varied in shape)
    if how == "all":
        half = (shape.up - shape.down) / 2
        what = "half the difference of up and down, in both directions"
    elif how == "one_sided" and up * down > 0:
        half = shape.up - nominal if abs(up) >= abs(down) else nominal - shape.down
        larger = "up" if abs(up) >= abs(down) else "down"
        what = (
            f"both change the yield alike ({up / process.total:+.3g}, {down / process.total:+.3g}): {larger} mirrored"
        )
    else:
        return shape
    pair = [np.maximum(nominal + sign * half, 0) for sign in (1, -1)]
    if not min(varied.sum() for varied in pair) > 0:
        return shape
    changes.append(Change("symmetrise", channel, process.name, source, what))
    return Shape(*pair)


def _prune(channel: Channel, threshold: float, changes: list[Change]) -> Channel:
    processes = []
    for process in channel.processes:
        shapes, norms = dict(process.shapes), dict(process.norms)
        for name, shape in process.shapes.items():
            factors = [float(varied.sum()) / process.total for varied in shape]
            filled = process.values > 0
            bins = [
                float(np.max(np.abs(varied / factor - process.values)[filled] / process.values[filled]))
                for varied, factor in zip(shape, factors, strict=True)
            ]
            small_norm = max(abs(factor - 1) for factor in factors) < threshold
            small_shape = max(bins) < threshold
            if small_norm and small_shape:
                del shapes[name]
                what = "left out"
            elif small_norm:
                shapes[name] = Shape(*(varied / factor for varied, factor in zip(shape, factors, strict=True)))
                what = "effect on the yield left out"
            elif small_shape:
                shapes[name] = Shape(*(process.values * factor for factor in factors))
                what = "effect on the shape left out"
            else:
                continue
            size = f"yield {max(abs(factor - 1) for factor in factors):.2g}, bins {max(bins):.2g}"
            changes.append(Change("prune", channel.name, process.name, name, f"{what} ({size})"))
        processes.append(dataclasses.replace(process, shapes=shapes, norms=norms))
    return dataclasses.replace(channel, processes=tuple(processes))
