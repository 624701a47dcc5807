"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.common import command_line, show_logs
from services.jupyterhub.server import JupyterHub
from services.oidc.server import GROUP, USERS


def _arguments(verb: str, about: str, arguments: list[str], *more: tuple[str, dict]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"services/jupyterhub/{verb}", description=about)
    parser.add_argument("--folder", type=Path, default=JupyterHub().folder, help="default: %(default)s")
    for name, options in more:
        parser.add_argument(name, **options)
    return parser.parse_args(arguments)


def start(arguments: list[str]) -> None:
    """Start the hub and its login provider, and say how to log in."""
    given = _arguments("start", "Start the hub, or say where it is.", arguments)
    hub = JupyterHub(given.folder).start()
    print(hub.url)
    for user, (_, groups) in USERS.items():
        print(f"{user:<10} password {hub.oidc.password(user)}{'' if GROUP in groups else '   (may not use the hub)'}")
    print(f"\nTheir homes: {hub.home('')}")


def stop(arguments: list[str]) -> None:
    """Stop it."""
    JupyterHub(_arguments("stop", "Stop the hub; its users' homes stay.", arguments).folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the logs."""
    more = ("--lines", {"type": int, "default": 40}), ("--follow", {"action": "store_true"})
    given = _arguments("logs", "Show the end of the logs.", arguments, *more)
    hub = JupyterHub(given.folder)
    show_logs([hub.log, hub.oidc.log], lines=given.lines, follow=given.follow)


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
