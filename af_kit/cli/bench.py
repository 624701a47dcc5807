"""``af-kit bench facility``: measure what a facility delivers, and say what limits it."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit import __version__
from af_kit.cli.bench_grid import EVENTS, checked_grid, jobs_of
from af_kit.cli.cluster_options import add_cluster_options, cluster_options
from af_kit.cli.console import aside, complain, emit_json, note, say, whole_number
from af_kit.cli.delivery import add_delivery_options, deliver
from af_kit.cli.exit_codes import epilog

if TYPE_CHECKING:
    from af_kit.facility.bench import Job, Shape
    from af_kit.facility.point import Point

# Repeated here so that --help does not import the analyses.
WORKLOADS = ("dimuon", "dsphipi", "hmumu", "hmumu-variations", "hmumu-dnn", "counting")

_SHAPE = re.compile(r"([1-9]\d*)x([1-9]\d*)")

_EPILOG = """\
examples:
  af-kit bench facility --out bench                                         this machine: 1, 2, 4, ... workers
  af-kit bench facility --cluster slurm --workers 1,10,100 --memory "4 GiB" --events 1e7,1e9 --out /shared/bench
  af-kit bench facility --workloads hmumu,hmumu-variations --workers 1,2 --events 1e5 --out bench
  af-kit bench facility --processes-by-threads 4x1,2x2,1x4 --out bench      the same cores, divided differently
  af-kit bench facility --workloads counting --fileset my.yaml --scheduler tcp://10.0.0.7:8786 --out bench

