"""What limits a point: the bound that each part of the facility sets, and the smallest of them.

A part that takes a share of the threads' time, or keeps a resource that all share busy for a share of the time, could
deliver at most the measured rate divided by this share: that is its bound. The part with the smallest bound limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from af_kit.facility.point import Point

__all__ = ["PARTS", "Ceilings", "Limit", "ceilings", "limit_of"]

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "storage": "waiting for data from the storage",
        "network": "moving results over the network",
        "decompression": "decompressing and decoding",
        "function": "in the analysis function",
        "cores": "ready to run, but without a core",
        "merge": "merging results",
        "scheduler": "waiting for the scheduler's next task",
        "balance": "without a task, because there are too few for all threads",
        "client": "waiting for the client, which plans and completes the run",
    }
)
"""The parts of a facility, and what threads do that it limits."""

_ADVICE = {
    "storage": "read from a closer or faster storage, or read fewer branches",
    "network": "return smaller results",
    "decompression": "use more cores, files compressed with ZSTD, or fewer branches",
    "function": "use more cores, or a compiled loop",
    "cores": "use an idle machine, start fewer threads on each host, or processes with one thread",
    "merge": "return smaller results",
    "scheduler": "use larger chunks",
    "balance": "use fewer workers, or process more events at once",
    "client": "process more events at once, or list fewer and larger files",
}

# From this share on, a network interface is full: those who wait for data wait for it.
_FULL = 0.8
# From this load average per core on, tasks without a core are taken to be queued, if the system does not tell.
_BUSY = 0.8


@dataclass(frozen=True)
class Limit:
    """What limits a point.

    Attributes
    ----------
    part : str
        One of `PARTS`.
    sentence : str
        The limit in words, with its bound and what to do.
    shares : dict
        For each part, the share of the time that it takes: of the threads, or of the resource that all share.
    bounds : dict
        For each part that takes any, the events/s that it would allow if nothing else took time.
    """

    part: str
    sentence: str
    shares: Mapping[str, float]
    bounds: Mapping[str, float]


def limit_of(point: Point) -> Limit:
    """Return what limits a point."""
    shares = shares_of(point)
    bounds = {part: point.events_per_s / share for part, share in shares.items() if share > 0}
    if not bounds:
        return Limit("client", "Nothing was measured that takes time.", shares, bounds)
    part = min(bounds, key=bounds.__getitem__)
    full = f"; a network interface is {point.link_use:.0%} full" if point.link_use >= _FULL else ""
    if part == "storage" and full:
        part = "network"
    return Limit(part, _sentence(point, part, shares, bounds, full), shares, bounds)


def shares_of(point: Point) -> dict[str, float]:
    """Return for each part the share of the time that it takes (see `Limit`)."""
    whole = point.threads * point.wall_s
    waiting, decoding, function = (point.times.get(name, 0.0) for name in ("waiting", "decoding", "function"))
    computing = max(point.busy_s - waiting, 0.0)
    queued = _queued_s(point, computing)
    working = 1 - queued / computing if computing else 1.0
    seconds = {
        "storage": waiting,
        "network": 0.0,
        "decompression": working * decoding,
        "function": working * function,
        "cores": queued,
        "merge": point.times.get("merging", 0.0),
        "scheduler": 0.0,
        "balance": 0.0,
        "client": 0.0,
    }
    if point.phases is not None:
        phases = point.phases
        seconds["network"] = min(phases.transfer_s, phases.gaps_s)
        seconds["merge"] += point.threads * phases.final_merge_s
        seconds["scheduler"] = phases.gaps_s - seconds["network"]
        seconds["balance"] = phases.unused_s
        seconds["client"] = point.threads * (phases.planning_s + phases.gather_s)
    shares = {part: min(1.0, spent / whole) for part, spent in seconds.items()}
    # These are shared by all threads: they may be busy while no thread waits for them yet.
    shares["network"] = min(1.0, max(shares["network"], point.link_use))
    shares["scheduler"] = min(1.0, max(shares["scheduler"], point.scheduler_load))
    shares["client"] = min(1.0, max(shares["client"], point.client_cpu_s / point.wall_s))
    return shares


def _queued_s(point: Point, computing_s: float) -> float:
    """Return for how long tasks could have run, but had no core.

    A task that neither waits for data nor has a core is queued, or its function itself waits for something.
    """
    lost = max(0.0, computing_s - point.task_cpu_s)
    if point.threads > point.workers:
        return lost  # threads of a process wait for its interpreter, which the system does not count
    if point.queued_s is not None:
        return min(lost, point.queued_s)
    return lost if point.load >= _BUSY else 0.0


def _sentence(point: Point, part: str, shares: Mapping[str, float], bounds: Mapping[str, float], full: str) -> str:
    share = shares[part]
    rate = f"it alone would allow {in_short(bounds[part])} events/s"
    if others := {name: bound for name, bound in bounds.items() if name != part}:
        following = min(others, key=others.__getitem__)
        rate += f", and the next limit, {following}, {in_short(others[following])}"
    if part == "network" and full:
        return f"network: workers wait for data, and a network interface is {point.link_use:.0%} full; {rate}."
    if part == "scheduler" and point.scheduler_load >= share:
        what = f"the scheduler's event loop is busy for {share:.0%} of the time"
    elif part == "client" and point.client_cpu_s / point.wall_s >= share:
        what = f"the client computes for {share:.0%} of the time"
    elif part == "balance" and point.phases is not None:
        what = f"{share:.0%} of the threads' time is spent {PARTS[part]} ({point.phases.tasks} for {point.threads})"
    else:
        what = f"{share:.0%} of the threads' time is spent {PARTS[part]}"
    if part == "cores" and point.load > 1:
        what += f" (the host's load average is {point.load:.1f} per core)"
    return f"{part}: {what}; {rate}. To go faster, {_ADVICE[part]}."


@dataclass(frozen=True)
class Ceilings:
    """The roofline of a workload, from one point.

    Attributes
    ----------
    per_thread : float
        Events/s of one thread that always has work, and a core for itself: this part grows with the number of threads.
    scheduler : float
        Events/s at which the scheduler's event loop is always busy; infinite if it was not measured.
    client : float
        Events/s at which the run takes no longer than the client's own part: planning and completing a run of this
        size; infinite if it was not measured.
    """

    per_thread: float
    scheduler: float
    client: float

    def at(self, threads: float) -> float:
        """Return the largest rate that the ceilings allow for a number of threads."""
        return min(threads * self.per_thread, self.scheduler, self.client)


def ceilings(*points: Point) -> Ceilings:
    """Return the roofline for other numbers of threads and as many events: of several points, the highest."""
    return Ceilings(
        per_thread=max(_rate(point, _working_s(point)) for point in points),
        scheduler=max(_rate(point, point.scheduler_cpu_s) for point in points),
        client=max(_rate(point, _serial_s(point)) for point in points),
    )


def _rate(point: Point, seconds: float) -> float:
    return point.events / seconds if seconds else float("inf")


def _working_s(point: Point) -> float:
    """Return the seconds that the tasks take if each thread has a core for itself."""
    waiting = point.times.get("waiting", 0.0)
    return waiting + min(point.task_cpu_s, max(0.0, point.busy_s - waiting))


def _serial_s(point: Point) -> float:
    return point.phases.planning_s + point.phases.gather_s if point.phases is not None else 0.0


def in_short(rate: float) -> str:
    """Return a rate or a number as facilities write it: ``"415k"``, ``"2.9M"``."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= 0.9995 * unit:
            scaled = rate / unit
            return f"{scaled:.1f}{letter}" if scaled < 9.95 else f"{scaled:.0f}{letter}"
    return f"{rate:.0f}"
