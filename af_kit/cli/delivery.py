"""Options of ``af-kit run`` for what the workers need besides code: the user's proxy, and files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from af_kit.cli.console import complain
from af_kit.errors import InputError

__all__ = ["add_delivery_options", "deliver", "named_files"]


def add_delivery_options(group: Any) -> None:
    """Add ``--send`` and ``--proxy``."""
    group.add_argument(
        "--send",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a file for the analysis, such as corrections: af_kit.file(NAME) is its path on every worker; can be "
        "repeated",
    )
    group.add_argument(
        "--proxy",
        metavar="FILE|none",
        help="X.509 proxy to send to the workers (default: yours, if files are at root:// or https:// addresses)",
    )


def named_files(given: list[str]) -> dict[str, str]:
    """Return ``NAME=FILE`` texts as a mapping.

    Raises
    ------
    InputError
        A text has another form, or a name occurs twice.
    """
    files: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (equals and name and path):
            raise InputError(f"--send {text}: give NAME=FILE, such as --send muon_sf=muon_Z.json.gz")
        if name in files:
            raise InputError(f"--send {text}: {name} is already {files[name]}. Choose another name.")
        files[name] = path
    return files


def deliver(arguments: argparse.Namespace, fileset: Mapping[str, Any], client: Any) -> None:
    """Send the files, and the proxy if it is needed, to the workers of a client (None: threads of this process)."""
    if files := named_files(arguments.send):
        from af_kit.plugins.files import send_files

        send_files(client, files, replace=True)
    if client is None or arguments.proxy == "none":
        return
    from af_kit.credentials.x509 import find_proxy
    from af_kit.plugins.proxy import send_proxy

    if arguments.proxy is not None:
        send_proxy(client, arguments.proxy)
        return
    if not any("://" in replica for dataset in fileset.values() for file in dataset.files for replica in file.replicas):
        return
    try:
        find_proxy()
    except InputError:
        return  # files that everyone may read need none; otherwise reading them fails with what to do
    try:
        send_proxy(client)
    except InputError as error:
        complain(f"warning: {error} The workers read without your proxy (--proxy none to do so without this warning).")
