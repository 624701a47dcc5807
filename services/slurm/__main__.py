"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.common import command_line, show_logs
from services.slurm.farm import CPUS, DAEMONS, Slurm


def _parser(verb: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"services/slurm/{verb}", description=about)
    parser.add_argument("--folder", type=Path, default=Slurm().folder, help="default: %(default)s")
    return parser


def start(arguments: list[str]) -> None:
    """Start what does not run, and say how to use it."""
    given = _parser("start", "Start the farm, or say how to reach it.").parse_args(arguments)
    farm = Slurm(given.folder.absolute()).start()
    print(f"A farm of one node with {CPUS} CPUs; partitions: batch (the default), long, closed. For a client:")
    for name, value in farm.environment().items():
        print(f"export {name}={value}")


def stop(arguments: list[str]) -> None:
    """Cancel the jobs and stop the daemons."""
    given = _parser("stop", "Cancel the jobs and stop the daemons.").parse_args(arguments)
    Slurm(given.folder.absolute()).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the daemons' logs."""
    parser = _parser("logs", "Show the end of the daemons' logs.")
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--follow", action="store_true")
    given = parser.parse_args(arguments)
    farm = Slurm(given.folder.absolute())
    show_logs([farm.log(daemon) for daemon in DAEMONS], lines=given.lines, follow=given.follow)


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
