"""Compare the kit and its peers on the same files: `make bench`, or `python benchmarks/run.py --quick`.

The script creates its environment, writes the files, runs every peer in a fresh process (the peers alternate within a
round), compares the histograms, and prints a table; out/bench/results.json has all figures. README.md explains them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import compare, environment, files, remote, report  # noqa: E402
from benchmarks.registry import PEERS, REMOTE, Peer  # noqa: E402

OTHERS = {  # other workloads, on other files: variant to workload
    **{name: name for name in ("wide", "dsphipi", "hmumu")},
    **{f"hmumu-{compression}": "hmumu" for compression in ("lz4", "lzma")},
    **dict.fromkeys(REMOTE, "wide"),
}
VARIANTS = (*files.VARIANTS, "many", *OTHERS)
QUICK_VARIANTS = ("zlib", "zstd", "wide", "dsphipi", "hmumu")
WARM_EVENTS = 1_000_000
WARM_EVENTS_OTHERS = 400_000
WARM_SHARE = 4  # a long run warms up with a quarter of its events: large chunks, for which the memory grows
COLD_EVENTS = 100_000
TIMEOUT_S = 900


def workload_of(variant: str) -> str:
    """Return the selection for the files of a variant."""
    return OTHERS.get(variant, "dimuon")


@dataclass(frozen=True)
class Case:
    """One peer on one set of files."""

    peer: Peer
    variant: str
    workers: int
    chunks: int | None = None

    @property
    def workload(self) -> str:
        return workload_of(self.variant)

    def __str__(self) -> str:
        chunks = "" if self.chunks is None else f", {self.chunks} chunks"
        return f"{self.variant}, {self.peer.name}, {self.workers} workers{chunks}"


@dataclass
class Sample:
    """The files of a variant: for the measurement, for the warm-up, and for the cold start."""

    events: int
    measured: list[str]
    warm: list[str]
    cold: list[str]
    local: list[str]
    """All of them on this machine, also those that are read from a server."""
    expected: dict[str, list[int]] | None
    """The expected histograms; None until the first peer has filled them."""


def sample(folder: Path, variant: str, events: int, stack: contextlib.ExitStack) -> Sample:
    """Write the files that do not exist. The warm-up has other events, so that no cache has the measured ones.

    Remote files are served until the ``stack`` is closed.
    """
    if variant in OTHERS:
        write = {"wide": files.wide, "dsphipi": files.dsphipi, "hmumu": files.hmumu}[workload_of(variant)]
        detail = variant.partition("-")[2]
        if detail and workload_of(variant) == "hmumu":
            write = functools.partial(write, variant=detail)
        warm = write(folder, min(events, WARM_EVENTS_OTHERS), seed=files.SEED + 100)
        cold = warm[:1]
        treename = files.TREENAMES.get(workload_of(variant), files.TREENAME)
        warm = files.repeated(warm, max(1, events // (WARM_SHARE * WARM_EVENTS_OTHERS)), treename)
        measured, expected = write(folder, events), None
    elif variant == "many":
        warm = files.many(folder, min(events, WARM_EVENTS) // 10, seed=files.SEED + 100)
        cold, measured = warm[:1], files.many(folder, events)
        expected = compare.reference(measured, files.TREENAME)
    else:
        warm = files.dimuon(folder, variant, max(min(events, WARM_EVENTS), events // WARM_SHARE), seed=files.SEED + 100)
        cold = files.dimuon(folder, variant, COLD_EVENTS, n_files=1, seed=files.SEED + 200)
        measured = files.dimuon(folder, variant, events)
        expected = compare.reference(measured, files.TREENAME)
    local = [*cold, *warm, *measured]
    if variant in REMOTE:
        delay = float(REMOTE[variant])
        cold, warm, measured = (stack.enter_context(remote.served(paths, delay)) for paths in (cold, warm, measured))
    return Sample(events, measured, warm, cold, local, expected)


def into_page_cache(paths: Sequence[str]) -> None:
    """Read files, so that no figure depends on the disk: a machine may drop what was not read for a minute."""
    for path in paths:
        with Path(path).open("rb") as file:
            while file.read(1 << 24):
                pass


def measure(case: Case, data: Sample, folder: Path) -> dict[str, Any]:
    """Run one case in a fresh process, and return its figures or its problem."""
    run: dict[str, Any] = {"variant": case.variant, "peer": case.peer.name, "workers": case.workers}
    run |= {"chunks": case.chunks, "events": data.events}
    if missing := case.peer.missing():
        return run | {"problem": f"not installed: {', '.join(missing)}"}
    if case.variant in case.peer.cannot:
        return run | {"problem": f"cannot: {case.peer.cannot[case.variant]}"}
    job = folder / "job.json"
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    entries = None if case.chunks is None else max(1, data.events // case.chunks)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    into_page_cache(data.local)
    job.write_text(
        json.dumps(
            {
                "peer": case.peer.module(case.workload),
                "workers": case.workers,
                "treename": files.TREENAMES.get(case.workload, files.TREENAME),
                "files": data.measured,
                "warm": data.warm,
                "cold": data.cold,
                "chunk_entries": entries,
                "folder": str(scratch),
                "answer": str(answer),
                "started": time.monotonic(),
            }
        )
    )
    log = folder / "logs" / f"{case.variant}-{case.peer.name}-{case.workers}-{case.chunks}.log"
    log.parent.mkdir(exist_ok=True)
    before = children_cpu_seconds()
    error = execute([sys.executable, "-m", "benchmarks.measure", str(job)], log)
    whole = children_cpu_seconds() - before
    if error or not answer.exists():
        return run | {"problem": f"failed: {error or 'no answer'} (see {log.relative_to(folder)})"}
    return run | figures(json.loads(answer.read_text()), whole, data)


def children_cpu_seconds() -> float:
    """Return the CPU seconds of all processes that this one has started and waited for, and of their children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def execute(command: Sequence[str], log: Path) -> str | None:
    """Run a command with its output in a log, and return the reason if it fails."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # with it, a cold start would be the time to compile all modules
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, start_new_session=True
        )
        try:
            code = process.wait(TIMEOUT_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return f"timeout after {TIMEOUT_S} s"
            raise
    if code:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}: {lines[-1][:120] if lines else ''}"
    return None


def figures(answer: dict[str, Any], whole: float, data: Sample) -> dict[str, Any]:
    mev = data.events / 1e6
    peak = answer["peak_mib"]
    out = {
        "cpu_s_per_mev": answer["work"]["cpu_s"] / mev,
        "work_cpu_s": answer["work"]["cpu_s"],
        "mev_per_s": mev / answer["work"]["wall_s"],
        # one figure lacks processes that were killed without a wait, the other lacks the end of the session
        "whole_cpu_s": max(whole, answer["cpu_before_close_s"]),
        "waited_cpu_s": whole,
        "before_close_cpu_s": answer["cpu_before_close_s"],
        "warm_cpu_s": answer["warm"]["cpu_s"],
        "cold_start_s": answer["cold_start_s"],
        "peak_mib": peak["largest_child"] or peak["main"],
        "main_peak_mib": peak["main"],
    }
    if "histograms" in answer:
        data.expected = data.expected or answer["histograms"]
        out["migrated"], wrong = compare.differences(answer["histograms"], data.expected)
        if wrong:
            out["problem"] = f"WRONG RESULT: {'; '.join(wrong)}"
    return out


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Return the cases of one round, ordered so that peers alternate."""
    peers = [peer for peer in PEERS if not options.only or peer.name in options.only]
    most = max(options.workers)
    for variant in options.variants:
        for peer in peers:
            asked = options.only or not peer.default or variant in peer.default
            if workload_of(variant) in peer.workloads and asked:
                yield Case(peer, variant, most)
    scanned = options.scan
    for peer in peers:
        if scanned not in options.variants or workload_of(scanned) not in peer.workloads:
            continue
        if peer.kit or peer.name == "rdataframe":
            yield from (Case(peer, scanned, workers) for workers in options.workers if workers != most)
        if peer.kit:
            yield from (Case(peer, scanned, most, chunks) for chunks in options.chunks)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def names(allowed: Sequence[str]) -> Any:
        def split(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := [name for name in chosen if name not in allowed]:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(allowed)}")
            return chosen

        return split

    def numbers(text: str) -> list[int]:
        return [int(float(number)) for number in text.split(",") if number]

    parser.add_argument("--quick", action="store_true", help=f"1M events, one round, {', '.join(QUICK_VARIANTS)}")
    parser.add_argument("--events", type=lambda text: int(float(text)), help="dimuon events (default 10M)")
    parser.add_argument("--wide-events", type=lambda text: int(float(text)), help="wide events (default 2M)")
    parser.add_argument("--dsphipi-events", type=lambda text: int(float(text)), help="Ds events (default 1M)")
    parser.add_argument("--hmumu-events", type=lambda text: int(float(text)), help="H -> mu mu events (default 600k)")
    parser.add_argument("--rounds", type=int, help="runs of each peer; figures are medians (default 3)")
    parser.add_argument("--only", type=names([peer.name for peer in PEERS]), metavar="PEER,...")
    parser.add_argument("--variants", type=names(VARIANTS), metavar="VARIANT,...", help=", ".join(VARIANTS))
    parser.add_argument("--workers", type=numbers, default=[1, 2], help="the main table uses the largest number")
    parser.add_argument("--chunks", type=numbers, help="numbers of chunks to scan (default 10,100,1000,10000)")
    parser.add_argument(
        "--scan", default="zstd", choices=VARIANTS, help="the variant for the scan of workers and chunks"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench", help="files, logs and results.json")
    options = parser.parse_args()
    quick = options.quick
    options.events = options.events or (1_000_000 if quick else 10_000_000)
    options.wide_events = options.wide_events or (400_000 if quick else 2_000_000)
    options.dsphipi_events = options.dsphipi_events or (200_000 if quick else 1_000_000)
    options.hmumu_events = options.hmumu_events or (200_000 if quick else 600_000)
    options.rounds = options.rounds or (1 if quick else 3)
    options.variants = options.variants or list(QUICK_VARIANTS if quick else VARIANTS)
    options.chunks = ([] if quick else [10, 100, 1000, 10_000]) if options.chunks is None else options.chunks
    if quick:
        options.workers = [max(options.workers)]
    return options


def main() -> int:
    options = arguments()
    environment.enter()
    options.out.mkdir(parents=True, exist_ok=True)
    started = report.machine()
    samples = {}
    runs = []
    with contextlib.ExitStack() as stack:
        for variant in options.variants:
            print(f"files: {variant}", file=sys.stderr)
            own = {"wide": options.wide_events, "dsphipi": options.dsphipi_events, "hmumu": options.hmumu_events}
            samples[variant] = sample(options.out, variant, own.get(workload_of(variant), options.events), stack)
        for number in range(options.rounds):
            for case in cases(options):
                print(f"round {number + 1} of {options.rounds}: {case}", file=sys.stderr)
                runs.append(measure(case, samples[case.variant], options.out) | {"round": number})
    rows = report.medians(runs)
    judged = report.judge(rows, max(options.workers))
    events = {variant: data.events for variant, data in samples.items()}
    document = {
        "machine": started,
        "versions": report.versions(),
        "options": {key: str(value) for key, value in vars(options).items()},
        "targets": judged,
        "rows": rows,
        "runs": runs,
    }
    (options.out / "results.json").write_text(json.dumps(document, indent=1))
    print(report.markdown(rows, judged, events))
    print(f"\n{options.out / 'results.json'}")
    return 1 if any(run.get("problem", "").startswith(("failed", "WRONG")) for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
