"""Commands: ``install``, ``start``, ``stop``, ``logs``, and ``run``, which runs a command as the pool's user."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import Namespace

from services.commands import Commands
from services.common import ServiceError
from services.htcondor import system
from services.htcondor.pool import HTCondor


def install(given: Namespace) -> None:
    """Create the file system of the pool's machine, once."""
    print(f"HTCondor is in {system.install(given.mirror)}")


def start(given: Namespace) -> None:
    """Start the pool if it is not running, and print how to use it."""
    pool = given.service.start()
    print(f"A pool is running. Its user can write to {pool.home}. A Python session of that user, with this checkout:")
    print(f"services/htcondor/run --folder {pool.folder} {sys.executable}")
    print(f"\nThe pool's commands for this shell:\nexport PATH={pool.bin}:$PATH")


def run(given: Namespace) -> None:
    """Run a command on the pool's machine as its user; a shell if no command is given."""
    pool: HTCondor = given.service
    if not pool.is_running():
        raise ServiceError(f"No pool is running in {pool.folder}. Start it with services/htcondor/start.")
    command = pool.command(given.command or ["bash"])
    os.execv(command[0], command)


if __name__ == "__main__":
    commands = Commands("htcondor", HTCondor)
    commands.add(start)
    commands.add(install).add_argument("--mirror", metavar="URL", help="default: the mirror that apt uses here")
    commands.add(run).add_argument("command", nargs=argparse.REMAINDER)
    commands.run()