It writes bench.json, table.md (events/s for each number of workers and size, the costs, and what limits each point) and
facility.png (with the roofline). Simulated samples are made once, in --data, which the workers must see. Each shape
gets a new cluster, which ends before the next one starts.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    about = "measure the throughput of a cluster, and say what limits it"
    parser = commands.add_parser(
        "bench",
        parents=[common],
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=_EPILOG + epilog("bench"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    facility = parts.add_parser(
        "facility",
        parents=[common],
        help="events/s for numbers of workers, sizes, and processes by threads",
        description="Measure events/s for numbers of workers, sizes, and processes by threads.",
        epilog=_EPILOG + epilog("bench"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    facility.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder; created if needed")
    facility.add_argument(
        "--workloads",
        type=_listed,
        default=["dimuon"],
        metavar="NAME,...",
        help=f"what to run: {', '.join(WORKLOADS)} (default: dimuon)",
    )
    facility.add_argument(
        "--events",
        type=_listed_numbers,
        metavar="N,...",
        help=f"sizes, in events (default: {EVENTS:.0e} simulated ones, or the whole fileset)".replace("e+0", "e"),
    )
    files = facility.add_argument_group("files (default: simulated ones)")
    files.add_argument(
        "--fileset",
        action="append",
        metavar="FILE",
        help="your ROOT files or fileset, for workloads that can read them; can be repeated. --events: the first files "
        "of each dataset, about so many events",
    )
    files.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the simulated samples (default: samples/ in the output)"
    )
    files.add_argument(
        "--calibrations", type=Path, metavar="DIR", help="hmumu with --fileset: folder of the calibration files"
    )
    files.add_argument(
        "--network",
        type=Path,
        metavar="DIR",
        help="hmumu-dnn: a network from af-kit train hmumu (default: one is trained on the simulated sample)",
    )
    files.add_argument(
        "--chunk-entries", type=whole_number(least=1), metavar="N", help="maximum entries per chunk (default: by size)"
    )
    where = facility.add_argument_group("where to run (default: processes of this machine)")
    where.add_argument("--cluster", metavar="BACKEND", help="start clusters with this backend: local, slurm, ...")
    where.add_argument(
        "--workers", type=_listed_numbers, metavar="N,...", help="numbers of workers (default: 1, 2, 4, ... here)"
    )
    where.add_argument(
        "--processes-by-threads",
        type=_shapes,
        metavar="PxT,...",
        help="instead of --workers and --cores: P worker processes with T threads each",
    )
    add_cluster_options(where)
    where.add_argument("--scheduler", metavar="ADDRESS", help="measure this running cluster, with all its workers")
    where.add_argument(
        "--wait",
        type=whole_number(least=0),
        default=300,
        metavar="S",
        help="seconds to wait for all workers; after that, those that are there are measured (default: 300)",
    )
    add_delivery_options(where)
    facility.add_argument(
        "--repeat", type=whole_number(least=1), default=1, metavar="K", help="runs of each point; the median counts"
    )
    facility.set_defaults(command=facility_bench, has_json=True)


def facility_bench(arguments: argparse.Namespace) -> int:
    """Measure the grid, and write what was measured after each point."""
    from af_kit.cli.run import check_writable

    shapes, workloads = checked_grid(arguments)
    check_writable(arguments.out)

    from af_kit.facility.bench import run_grid
    from af_kit.facility.limits import in_short, limit_of
    from af_kit.facility.table import throughput
    from af_kit.facility.write import document, write_bench, write_pages

    content = _described(arguments, shapes)
    points: list[Point] = []
    failures: list[str] = []

    def on_point(point: Point) -> None:
        points.append(point)
        limit = limit_of(point)
        say(
            f"{point.workload}, {point.shape}, {in_short(point.events)} events: {point.wall_s:.1f} s, "
            f"{in_short(point.events_per_s)} events/s. {limit.sentence}"
        )
        for line in point.notes:
            note(f"note: {line}.")
        write_bench(arguments.out, content, points, failures)

    def on_failure(sentence: str) -> None:
        failures.append(sentence)
        complain(sentence)
        write_bench(arguments.out, content, points, failures)

    options: dict[str, Any] = {"progress": False}
    if arguments.chunk_entries is not None:
        options["chunk_entries"] = arguments.chunk_entries
    interrupted = False
    try:
        if arguments.scheduler:
            with _cluster(arguments, shapes[0], []):
                pass  # it answers: otherwise nothing is simulated
        jobs = jobs_of(arguments, workloads)
        run_grid(
            shapes,
            jobs,
            lambda shape: _cluster(arguments, shape, jobs),
            on_point=on_point,
            on_failure=on_failure,
            repeat=arguments.repeat,
            **options,
        )
    except KeyboardInterrupt:
        if not points:
            raise
        interrupted = True
        complain("interrupted: the points that were measured are written.")
    path = write_bench(arguments.out, content, points, failures)
    files = [path, *write_pages(arguments.out, points, failures)]
    for workload in dict.fromkeys(point.workload for point in points):
        say(f"\n{workload}:\n{throughput([point for point in points if point.workload == workload])}\n")
    for file in files:
        say(f"  {file}")
    emit_json(document(content, points, failures))
    return 130 if interrupted else 1 if failures else 0


@contextlib.contextmanager
def _cluster(arguments: argparse.Namespace, shape: Shape, jobs: Sequence[Job]) -> Iterator[Any]:
    """Yield a client of a cluster of this shape, with what its workers need besides code."""
    from af_kit.cluster.connect import connect

    options = cluster_options(arguments)
    if shape.threads is not None:
        options["cores"] = shape.threads
    with aside():  # connect's messages are not the command's output
        client = connect(arguments.scheduler or arguments.cluster or "local", n_workers=shape.workers, **options)
    with client:
        if shape.workers is not None:
            with contextlib.suppress(TimeoutError):  # those that are there are measured, and the point says so
                client.wait_for_workers(shape.workers, timeout=arguments.wait or 0.01)
        from af_kit.data.fileset.load import load_fileset

        filesets = [
            load_fileset(fileset, default_treename=job.workload.treename)
            for job in jobs
            for fileset in job.filesets.values()
        ]
        every = {f"{number} {name}": fileset[name] for number, fileset in enumerate(filesets) for name in fileset}
        deliver(arguments, every, client)
        yield client


def _described(arguments: argparse.Namespace, shapes: Sequence[Shape]) -> dict[str, Any]:
    """Return what was asked for, and where."""
    import os
    import socket

    return {
        "af_kit": __version__,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "backend": "running scheduler" if arguments.scheduler else arguments.cluster or "local",
        "shapes": [str(shape) for shape in shapes],
        "workloads": list(arguments.workloads),
        "fileset": arguments.fileset or "simulated",
        "chunk_entries": arguments.chunk_entries,
        "repeat": arguments.repeat,
        "client": {
            "host": socket.gethostname(),
            "cores": os.cpu_count(),
            "load_at_start": round(os.getloadavg()[0], 2),
        },
    }


def _listed(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _listed_numbers(text: str) -> list[int]:
    """Return whole numbers of 1 or more, in order and once each: ``"1,2,1e6"``."""
    number: Callable[[str], int] = whole_number(least=1)
    return sorted({number(part) for part in text.split(",")})


def _shapes(text: str) -> list[tuple[int, int]]:
    shapes = []
    for part in text.split(","):
        found = _SHAPE.fullmatch(part)
        if found is None:
            raise argparse.ArgumentTypeError(f"{part!r} is not PROCESSESxTHREADS, such as 4x2")
        shapes.append((int(found[1]), int(found[2])))
    return list(dict.fromkeys(shapes))
