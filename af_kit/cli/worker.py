"""``af-kit worker``: start a worker on this machine for a running scheduler."""

from __future__ import annotations

import argparse
from typing import Any

from af_kit.cli.exit_codes import epilog

_EPILOG = """\
examples:
  af-kit worker tcp://10.0.0.7:8786 --cores 1 --memory "4 GiB"
  af-kit worker tls://10.0.0.7:8786 --tls-ca-file ca.pem --tls-cert worker.pem --tls-key worker.key
  af-kit worker big                                one of your clusters, by its name
  af-kit worker tcp://10.0.0.7:8786 -- --interface ib0 --lifetime 7h

It starts with the same environment and modules as workers that connect() starts, above all the allocator settings.
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    from af_kit.cluster.workers.worker import add_arguments

    parser = commands.add_parser(
        "worker",
        parents=[common],
        help="start a worker for a running scheduler",
        description="Start a worker for a running scheduler, and wait until it ends.",
        epilog=_EPILOG + epilog("worker"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("more", nargs="*", metavar="-- OPTION", help="options of `dask worker`")
    parser.set_defaults(command=worker)


def worker(arguments: argparse.Namespace) -> int:
    """Run a worker until it ends."""
    from af_kit.cluster.workers.worker import run

    return run(arguments, arguments.more)
