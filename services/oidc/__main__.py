"""By hand: ``start``, ``stop``, ``logs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from services.common import command_line, show_logs
from services.oidc.server import OIDC, USERS


def _arguments(verb: str, about: str, arguments: list[str], *more: tuple[str, dict]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"services/oidc/{verb}", description=about)
    parser.add_argument("--folder", type=Path, default=OIDC().folder, help="default: %(default)s")
    for name, options in more:
        parser.add_argument(name, **options)
    return parser.parse_args(arguments)


def start(arguments: list[str]) -> None:
    """Start the provider, and say how to log in."""
    more = ("--client", {"nargs": "+", "metavar": ("ID", "REDIRECT"), "help": "a client, and where logins lead back"})
    given = _arguments("start", "Start the provider, or say where it is.", arguments, more)
    provider = OIDC(given.folder).start({given.client[0]: given.client[1:]} if given.client else None)
    print(f"{provider.issuer}/.well-known/openid-configuration")
    for user in USERS:
        print(f"{user:<10} password {provider.password(user)}")
    if given.client:
        print(f"\nThe secret of the client {given.client[0]}: {provider.secret(given.client[0])}")


def stop(arguments: list[str]) -> None:
    """Stop it."""
    OIDC(_arguments("stop", "Stop the provider.", arguments).folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of its log."""
    more = ("--lines", {"type": int, "default": 20}), ("--follow", {"action": "store_true"})
    given = _arguments("logs", "Show the end of the log.", arguments, *more)
    show_logs([OIDC(given.folder).log], lines=given.lines, follow=given.follow)


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs})
