"""Commands: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from argparse import Namespace

from services.commands import Commands
from services.slurm.cluster import CPUS, Slurm


def start(given: Namespace) -> None:
    """Start the Slurm cluster if it is not running, and print how to use it."""
    slurm = given.service.start()
    print(f"A cluster of one node with {CPUS} CPUs; partitions: batch (the default), long, closed. For a client:")
    for name, value in slurm.environment().items():
        print(f"export {name}={value}")


def stop(given: Namespace) -> None:
    """Cancel the jobs and stop the daemons."""
    given.service.stop()


if __name__ == "__main__":
    commands = Commands("slurm", Slurm)
    commands.add(start)
    commands.add(stop)
    commands.run()
