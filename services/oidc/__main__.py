"""Commands: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

from argparse import Namespace

from services.commands import Commands
from services.oidc.server import OIDC, USERS


def start(given: Namespace) -> None:
    """Start the provider if it is not running, and print how to log in."""
    client, *redirects = given.client or [""]
    provider: OIDC = given.service.start({client: redirects} if client else None)
    print(f"{provider.issuer}/.well-known/openid-configuration")
    for user in USERS:
        print(f"{user:<10} password {provider.password(user)}")
    if client:
        print(f"\nThe secret of the client {client}: {provider.secret(client)}")


if __name__ == "__main__":
    commands = Commands("oidc", OIDC)
    parser = commands.add(start)
    parser.add_argument("--client", nargs="+", metavar=("ID", "REDIRECT"), help="add a client with its redirect URIs")
    commands.run()
