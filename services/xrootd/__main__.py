"""Commands: ``start``, ``stop``, ``logs``, and ``proxy`` and ``token``, which create credentials."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from af_kit.credentials.private_files import write_private
from services.commands import Commands
from services.xrootd.server import SERVERS, XRootD


def start(given: Namespace) -> None:
    """Start the servers that are not running, create a proxy and a token, and print how to use them."""
    xrootd: XRootD = given.service.start()
    proxy = xrootd.proxy(xrootd.folder / "proxy")
    token = xrootd.token(["storage.read:/", "storage.modify:/store"])
    token_file = write_private(xrootd.folder / "token.txt", token)
    anonymous = xrootd.url("anonymous", "/store/")
    for server in SERVERS:
        print(f"{server:<10} {xrootd.url(server, f'/{anonymous}' if server == 'cache' else '/store/')}")
    print(f"\nTheir files: {xrootd.data}/store and {xrootd.data}/eos. For a client:")
    names = {**xrootd.environment(), "X509_USER_PROXY": proxy, "BEARER_TOKEN_FILE": token_file}
    for name, value in names.items():
        print(f"export {name}={value}")


def proxy(given: Namespace) -> None:
    """Create an X.509 proxy."""
    print(given.service.proxy(given.out.absolute(), given.user, lifetime_s=given.hours * 3600))


def token(given: Namespace) -> None:
    """Print a bearer token."""
    print(given.service.token(given.scope, lifetime_s=given.hours * 3600))


if __name__ == "__main__":
    commands = Commands("xrootd", XRootD)
    commands.add(start)
    parser = commands.add(proxy)
    parser.add_argument("--hours", type=float, default=12.0, help="the lifetime; if it is negative, it has expired")
    parser.add_argument("--user", default="alice", help="the GSI server only accepts alice")
    out = Path(f"/tmp/x509up_u{os.geteuid()}")
    parser.add_argument("--out", type=Path, default=out, help="default: %(default)s")
    parser = commands.add(token)
    parser.add_argument("scope", nargs="*", default=["storage.read:/"], help="default: storage.read:/")
    parser.add_argument("--hours", type=float, default=1.0)
    commands.run()
