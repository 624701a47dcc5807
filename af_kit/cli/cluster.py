"""``af-kit cluster``: start, list and stop clusters that outlive a notebook."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit.cli.cluster_options import add_cluster_options, backend_options
from af_kit.cli.console import answer, emit_json, say, whole_number
from af_kit.cli.exit_codes import epilog

if TYPE_CHECKING:
    from af_kit.cluster.detached.registry import Entry

# What a machine may read about a cluster
_SHOWN = ("name", "backend", "address", "dashboard", "host", "pid", "started", "detached", "idle_timeout_s", "logs")

_EPILOG = """\
examples:
  af-kit cluster start slurm --detach --name big --n-workers 50 --memory "4 GiB" --walltime 8h
  af-kit cluster start slurm --name big --adapt 0 50 --option partition=short
  af-kit cluster list
  af-kit cluster logs big
  af-kit cluster stop big

To use the cluster in a notebook: connect(name="big"). With --detach, the command returns, and the scheduler runs on
this machine until it is stopped or has had no tasks for its idle timeout. Without --detach, the command runs as long as
the cluster does, and Ctrl-C ends both. Use this at sites where long-running processes must be batch jobs.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "cluster",
        parents=[common],
        help="start, list and stop clusters that outlive a notebook, and show their logs",
        description="Start, list and stop clusters that outlive a notebook, and show their logs.",
        epilog=_EPILOG + epilog("cluster"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    starts = actions.add_parser("start", parents=[common], help="start a cluster")
    starts.add_argument(
        "backend", nargs="?", metavar="BACKEND", help="local, slurm, ... (default: af_kit.cluster.backend)"
    )
    starts.add_argument("--name", help="name of the cluster (default: a generated one)")
    starts.add_argument("--detach", action="store_true", help="keep the cluster running in the background")
    size = starts.add_mutually_exclusive_group()
    size.add_argument("--n-workers", type=whole_number(least=1), metavar="N", help="number of workers")
    size.add_argument(
        "--adapt",
        nargs=2,
        type=whole_number(least=0),
        metavar=("MIN", "MAX"),
        help="adapt the number of workers to the load",
    )
    starts.add_argument(
        "--idle-timeout", type=float, metavar="S", help="seconds without a task after which the cluster ends"
    )
    add_cluster_options(starts)
    starts.set_defaults(command=start, has_json=True)
    lists = actions.add_parser("list", parents=[common], help="list the running clusters")
    _add_backend(lists)
    lists.set_defaults(command=list_all, has_json=True)
    stops = actions.add_parser("stop", parents=[common], help="end clusters: their jobs and their schedulers")
    stops.add_argument("name", nargs="+", help="names of the clusters, as af-kit cluster list shows them")
    _add_backend(stops)
    stops.set_defaults(command=stop)
    shows = actions.add_parser(
        "logs", parents=[common], help="show the last lines of a cluster's logs, even after it has ended"
    )
    shows.add_argument("name", help="name of the cluster")
    _add_backend(shows)
    shows.add_argument(
        "--lines",
        type=whole_number(least=0),
        default=20,
        metavar="N",
        help="lines per log (default: 20; 0 only prints the paths)",
    )
    shows.set_defaults(command=logs)


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        metavar="BACKEND",
        help="also search the clusters of this backend, such as kubernetes (default: af_kit.cluster.backend; "
        "in a pod, also kubernetes)",
    )


def start(arguments: argparse.Namespace) -> int:
    """Start a cluster, and wait for its end unless it is detached."""
    from af_kit.cluster import backends, request

    name = arguments.backend or backends.configured()
    options = backend_options(arguments.option)
    checked = request.check(
        n_workers=arguments.n_workers,
        cores=arguments.cores,
        memory=arguments.memory,
        adapt=tuple(arguments.adapt) if arguments.adapt else None,
        walltime=arguments.walltime,
        name=arguments.name or request.generated_name(name),
        detach=arguments.detach,
        idle_timeout_s=arguments.idle_timeout,
    )
    backend = backends.load(name, options, checked)
    cluster = backend.start(checked, **options)
    if checked.adapt:
        cluster.adapt(minimum=checked.adapt[0], maximum=checked.adapt[1])
    own_name = cluster.entry.name  # a gateway also gives its clusters another name
    emit_json({key: value for key, value in dataclasses.asdict(cluster.entry).items() if key in _SHOWN})
    say(f"{own_name}: {name}, {cluster.scheduler_address}")
    if cluster.dashboard_link:
        say(f"dashboard: {cluster.dashboard_link}")
    explicit = backend.finds_by_name and name != backends.configured()
    first, last = (f'"{name}", ', f" --backend {name}") if explicit else ("", "")
    say(f'in a notebook: connect({first}name="{own_name}")')
    if arguments.detach:
        say(f"to stop it: af-kit cluster stop {own_name}{last}")
        cluster.close()
        return 0
    _wait_for_end(cluster)
    return 0


