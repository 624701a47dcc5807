"""Measure what scheduler and client cost when a thousand workers do nothing but keep the protocol.

    .venv/bin/python benchmarks/scale/run.py --workers 1000 --tasks 20000 --task-s 5
    .venv/bin/python benchmarks/scale/run.py --workers 1000 --tasks 0 --plan 100000 --idle-s 30

A pause, a plan and a run of `af_kit.process`, whichever are asked for, with a scheduler and protocol workers in
processes of their own. The sum of the entries is checked. Figures are printed as JSON and appended to
out/scale/results.jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import dask  # noqa: E402
from distributed import Client  # noqa: E402

import af_kit as af  # noqa: E402
from af_kit.data.fileset.load import load_fileset  # noqa: E402
from af_kit.run.engines.base import MergeTree  # noqa: E402
from af_kit.run.plan import make_plan  # noqa: E402
from benchmarks.scale.processes import Samples, running, wait_for_line  # noqa: E402
from benchmarks.scale.work import Work, many_chunks  # noqa: E402

# Entries of a task with the setting below.
_TASK = 1000


@contextlib.contextmanager
def cluster(options: argparse.Namespace, model: Path) -> Any:
    """Start a scheduler and the workers; yield a client, and the process ids by name."""
    address = options.out / "scheduler.json"
    address.unlink(missing_ok=True)
    command = ["benchmarks.scale.scheduler", str(address), "--ttl-s", str(options.ttl_s)]
    if options.profile:
        command += ["--profile", str(options.out / "scheduler.txt")]
    log, workers_log = options.out / "scheduler.log", options.out / "workers.log"
    with running(command, log) as scheduler:
        url = wait_for_line(log, "address: ", scheduler).removeprefix("address: ")
        names = ("workers", "task_s", "spread", "plan_s", "slow", "leave_every", "silent_every")
        arguments = [text for name in names for text in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]
        begin = time.monotonic()
        command = ["benchmarks.scale.protocol_workers", url, "--like", str(model), *arguments]
        with running(command, workers_log) as workers:
            wait_for_line(workers_log, "ready: ", workers)
            print(f"{options.workers} workers after {time.monotonic() - begin:.1f} s", file=sys.stderr)
            with Client(url) as client:
                yield client, {"scheduler": scheduler.pid, "workers": workers.pid, "client": os.getpid()}


def costs(samples: Samples, tasks: int) -> dict[str, Any]:
    """Return the figures of the processes."""
    out: dict[str, Any] = {}
    for name in samples.pids:
        first, middle, most = samples.memory(name)
        out[name] = {
            "cpu_s": round(samples.cpu(name), 2),
            "ms_per_task": round(1e3 * samples.cpu(name) / tasks, 3) if tasks else None,
            "cores": round(samples.load(name), 3),
            "mib": [round(value) for value in (first, middle, most)],
        }
    return out


def run(options: argparse.Namespace, client: Client, pids: dict[str, int], model: Path) -> dict[str, Any]:
    """Run `process` over chunks that do not exist."""
    begin = time.monotonic()
    chunk = af.plan([str(model)], treename="Events")[0]
    number, size = options.tasks * options.chunks_per_task, _TASK // options.chunks_per_task
    chunks = many_chunks(chunk, number, size, options.chunks_per_file)
    entries = sum(map(len, chunks))
    made_s = time.monotonic() - begin
    # The smallest tasks that the kit makes, so that each holds as many chunks as asked for.
    settings = {"af_kit.data.chunk_bytes": 1, "af_kit.run.window": options.window}
    with dask.config.set(settings), warnings.catch_warnings(record=True) as warned, Samples(pids) as samples:
        warnings.simplefilter("always")
        begin = time.monotonic()
        result = af.process(Work(options.result_bytes), chunks, client, progress=options.progress, on_error="collect")
        wall_s = time.monotonic() - begin
    report = result.report
    report_sum = report.entries["processed"] + report.entries["failed"]
    assert (report.entries["planned"], report_sum, result["n"]) == (entries, entries, report.entries["processed"])
    tasks = options.tasks
    return {
        "wall_s": round(wall_s, 1),
        "chunks": len(chunks),
        "tasks_per_s": round(tasks / wall_s, 1),
        "ideal_s": round(tasks * options.task_s / options.workers, 1),
        "failed": report.entries["failed"],
        "merge_depth": len(MergeTree(tasks).sizes) - 1,
        "make_chunks_s": round(made_s, 1),
        "warnings": sorted({str(one.message)[:200] for one in warned}),
        **costs(samples, tasks),
        "rows": samples.rows,
    }


def plan(options: argparse.Namespace, client: Client, pids: dict[str, int], _: Path) -> dict[str, Any]:
    """Plan files that do not exist."""
    paths = [f"root://storage.invalid//data/file{number:07}.root" for number in range(options.plan)]
    begin = time.monotonic()
    fileset = load_fileset({"data": {"files": dict.fromkeys(paths, "Events")}})
    loaded_s = time.monotonic() - begin
    with Samples(pids) as samples:
        begin = time.monotonic()
        made = make_plan(fileset, client=client)
        wall_s = time.monotonic() - begin
    assert len(made.chunks) >= options.plan, made
    return {
        "wall_s": round(wall_s, 1),
        "load_s": round(loaded_s, 1),
        **costs(samples, options.plan),
        "rows": samples.rows,
    }


def idle(options: argparse.Namespace, client: Client, pids: dict[str, int], _: Path) -> dict[str, Any]:
    """Wait."""
    with Samples(pids) as samples:
        time.sleep(options.idle_s)
    return {"wall_s": options.idle_s, "threads": sum(client.nthreads().values()), **costs(samples, 0)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks of the run")
    parser.add_argument("--chunks-per-task", type=int, default=1)
    parser.add_argument("--chunks-per-file", type=int, default=1)
    parser.add_argument("--task-s", type=float, default=5.0, help="mean time of a task")
    parser.add_argument("--spread", type=float, default=0.2, help="its standard deviation, as a fraction")
    parser.add_argument("--plan-s", type=float, default=0.05, help="time to describe a file")
    parser.add_argument("--result-bytes", type=int, default=10_000)
    parser.add_argument("--slow", type=float, default=0.0, help="fraction of workers that take ten times as long")
    parser.add_argument("--leave-every", type=int, default=0, help="a worker dies after so many tasks of all")
    parser.add_argument("--silent-every", type=int, default=0, help="a worker hangs after so many tasks of all")
    parser.add_argument("--ttl-s", type=float, default=300, help="time until the scheduler gives up on a silent worker")
    parser.add_argument("--window", type=int, default=int(af.config.get("run.window")), help="af_kit.run.window")
    parser.add_argument("--plan", type=int, default=0, help="files to plan")
    parser.add_argument("--idle-s", type=float, default=0, help="time to do nothing")
    parser.add_argument("--wide", action="store_true", help="files of some 200 branches")
    parser.add_argument("--profile", action="store_true", help="write out/scale/scheduler.txt")
    parser.add_argument("--progress", action="store_true", default=False)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "scale")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are stopped
    options.out.mkdir(parents=True, exist_ok=True)
    name = "nanoaod" if options.wide else "dimuon"
    model = options.out / f"{name}_0.root"
    if not model.exists():
        af.write_files(name, options.out, 1000)
    wanted = [(idle, options.idle_s), (plan, options.plan), (run, options.tasks)]
    about = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    with cluster(options, model) as (client, pids):
        for measure in (measure for measure, much in wanted if much):
            if options.profile:  # begin again
                os.kill(pids["scheduler"], signal.SIGUSR1)
            figures = measure(options, client, pids, model)
            rows = figures.pop("rows", [])
            line = {"what": measure.__name__, "options": about, "figures": figures, "rows": rows}
            with (options.out / "results.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(measure.__name__, json.dumps(figures, indent=1), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
