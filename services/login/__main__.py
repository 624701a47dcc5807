"""Commands: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from argparse import Namespace

from services.commands import Commands
from services.login.node import LoginNode


def start(given: Namespace) -> None:
    """Start the login node if it is not running, and print how to log in."""
    node = given.service.start()
    print(f"The login node is {node.host}. Its worker is this machine: {node.worker}, for the login node. To log in:")
    print("ssh", *node.ssh_options(), node.host)


if __name__ == "__main__":
    commands = Commands("login", LoginNode)
    commands.add(start)
    commands.run()
