"""The CA certificates that a grid client trusts: find their folder on this machine.

Without them XRootD cannot verify a server, and its error message is the same as without a proxy. Sites keep them in
different folders, and a worker's machine can differ from the user's, so each worker searches its own machine.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from af_kit.credentials import environment_variables

__all__ = ["STANDARD_FOLDERS", "find_ca_certificates", "holds_certificates", "link_ca_folder", "remove_ca_link"]

# The default of all grid tools, and CERN's copy for machines with CVMFS
STANDARD_FOLDERS = ("/etc/grid-security/certificates", "/cvmfs/grid.cern.ch/etc/grid-security/certificates")


def find_ca_certificates(cert_dir: str | None = None, hints: tuple[str, ...] = ()) -> tuple[str, str] | None:
    """Return the environment variable for this machine's CA certificates, and its value.

    Parameters
    ----------
    cert_dir : str, optional
        The only folder or file to check.
    hints : tuple of str
        Further folders, tried after those in this machine's environment variables and before the standard folders.

    Returns
    -------
    tuple of str, or None
        ``("X509_CERT_DIR", folder)``, or ``("X509_CERT_BUNDLE", file)`` if there is only a file, which is enough for
        https but not for XRootD; None if there is neither.
    """
    named = (environment_variables.user_value(name) for name in ("XrdSecGSICADIR", "X509_CERT_DIR"))
    folders = [*filter(None, named), *hints, *STANDARD_FOLDERS] if cert_dir is None else [cert_dir]
    for folder in folders:
        if holds_certificates(Path(folder)):
            return "X509_CERT_DIR", folder
    bundle = environment_variables.user_value("X509_CERT_BUNDLE") if cert_dir is None else cert_dir
    return ("X509_CERT_BUNDLE", bundle) if bundle and Path(bundle).is_file() else None


def holds_certificates(folder: Path) -> bool:
    """Whether a folder contains a certificate with a hashed name; an unmounted mount point is an empty folder."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith((".0", ".1")) for entry in entries)
    except OSError:
        return False


def link_ca_folder(folder: str | None, worker_folder: str | Path) -> str:
    """Point a worker's own link to its CA folder, or to an empty folder if this is None.

    XRootD keeps the first path it reads for the life of the process, and fails permanently if nothing is there. The
    path of the link therefore never changes; only its target does.

    Returns
    -------
    str
        The path of the link, for ``X509_CERT_DIR``.
    """
    link = Path(worker_folder) / "af-ca-certificates"
    if folder is None:
        folder = str(link.with_name("af-no-ca-certificates"))
        Path(folder).mkdir(exist_ok=True)
    new = link.with_name(f".{link.name}.{secrets.token_hex(8)}")
    new.symlink_to(folder, target_is_directory=True)
    new.replace(link)
    return str(link)


def remove_ca_link(worker_folder: str | Path) -> None:
    """Remove what `link_ca_folder` created."""
    (Path(worker_folder) / "af-ca-certificates").unlink(missing_ok=True)
    with suppress(OSError):
        (Path(worker_folder) / "af-no-ca-certificates").rmdir()