def list_all(arguments: argparse.Namespace) -> int:
    """List the running clusters."""
    from af_kit.cluster import backends

    with _configured(arguments.backend):
        found = [*backends.running(), *backends.known_to_services()]
    workers = asyncio.run(_count(found))
    rows = [{key: value for key, value in dataclasses.asdict(entry).items() if key in _SHOWN} for entry in found]
    emit_json([{**row, "workers": count} for row, count in zip(rows, workers, strict=True)])
    if not found:
        say("No cluster is running. Start one: af-kit cluster start BACKEND --detach --name NAME")
    for entry, count in zip(found, workers, strict=True):
        age = (time.time() - entry.started) / 60
        idle = f"after {entry.idle_timeout_s:g} s without a task" if entry.idle_timeout_s else "when it is stopped"
        ends = idle if entry.detached else "with the session that started it"
        counted = "does not answer" if count is None else f"{count} workers"
        answer(f"{entry.name:<20} {entry.backend:<10} {counted:<16} {age:>6.0f} min  {entry.address}  ends {ends}")
    if not arguments.backend:
        for name in backends.unlisted():
            say(f"Clusters of {name} are not listed. To include them: --backend {name}")
    return 0


def stop(arguments: argparse.Namespace) -> int:
    """End clusters."""
    from af_kit.cluster import backends
    from af_kit.cluster.detached import registry

    registered = {entry.name for entry in backends.running()}
    with _configured(arguments.backend):
        others = [] if registered.issuperset(arguments.name) else backends.known_to_services()
    for entry in [registry.find(name, others) for name in arguments.name]:
        backends.get(entry.backend).end(entry)
        say(_ended(entry))
    return 0


def _ended(entry: Entry) -> str:
    return f"{entry.name} has ended" + (f"; its logs: {entry.logs}" if entry.logs else "")


@contextlib.contextmanager
def _configured(backend: str | None) -> Iterator[None]:
    """Make ``backend`` the configured one, if it is given."""
    import dask.config

    from af_kit.cluster import backends

    if backend is not None:
        backends.load(backend, {})
    with dask.config.set({"af_kit.cluster.backend": backend} if backend else {}):
        yield


def logs(arguments: argparse.Namespace) -> int:
    """Show the last lines of a cluster's logs."""
    for path in _log_files(arguments.name, arguments.backend):
        if not arguments.lines:
            answer(str(path))
            continue
        answer(f"==> {path} <==")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-arguments.lines :]
        answer("\n".join([*lines, ""]))
    return 0


def _log_files(name: str, backend: str | None) -> list[Path]:
    from af_kit.cluster import backends
    from af_kit.cluster.detached.logs import logs as find

    with _configured(backend):
        entries = {entry.name: entry for entry in backends.known_to_services()}
    if name in entries:
        return backends.get(entries[name].backend).fetch_logs(entries[name])
    return find(name)


async def _count(entries: list[Entry]) -> list[int | None]:
    """Return the number of workers of each cluster, or None if its scheduler does not answer soon."""
    from distributed.core import rpc

    from af_kit.cluster.detached import certificates

    async def count(entry: Entry) -> int | None:
        if "workers" in entry.more:  # its service reports them
            return int(entry.more["workers"])
        security = certificates.read(entry.security)
        arguments = security.get_connection_args("client") if security else {}
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5), rpc(entry.address, connection_args=arguments) as scheduler:
                return int((await scheduler.identity(n_workers=0))["n_workers"])
        return None

    return list(await asyncio.gather(*map(count, entries)))


def _wait_for_end(cluster: Any) -> None:
    """Wait until the cluster has ended, and end it on a signal."""
    stopped, entry = threading.Event(), cluster.entry
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())
    try:
        while not stopped.wait(0.5) and cluster.is_alive():
            pass
    finally:
        cluster.close()
    say(_ended(entry))
