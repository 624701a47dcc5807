"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from services.by_hand import ByHand, command_line
from services.login.node import DAEMONS, LoginNode

HAND = ByHand("login", LoginNode().folder)


def start(arguments: list[str]) -> None:
    """Start what does not run, and say how to get there."""
    given = HAND.given("start", "Start the login node, or say where it is.", arguments)
    node = LoginNode(given.folder).start()
    print(f"The login node is {node.host}; from there this machine, its worker, is {node.worker}. To get in:")
    print("ssh", *node.ssh_options(), node.host)


def stop(arguments: list[str]) -> None:
    """Stop its daemons and remove its network."""
    given = HAND.given("stop", "Stop the login node and remove its network.", arguments)
    LoginNode(given.folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the daemons' logs."""
    HAND.show_logs(arguments, lambda folder: [LoginNode(folder).log(name) for name in DAEMONS])


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
