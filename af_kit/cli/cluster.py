"""``af-kit cluster``: clusters that outlive a notebook, from the shell."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit.cli.cluster_options import add_cluster_words, own_options
from af_kit.cli.console import say, whole_number

if TYPE_CHECKING:
    from af_kit.cluster.detached.registry import Entry

_EPILOG = """\
examples:
  af-kit cluster start slurm --detach --name big --n-workers 50 --memory "4 GiB" --walltime 8h
  af-kit cluster start slurm --name big --adapt 0 50 --option partition=short
  af-kit cluster list
  af-kit cluster logs big
  af-kit cluster stop big

In a notebook: connect(name="big"). With --detach the scheduler stays on this machine when the command has ended, until
it is stopped or nobody has used it for its idle timeout. Without, the command stays as long as the cluster does, and
Ctrl-C ends both: that is the way where long processes must be jobs themselves.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    parser = commands.add_parser(
        "cluster",
        parents=[common],
        help="start, list and stop clusters that outlive a notebook; their logs",
        description="Start, list and stop clusters that outlive a notebook; their logs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    starts = actions.add_parser("start", parents=[common], help="start one")
    starts.add_argument(
        "backend", nargs="?", metavar="NAME", help="local, slurm, ... (default: af_kit.cluster.backend)"
    )
    starts.add_argument("--name", help="by which it is found again (default: one is made up)")
    starts.add_argument("--detach", action="store_true", help="go on in the background")
    size = starts.add_mutually_exclusive_group()
    size.add_argument("--n-workers", type=whole_number(least=1), metavar="N", help="so many workers")
    size.add_argument(
        "--adapt", nargs=2, type=whole_number(least=0), metavar=("MIN", "MAX"), help="as many as the load needs"
    )
    starts.add_argument("--idle-timeout", type=float, metavar="S", help="seconds without a task until it ends")
    add_cluster_words(starts)
    starts.set_defaults(command=start)
    lists = actions.add_parser("list", parents=[common], help="those that run")
    _add_backend(lists)
    lists.add_argument("--json", action="store_true", help="for programs")
    lists.set_defaults(command=list_all)
    stops = actions.add_parser("stop", parents=[common], help="end one: its jobs and its scheduler")
    stops.add_argument("name", nargs="+")
    _add_backend(stops)
    stops.set_defaults(command=stop)
    shows = actions.add_parser("logs", parents=[common], help="the ends of its jobs' logs, also after its end")
    shows.add_argument("name")
    _add_backend(shows)
    shows.add_argument(
        "--lines", type=whole_number(least=0), default=20, metavar="N", help="(default: 20; 0: the paths)"
    )
    shows.set_defaults(command=logs)


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        metavar="BACKEND",
        help="kubernetes: ask there as well; in a pod, and if it is af_kit.cluster.backend, that is the default",
    )


def start(arguments: argparse.Namespace) -> int:
    """Start a cluster; stay with it, unless it is detached."""
    from af_kit.cluster import backends, request

    name = arguments.backend or backends.configured()
    options = own_options(arguments.option)
    asked = request.check(
        n_workers=arguments.n_workers,
        cores=arguments.cores,
        memory=arguments.memory,
        adapt=tuple(arguments.adapt) if arguments.adapt else None,
        walltime=arguments.walltime,
        name=arguments.name or request.generated_name(name),
        detach=arguments.detach,
        idle_timeout_s=arguments.idle_timeout,
    )
    backend = backends.load(name, options, asked)
    cluster = backend.start(asked, **options)
    if asked.adapt:
        cluster.adapt(minimum=asked.adapt[0], maximum=asked.adapt[1])
    own_name = cluster.entry.name  # a gateway's clusters also have a name of the gateway's
    say(f"{own_name}: {name}, {cluster.scheduler_address}")
    if cluster.dashboard_link:
        say(f"dashboard: {cluster.dashboard_link}")
    elsewhere = backend.finds_by_name and name != backends.configured()
    first, last = (f'"{name}", ', f" --backend {name}") if elsewhere else ("", "")
    say(f'in a notebook: connect({first}name="{own_name}")')
    if arguments.detach:
        say(f"to end it: af-kit cluster stop {own_name}{last}")
        cluster.close()
        return 0
    _stay(cluster)
    return 0


