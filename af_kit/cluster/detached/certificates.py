"""The TLS certificates of a cluster as files that only their owner can read, for all of the user's processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed import Security

from af_kit.credentials.private_files import write_private
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


def write(security: Any, folder: Path, *, by_default: bool) -> dict[str, str]:
    """Write the certificates of a new cluster.

    Parameters
    ----------
    security : distributed.Security, bool or None
        The certificates to use; True creates temporary ones, False turns TLS off.
    folder : Path
        The folder for certificates that are not in files yet.
    by_default : bool
        What None stands for.

    Returns
    -------
    dict
        Arguments of ``distributed.Security``, all of them paths; empty without TLS.
    """
    if security is None:
        security = by_default
    if security is False:
        return {}
    if security is True:
        security = Security.temporary()
    if not isinstance(security, Security):
        raise InputError(
            f"security={security!r}: give True for temporary certificates, False, or a distributed.Security."
        )
    paths = {}
    for name in _FILES:
        value = getattr(security, name)
        if value is not None and "\n" in value:
            value = str(write_private(folder / f"{name}.pem", value))
        if value is not None:
            paths[name] = str(value)
    return paths


def read(paths: dict[str, str]) -> Security | None:
    """Return the certificates that `write` has written, or None without TLS."""
    return Security(require_encryption=True, **paths) if paths else None
