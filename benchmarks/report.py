"""Medians, ratios and targets from the single runs, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.registry import PEERS, installed

VERSIONS = (
    *("af-kit", "uproot", "awkward", "vector", "hist", "coffea", "dask", "distributed", "dask-awkward", "ROOT"),
    *("numba", "numpy", "isal", "zstandard", "cramjam"),
)
FIGURES = (
    "cpu_s_per_mev",
    "work_cpu_s",
    "mev_per_s",
    "whole_cpu_s",
    "warm_cpu_s",
    "cold_start_s",
    "peak_mib",
    "migrated",
)

KITS = {peer.name for peer in PEERS if peer.kit}

Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """Return a description of this machine."""
    import psutil

    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def versions() -> dict[str, str | None]:
    return {name: installed(name) for name in VERSIONS}


def medians(runs: Iterable[Row]) -> list[Row]:
    """Return one row per (variant, peer, workers, chunks) with the median of each figure over the rounds."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for run in runs:
        groups.setdefault((run["variant"], run["peer"], run["workers"], run["chunks"]), []).append(run)
    rows = []
    for (variant, peer, workers, chunks), group in groups.items():
        row: Row = {"variant": variant, "peer": peer, "workers": workers, "chunks": chunks, "rounds": len(group)}
        row["problem"] = next((run["problem"] for run in group if run.get("problem")), None)
        for figure in FIGURES:
            values = [run[figure] for run in group if run.get(figure) is not None]
            row[figure] = median(values) if values else None
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Target:
    """A ratio of CPU per event (peer over kit, or kit over floor) and its bound."""

    variant: str
    kit: str
    against: str
    bound: float

    @property
    def text(self) -> str:
        sign = "<=" if self.against == "floor" else ">="
        return f"{self.kit} vs {self.against}, {self.variant}: {sign} {self.bound:g}x"

    def ratio(self, cpu: dict[str, float]) -> float | None:
        kit, other = cpu.get(self.kit), cpu.get(self.against)
        if not kit or not other:
            return None
        return kit / other if self.against == "floor" else other / kit

    def met(self, ratio: float) -> bool:
        return ratio <= self.bound if self.against == "floor" else ratio >= self.bound


def _targets() -> Iterator[Target]:
    table = {
        ("kit_awkward", "rdataframe"): {"zlib": 2.8, "zstd": 3.5, "rntuple": 3, "wide": 2, "dsphipi": 2},
        ("kit_awkward", "coffea_runner"): {"zlib": 4, "zstd": 6, "rntuple": 30, "wide": 6, "dsphipi": 4},
        ("kit_numba", "rdataframe"): {"zlib": 3.2, "zstd": 4.5, "rntuple": 5, "wide": 3.5, "dsphipi": 2.5},
        ("kit_numba", "coffea_runner"): {"zlib": 4.5, "zstd": 7.5, "rntuple": 50, "wide": 11, "dsphipi": 5},
        ("kit_numba", "floor"): {"zlib": 1.4, "zstd": 2, "rntuple": 5, "wide": 1.7},
        ("kit", "rdataframe"): {"hmumu": 3, "hmumu-lz4": 3, "hmumu-lzma": 1},
        ("kit", "coffea_runner"): {"hmumu": 9, "hmumu-lz4": 9},
    }
    for (kit, against), bounds in table.items():
        for variant, bound in bounds.items():
            yield Target(variant, kit, against, bound)


TARGETS = tuple(_targets())
DISTANT = {"wide-20ms": 1.15, "wide-100ms": 1.5}
COLD_START_S, PEAK_MIB, MS_PER_CHUNK, FLAT = 3.0, 450.0, 2.0, 1.2


def judge(rows: Sequence[Row], workers: int) -> list[Row]:
    """Return the value of every target that has figures, and whether it is met."""
    plain = [row for row in rows if row["chunks"] is None and row["workers"] == workers]
    judged = []
    for target in TARGETS:
        cpu = {row["peer"]: row["cpu_s_per_mev"] for row in plain if row["variant"] == target.variant}
        ratio = target.ratio(cpu)
        if ratio is not None:
            judged.append({"target": target.text, "value": round(ratio, 2), "met": target.met(ratio)})
    kits = [row for row in plain if row["peer"] in KITS and not row["problem"]]
    for row in kits:
        name = f"{row['peer']}, {row['variant']}"
        judged.append(_at_most(f"cold start, {name}: <= {COLD_START_S:g} s", row["cold_start_s"], COLD_START_S))
        judged.append(_at_most(f"peak of a worker, {name}: <= {PEAK_MIB:g} MiB", row["peak_mib"], PEAK_MIB))
    return judged + _distances(plain) + _flat(rows, workers)


