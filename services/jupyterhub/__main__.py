"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from services.by_hand import ByHand, command_line
from services.jupyterhub.server import JupyterHub
from services.oidc.server import GROUP, USERS

HAND = ByHand("jupyterhub", JupyterHub().folder)


def start(arguments: list[str]) -> None:
    """Start the hub and its login provider, and say how to log in."""
    given = HAND.given("start", "Start the hub, or say where it is.", arguments)
    hub = JupyterHub(given.folder).start()
    print(hub.url)
    for user, (_, groups) in USERS.items():
        print(f"{user:<10} password {hub.oidc.password(user)}{'' if GROUP in groups else '   (may not use the hub)'}")
    print(f"\nTheir homes: {hub.home('')}")


def stop(arguments: list[str]) -> None:
    """Stop it."""
    JupyterHub(HAND.given("stop", "Stop the hub; its users' homes stay.", arguments).folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the logs."""
    HAND.show_logs(arguments, lambda folder: [JupyterHub(folder).log, JupyterHub(folder).oidc.log])


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
