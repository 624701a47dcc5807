"""Commands: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from argparse import Namespace

from services.commands import Commands
from services.jupyterhub.server import JupyterHub
from services.oidc.server import GROUP, USERS


def start(given: Namespace) -> None:
    """Start the hub and its login provider if they are not running, and print how to log in."""
    hub = given.service.start()
    print(hub.url)
    for user, (_, groups) in USERS.items():
        print(f"{user:<10} password {hub.oidc.password(user)}{'' if GROUP in groups else '   (may not use the hub)'}")
    print(f"\nTheir homes: {hub.home('')}")


if __name__ == "__main__":
    commands = Commands("jupyterhub", JupyterHub)
    commands.add(start)
    commands.run()
