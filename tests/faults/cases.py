"""The cases: which run is disturbed by which faults, where and when. All of it follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from faults import KINDS
from runs import RUNS


@dataclass(frozen=True)
class Fault:
    """One fault of a case: it starts at a call of the function, and lasts so many seconds, or until the run has ended.

    ``at`` is -1 for a fault that starts before the run; ``when`` says on which side of the function the call waits.
    """

    kind: str
    at: int
    when: str
    lasts_s: float | None


@dataclass(frozen=True)
class Case:
    """A run and its faults, decided by the seed alone."""

    seed: int
    run: str
    cluster: str
    files: str
    checkpoint: bool
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        faults = " and ".join(
            f"{fault.kind} ({'before the run' if fault.at < 0 else f'{fault.when} call {fault.at}'}, "
            f"{'to the end' if fault.lasts_s is None else f'{fault.lasts_s:g} s'})"
            for fault in self.faults
        )
        kept = ", checkpoint" if self.checkpoint else ""
        return f"{self.run} on {self.cluster}, files on {self.files}{kept}: {faults}"


def choose(seed: int) -> Case:
    """Return the case of a seed; the same on any machine."""
    rng = random.Random(seed)
    names = [rng.choice(sorted(KINDS))]
    others = [name for name in sorted(KINDS) if _fit((names[0], name))]
    if rng.random() < 0.3 and others:
        names.append(rng.choice(others))
    kinds = [KINDS[name] for name in names]
    cluster = rng.choice([c for c in kinds[0].clusters if all(c in kind.clusters for kind in kinds)])
    run = rng.choice([run for run in RUNS if all(run in kind.runs for kind in kinds)])
    files = next((kind.files for kind in kinds if kind.files), "disk")
    kept = any(kind.disk == "checkpoint" for kind in kinds) or "client killed" in names
    # other calls, so that both are reached: a run has at least eight, and each call waits at one gate only
    calls = rng.sample(range(7), len(names))
    if any(kind.files == "proxy" for kind in kinds):
        calls[0] = 0  # before the later files are opened
    faults = tuple(
        Fault(
            name,
            -1 if kind.before and rng.random() < 0.2 else call,
            rng.choice(("before", "after")),
            rng.choice(kind.lasts_s),
        )
        for name, kind, call in zip(names, kinds, calls, strict=True)
    )
    return Case(seed, run, cluster, files, kept or rng.random() < 0.3, faults)


def _fit(names: tuple[str, str]) -> bool:
    """Return whether two kinds of faults can happen in one case."""
    one, other = (KINDS[name] for name in names)
    if "client killed" in names and not any("threads" in KINDS[name].clusters for name in names):
        return False  # its cluster is its own
    return (
        bool(set(one.clusters) & set(other.clusters))
        and bool(set(one.runs) & set(other.runs))
        and len({one.files, other.files} - {""}) < 2
        and not (one.disk and other.disk)
    )
