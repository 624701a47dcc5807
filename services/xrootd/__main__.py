"""By hand: ``start``, ``stop``, ``logs``, and the credentials: ``proxy``, ``token``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from services.common import command_line, show_logs
from services.xrootd.authority import write_private
from services.xrootd.server import KINDS, XRootD


def _arguments(verb: str, about: str, arguments: list[str], *more: tuple[tuple[str, ...], dict]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"services/xrootd/{verb}", description=about)
    parser.add_argument("--folder", type=Path, default=XRootD().folder, help="default: %(default)s")
    for names, options in more:
        parser.add_argument(*names, **options)
    return parser.parse_args(arguments)


def start(arguments: list[str]) -> None:
    """Start what does not run, make a proxy and a token, and say how to use them."""
    given = _arguments("start", "Start the servers, or say where they are.", arguments)
    servers = XRootD(given.folder).start()
    proxy = servers.proxy(given.folder / "proxy")
    token = given.folder / "token.txt"
    write_private(token, servers.token(["storage.read:/", "storage.modify:/store"]).encode())
    anonymous = servers.url("anonymous", "/store/")
    for kind in KINDS:
        print(f"{kind:<10} {servers.url(kind, f'/{anonymous}' if kind == 'cache' else '/store/')}")
    print(f"\nFiles for them: {servers.data}/store and {servers.data}/eos. For a client:")
    names = {**servers.environment(), "X509_USER_PROXY": str(proxy), "BEARER_TOKEN_FILE": str(token)}
    for name, value in names.items():
        print(f"export {name}={value}")


def stop(arguments: list[str]) -> None:
    """Stop the servers; their files stay."""
    given = _arguments("stop", "Stop the servers; their files stay.", arguments)
    XRootD(given.folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the servers' logs."""
    more = (("--lines",), {"type": int, "default": 20}), (("--follow",), {"action": "store_true"})
    given = _arguments("logs", "Show the end of the servers' logs.", arguments, *more)
    servers = XRootD(given.folder)
    show_logs([servers.log(kind) for kind in (*KINDS, "issuer")], lines=given.lines, follow=given.follow)


def proxy(arguments: list[str]) -> None:
    """Make a new proxy."""
    more = (
        (("--hours",), {"type": float, "default": 12.0, "help": "how long it lives; below 0 it has expired"}),
        (("--user",), {"default": "alice", "help": "the GSI server knows alice, and nobody else"}),
        (("--out",), {"type": Path, "default": Path(f"/tmp/x509up_u{os.geteuid()}"), "help": "default: %(default)s"}),
    )
    given = _arguments("proxy", "Make an X.509 proxy.", arguments, *more)
    print(XRootD(given.folder).proxy(given.out.absolute(), given.user, lifetime_s=given.hours * 3600))


def token(arguments: list[str]) -> None:
    """Print a new token."""
    more = (
        (("scope",), {"nargs": "*", "default": ["storage.read:/"], "help": "default: storage.read:/"}),
        (("--hours",), {"type": float, "default": 1.0}),
    )
    given = _arguments("token", "Print a bearer token.", arguments, *more)
    print(XRootD(given.folder).token(given.scope, lifetime_s=given.hours * 3600))


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs, "proxy": proxy, "token": token})
