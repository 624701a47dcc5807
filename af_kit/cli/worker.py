"""``af-kit worker``: a worker on this machine for a scheduler that runs already."""

from __future__ import annotations

import argparse
from typing import Any

_EPILOG = """\
examples:
  af-kit worker tcp://10.0.0.7:8786 --cores 1 --memory "4 GiB"
  af-kit worker tls://10.0.0.7:8786 --tls-ca-file ca.pem --tls-cert worker.pem --tls-key worker.key
  af-kit worker big                                a cluster of this user's, by its name
  af-kit worker tcp://10.0.0.7:8786 -- --interface ib0 --lifetime 7h

It has the environment and the modules of the kit's own workers (allocator settings above all).

exit codes:
  0  it was told to end
  1  it failed
  2  no scheduler answered in time, or a wrong command line: stderr has the reason
"""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand to the parser."""
    from af_kit.cluster.workers.worker import add_arguments

    parser = commands.add_parser(
        "worker",
        parents=[common],
        help="start a worker for a scheduler that runs already",
        description="Start a worker for a scheduler that runs already, and stay until it ends.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("more", nargs="*", metavar="-- OPTION", help="options of `dask worker`")
    parser.set_defaults(command=worker)


def worker(arguments: argparse.Namespace) -> int:
    """Run a worker until it ends."""
    from af_kit.cluster.workers.worker import run

    return run(arguments, arguments.more)
