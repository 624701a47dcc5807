"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from services.by_hand import ByHand, command_line
from services.oidc.server import OIDC, USERS

HAND = ByHand("oidc", OIDC().folder)


def start(arguments: list[str]) -> None:
    """Start the provider, and say how to log in."""
    client = {"nargs": "+", "metavar": ("ID", "REDIRECT"), "help": "a client, and where logins lead back"}
    given = HAND.given("start", "Start the provider, or say where it is.", arguments, client=client)
    provider = OIDC(given.folder).start({given.client[0]: given.client[1:]} if given.client else None)
    print(f"{provider.issuer}/.well-known/openid-configuration")
    for user in USERS:
        print(f"{user:<10} password {provider.password(user)}")
    if given.client:
        print(f"\nThe secret of the client {given.client[0]}: {provider.secret(given.client[0])}")


def stop(arguments: list[str]) -> None:
    """Stop it."""
    OIDC(HAND.given("stop", "Stop the provider.", arguments).folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of its log."""
    HAND.show_logs(arguments, lambda folder: [OIDC(folder).log])


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
