"""By hand: ``start``, ``stop``, ``logs``, and the credentials: ``proxy``, ``token``."""

from __future__ import annotations

import os
from pathlib import Path

from services.by_hand import ByHand, command_line
from services.xrootd.authority import write_private
from services.xrootd.server import KINDS, XRootD

HAND = ByHand("xrootd", XRootD().folder)


def start(arguments: list[str]) -> None:
    """Start what does not run, make a proxy and a token, and say how to use them."""
    given = HAND.given("start", "Start the servers, or say where they are.", arguments)
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
    given = HAND.given("stop", "Stop the servers; their files stay.", arguments)
    XRootD(given.folder).stop()


def logs(arguments: list[str]) -> None:
    """Show the end of the servers' logs."""
    HAND.show_logs(arguments, lambda folder: [XRootD(folder).log(kind) for kind in (*KINDS, "issuer")])


def proxy(arguments: list[str]) -> None:
    """Make a new proxy."""
    hours = {"type": float, "default": 12.0, "help": "how long it lives; below 0 it has expired"}
    user = {"default": "alice", "help": "the GSI server knows alice, and nobody else"}
    out = {"type": Path, "default": Path(f"/tmp/x509up_u{os.geteuid()}"), "help": "default: %(default)s"}
    given = HAND.given("proxy", "Make an X.509 proxy.", arguments, hours=hours, user=user, out=out)
    print(XRootD(given.folder).proxy(given.out.absolute(), given.user, lifetime_s=given.hours * 3600))


def token(arguments: list[str]) -> None:
    """Print a new token."""
    parser = HAND.parser("token", "Print a bearer token.")
    parser.add_argument("scope", nargs="*", default=["storage.read:/"], help="default: storage.read:/")
    parser.add_argument("--hours", type=float, default=1.0)
    given = parser.parse_args(arguments)
    print(XRootD(given.folder).token(given.scope, lifetime_s=given.hours * 3600))


if __name__ == "__main__":
    command_line({"start": start, "stop": stop, "logs": logs, "proxy": proxy, "token": token})
