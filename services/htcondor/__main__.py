"""By hand: ``install``, ``start``, ``stop``, ``logs``, and ``run``: a command as the pool's user."""

from __future__ import annotations

import argparse
import os
import sys

from services.by_hand import ByHand, command_line
from services.common import ServiceError
from services.htcondor import system
from services.htcondor.pool import HTCondor

HAND = ByHand("htcondor", HTCondor().folder)


def install(arguments: list[str]) -> None:
    """Make the file system of the pool's machine, once."""
    about = "Make the file system of the pool's machine, once."
    parser = argparse.ArgumentParser(prog="services/htcondor/install", description=about)
    parser.add_argument("--mirror", metavar="URL", help="default: where apt takes the packages of this machine from")
    print(f"HTCondor is in {system.install(parser.parse_args(arguments).mirror)}")


def start(arguments: list[str]) -> None:
    """Start the pool, and say how to use it."""
    pool = HTCondor(HAND.given("start", "Start the pool, or say where it is.", arguments).folder).start()
    print(f"A pool runs. Its user may write to {pool.home}. A session of that user, with this checkout's Python:")
    print(f"services/htcondor/run --folder {pool.folder} {sys.executable}")
    print(f"\nIts commands, from outside:\nexport PATH={pool.bin}:$PATH")


def stop(arguments: list[str]) -> None:
    """Stop the pool; its files stay."""
    HTCondor(HAND.given("stop", "Stop the pool; its files stay.", arguments).folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the daemons' logs."""
    HAND.show_logs(arguments, lambda folder: HTCondor(folder).logs())


def run(arguments: list[str]) -> None:
    """Run a command on the pool's machine as its user; a shell without one."""
    parser = HAND.parser("run", "Run a command on the pool's machine as its user; a shell without one.")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    pool = HTCondor(given.folder)
    if not pool.running():
        raise ServiceError(f"No pool runs in {given.folder}. Start it: services/htcondor/start")
    command = pool.command(given.command or ["bash"])
    os.execv(command[0], command)


if __name__ == "__main__":
    command_line({"install": install, "start": start, "stop": stop, "logs": logs, "run": run})