def _distances(plain: Sequence[Row]) -> list[Row]:
    """Judge the time for distant files, against that for the same files on the local disk and on a server beside."""
    judged = []
    for base, where in (("wide", "local"), ("wide-0ms", "no distance")):
        speed = {row["peer"]: row["mev_per_s"] for row in plain if row["variant"] == base and row["peer"] in KITS}
        judged += [
            _at_most(
                f"{row['peer']}, {row['variant']}: wall time against {where}: <= {DISTANT[row['variant']]:g}x",
                speed[row["peer"]] / row["mev_per_s"],
                DISTANT[row["variant"]],
            )
            for row in plain
            if row["variant"] in DISTANT and row["mev_per_s"] and speed.get(row["peer"])
        ]
    return judged


def _flat(rows: Sequence[Row], workers: int) -> Iterator[Row] | list[Row]:
    judged = []
    good = [row for row in rows if row["peer"] in KITS and not row["problem"]]
    for variant, peer in dict.fromkeys((row["variant"], row["peer"]) for row in good):
        mine = [row for row in good if (row["variant"], row["peer"]) == (variant, peer)]
        scan = {row["chunks"]: row for row in mine if row["chunks"] and row["workers"] == workers}
        if len(scan) > 1:
            cpu = [row["cpu_s_per_mev"] for row in scan.values()]
            few, many = min(scan), max(scan)
            text = f"{peer}, {variant}: CPU per event, {few} to {many} chunks: max / min <= {FLAT:g}"
            judged.append(_at_most(text, max(cpu) / min(cpu), FLAT))
            slope = 1000 * (scan[many]["work_cpu_s"] - scan[few]["work_cpu_s"]) / (many - few)
            judged.append(_at_most(f"{peer}, {variant}: <= {MS_PER_CHUNK:g} ms CPU per chunk", slope, MS_PER_CHUNK))
        by_workers = {row["workers"]: row["cpu_s_per_mev"] for row in mine if row["chunks"] is None}
        if len(by_workers) > 1:
            text = f"{peer}, {variant}: CPU per event, {min(by_workers)} to {max(by_workers)} workers: <= {FLAT:g}"
            judged.append(_at_most(text, by_workers[max(by_workers)] / by_workers[min(by_workers)], FLAT))
    return judged


def _at_most(text: str, value: float, bound: float) -> Row:
    return {"target": text, "value": round(value, 2), "met": value <= bound}


def markdown(rows: Sequence[Row], judged: Sequence[Row], events: dict[str, int]) -> str:
    """Return the tables for a terminal or a page."""
    labels = {peer.name: peer.label for peer in PEERS}
    lines = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        rdataframe = {row["workers"]: row["cpu_s_per_mev"] for row in mine if row["peer"] == "rdataframe"}
        lines += [
            f"\n### {variant}: {events[variant] / 1e6:g} million events\n",
            "| tool | workers | chunks | CPU-s per Mev | Mev/s | process CPU-s | first pass CPU-s | cold start s "
            "| MiB | moved bins | vs RDataFrame |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in mine:
            if row["problem"]:
                lines.append(f"| {labels[row['peer']]} | {row['workers']} | | {row['problem']} | | | | | | | |")
                continue
            against = rdataframe.get(row["workers"])
            ratio = f"{against / row['cpu_s_per_mev']:.2f}x" if against and row["cpu_s_per_mev"] else ""
            cells = [
                labels[row["peer"]],
                str(row["workers"]),
                "own" if row["chunks"] is None else str(row["chunks"]),
                f"{row['cpu_s_per_mev']:.3f}",
                f"{row['mev_per_s']:.1f}",
                f"{row['whole_cpu_s']:.1f}",
                f"{row['warm_cpu_s']:.2f}",
                f"{row['cold_start_s']:.1f}",
                f"{row['peak_mib']:.0f}",
                "-" if row["migrated"] is None else f"{row['migrated']:.0f}",
                ratio,
            ]
            lines.append(f"| {' | '.join(cells)} |")
    if judged:
        lines += ["\n### Targets\n", "| target | value | |", "|---|---|---|"]
        lines += [f"| {j['target']} | {j['value']:g} | {'met' if j['met'] else 'NOT met'} |" for j in judged]
    return "\n".join(lines)
