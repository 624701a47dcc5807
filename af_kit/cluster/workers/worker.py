"""Start a worker for a running scheduler: the command of batch jobs, and ``af-kit worker``.

It runs Dask's worker with this kit's environment and preload modules, and reports why a scheduler cannot be reached.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from af_kit import config
from af_kit.errors import AfKitError, InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``af-kit worker``. Others are passed to ``dask worker``."""
    parser.add_argument("address", metavar="ADDRESS", help="tls://HOST:PORT, a scheduler file, or a cluster's name")
    parser.add_argument("--cores", "--nthreads", dest="cores", type=int, metavar="N", help="threads (default: 1)")
    parser.add_argument("--memory", "--memory-limit", dest="memory", metavar="SIZE", help="such as '4 GiB'")
    parser.add_argument("--name", help="the worker's name in the scheduler (default: its address)")
    parser.add_argument(
        "--timeout-s", "--death-timeout", dest="timeout_s", type=float, metavar="S", help="timeout of the connection"
    )
    for part, what in (("ca-file", "certificate of the authority"), ("cert", "certificate"), ("key", "private key")):
        parser.add_argument(f"--tls-{part}", metavar="FILE", help=f"{what}, for tls://")
    parser.add_argument(
        "--preload", action="append", default=[], metavar="MODULE", help="load it when the worker starts"
    )
    # For batch jobs, whose script sets the environment and names the preload modules.
    parser.add_argument("--as-is", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, more: Sequence[str]) -> int:
    """Run a worker until it ends.

    Parameters
    ----------
    arguments : argparse.Namespace
        The options that `add_arguments` defines.
    more : sequence of str
        Options for ``dask worker``.

    Returns
    -------
    int
        0 if the worker was stopped, 1 if it failed.

    Raises
    ------
    ConnectError
        No scheduler answered in time; the message has the reason.
    """
    import dask.config
    from distributed import Security

    from af_kit.cluster import remote
    from af_kit.cluster.detached import registry
    from af_kit.cluster.workers.environment import worker_environment

    timeout_s = arguments.timeout_s or config.get("cluster.batch.death_timeout_s")
    where = arguments.address
    tls = {name: getattr(arguments, f"tls_{name}") for name in ("ca_file", "cert", "key")}
    if "://" not in where and not where.endswith(".json") and not where.rpartition(":")[2].isdecimal():
        entry = registry.find(where)
        where = entry.address
        tls = {
            "ca_file": entry.security.get("tls_ca_file"),
            "cert": entry.security.get("tls_worker_cert"),
            "key": entry.security.get("tls_worker_key"),
        }
    elif where.endswith(".json"):
        where = remote.from_file(where, timeout_s=timeout_s, say=_say)
    security = None
    if any(tls.values()):
        if not all(tls.values()):
            raise InputError("TLS needs all three: --tls-ca-file, --tls-cert and --tls-key.")
        # The check of the scheduler below connects like a client.
        files = {f"tls_{role}_{part}": tls[part] for role in ("client", "worker") for part in ("cert", "key")}
        security = Security(require_encryption=True, tls_ca_file=tls["ca_file"], **files)
    address = remote.parse(where)
    remote.reach(address, security=security, timeout_s=timeout_s, say=_say)

    preload = list(arguments.preload)
    key = "distributed.nanny.pre-spawn-environ"
    if arguments.as_is:
        environment: dict[str, Any] = {}
    else:
        preload = preload or config.get("cluster.batch.preload")
        chosen = {**dask.config.get(key), **worker_environment()}
        environment = {name: str(value) for name, value in chosen.items() if value is not None}
    options = ["--nthreads", str(arguments.cores or 1), "--death-timeout", f"{timeout_s:g}", "--no-dashboard"]
    options += ["--dashboard-address", "127.0.0.1:0"]  # what remains of it has no login
    for name, value in (("name", arguments.name), ("memory-limit", arguments.memory)):
        options += [f"--{name}", value] if value else []
    for part, path in tls.items():
        options += [f"--tls-{part.replace('_', '-')}", path] if path else []
    # Not as an option: then the nanny would load these modules, too.
    with dask.config.set({key: environment, "distributed.worker.preload": preload}):
        return _dask_worker([*options, *more, str(address)])


def _dask_worker(options: list[str]) -> int:
    import click
    from distributed.cli.dask_worker import main

    try:
        main.main(args=options, prog_name="af-kit worker", standalone_mode=False)
    except click.ClickException as error:
        raise InputError(f"af-kit worker: {error.format_message()}") from error
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Run the worker of a batch job."""
    parser = argparse.ArgumentParser(prog="python -m af_kit.cluster.workers.worker", allow_abbrev=False)
    add_arguments(parser)
    try:
        return run(*parser.parse_known_args())
    except AfKitError as error:
        print(f"This worker did not start: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
