"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.common import command_line, show_logs
from services.login.node import DAEMONS, LoginNode


def _parser(verb: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"services/login/{verb}", description=about)
    parser.add_argument("--folder", type=Path, default=LoginNode().folder, help="default: %(default)s")
    return parser


def start(arguments: list[str]) -> None:
    """Start what does not run, and say how to get there."""
    given = _parser("start", "Start the login node, or say where it is.").parse_args(arguments)
    node = LoginNode(given.folder.absolute()).start()
    print(f"The login node is {node.host}; from there this machine, its worker, is {node.worker}. To get in:")
    print("ssh", *node.ssh_options(), node.host)


def stop(arguments: list[str]) -> None:
    """Stop its daemons and remove its network."""
    given = _parser("stop", "Stop the login node and remove its network.").parse_args(arguments)
    LoginNode(given.folder.absolute()).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the daemons' logs."""
    parser = _parser("logs", "Show the end of the daemons' logs.")
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--follow", action="store_true")
    given = parser.parse_args(arguments)
    node = LoginNode(given.folder.absolute())
    show_logs([node.log(name) for name in DAEMONS], lines=given.lines, follow=given.follow)


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