def list_all(arguments: argparse.Namespace) -> int:
    """List the clusters that run."""
    from af_kit.cluster import backends

    with _asking(arguments.backend):
        found = [*backends.running(), *backends.known_to_services()]
    workers = asyncio.run(_count(found))
    if arguments.json:
        shown = (
            "name",
            "backend",
            "address",
            "dashboard",
            "host",
            "pid",
            "started",
            "detached",
            "idle_timeout_s",
            "logs",
        )
        rows = [{key: value for key, value in dataclasses.asdict(entry).items() if key in shown} for entry in found]
        say(json.dumps([{**row, "workers": count} for row, count in zip(rows, workers, strict=True)], indent=2))
        return 0
    if not found:
        say("No cluster runs. Start one: af-kit cluster start BACKEND --detach --name NAME")
    for entry, count in zip(found, workers, strict=True):
        age = (time.time() - entry.started) / 60
        idle = f"after {entry.idle_timeout_s:g} s without a task" if entry.idle_timeout_s else "when it is stopped"
        ends = idle if entry.detached else "with who started it"
        counted = "does not answer" if count is None else f"{count} workers"
        say(f"{entry.name:<20} {entry.backend:<10} {counted:<16} {age:>6.0f} min  {entry.address}  ends {ends}")
    if not arguments.backend:
        for name in backends.unlisted():
            say(f"Clusters of {name} are not listed; to include them: --backend {name}")
    return 0


def stop(arguments: argparse.Namespace) -> int:
    """End clusters."""
    from af_kit.cluster import backends
    from af_kit.cluster.detached import registry

    here = {entry.name for entry in backends.running()}
    with _asking(arguments.backend):
        also = [] if here.issuperset(arguments.name) else backends.known_to_services()
    for entry in [registry.find(name, also) for name in arguments.name]:
        backends.get(entry.backend).end(entry)
        say(_farewell(entry))
    return 0


def _farewell(entry: Entry) -> str:
    return f"{entry.name} has ended" + (f"; its logs: {entry.logs}" if entry.logs else "")


@contextlib.contextmanager
def _asking(backend: str | None) -> Iterator[None]:
    """Let ``backend`` be the configured one, if it is given."""
    import dask.config

    from af_kit.cluster import backends

    if backend is not None:
        backends.load(backend, {})
    with dask.config.set({"af_kit.cluster.backend": backend} if backend else {}):
        yield


def logs(arguments: argparse.Namespace) -> int:
    """Show the ends of a cluster's logs."""
    for path in _log_files(arguments.name, arguments.backend):
        if not arguments.lines:
            say(str(path))
            continue
        say(f"==> {path} <==")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-arguments.lines :]
        say("\n".join([*lines, ""]))
    return 0


def _log_files(name: str, backend: str | None) -> list[Path]:
    from af_kit.cluster import backends
    from af_kit.cluster.detached.logs import logs as find

    with _asking(backend):
        also = {entry.name: entry for entry in backends.known_to_services()}
    if name in also:
        return backends.get(also[name].backend).fetch_logs(also[name])
    return find(name)


async def _count(entries: list[Entry]) -> list[int | None]:
    """The workers of each; None where a scheduler does not answer soon."""
    from distributed.core import rpc

    from af_kit.cluster.detached import certificates

    async def count(entry: Entry) -> int | None:
        if "workers" in entry.more:  # its service has counted them
            return int(entry.more["workers"])
        security = certificates.read(entry.security)
        arguments = security.get_connection_args("client") if security else {}
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5), rpc(entry.address, connection_args=arguments) as scheduler:
                return int((await scheduler.identity(n_workers=0))["n_workers"])
        return None

    return list(await asyncio.gather(*map(count, entries)))


def _stay(cluster: Any) -> None:
    """Return when the cluster has ended; a signal ends it."""
    told, entry = threading.Event(), cluster.entry
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: told.set())
    try:
        while not told.wait(0.5) and cluster.is_alive():
            pass
    finally:
        cluster.close()
    say(_farewell(entry))
