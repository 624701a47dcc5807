"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from services.by_hand import ByHand, command_line
from services.slurm.farm import CPUS, DAEMONS, Slurm

HAND = ByHand("slurm", Slurm().folder)


def start(arguments: list[str]) -> None:
    """Start what does not run, and say how to use it."""
    given = HAND.given("start", "Start the farm, or say how to reach it.", arguments)
    farm = Slurm(given.folder).start()
    print(f"A farm of one node with {CPUS} CPUs; partitions: batch (the default), long, closed. For a client:")
    for name, value in farm.environment().items():
        print(f"export {name}={value}")


def stop(arguments: list[str]) -> None:
    """Cancel the jobs and stop the daemons."""
    given = HAND.given("stop", "Cancel the jobs and stop the daemons.", arguments)
    Slurm(given.folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the daemons' logs."""
    HAND.show_logs(arguments, lambda folder: [Slurm(folder).log(daemon) for daemon in DAEMONS])


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
