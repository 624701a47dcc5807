"""A cluster's certificates as files that only their owner can read: other processes of the user need them, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed import Security

from af_kit.cluster.detached.registry import write_private
from af_kit.errors import InputError

_FILES = (
    "tls_ca_file",
    "tls_client_cert",
    "tls_client_key",
    "tls_scheduler_cert",
    "tls_scheduler_key",
    "tls_worker_cert",
    "tls_worker_key",
)


def write(asked: Any, folder: Path, *, by_default: bool) -> dict[str, str]:
    """Certificates for a new cluster, below ``folder``.

    Parameters
    ----------
    asked : distributed.Security, bool or None
        The user's; True makes temporary ones, False does without.
    folder : Path
        Where keys that are in memory are written.
    by_default : bool
        What None stands for.

    Returns
    -------
    dict
        Arguments of ``distributed.Security``, all of them paths; empty without TLS.
    """
    if asked is None:
        asked = by_default
    if asked is False:
        return {}
    if asked is True:
        asked = Security.temporary()
    if not isinstance(asked, Security):
        raise InputError(f"security={asked!r}: give True, for temporary certificates, False or distributed.Security.")
    paths = {}
    for name in _FILES:
        value = getattr(asked, name)
        if value is not None and "\n" in value:
            value = str(write_private(folder / f"{name}.pem", value))
        if value is not None:
            paths[name] = str(value)
    return paths


def read(paths: dict[str, str]) -> Security | None:
    """The certificates of a cluster that `write` has written."""
    return Security(require_encryption=True, **paths) if paths else None
