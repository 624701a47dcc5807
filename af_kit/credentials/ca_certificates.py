"""Where a machine keeps the certificates of the authorities that a grid client trusts (the CA directory).

Without it XRootD cannot check the server, and says the same as without a proxy. Sites have it in different places, and
a worker's machine may not be the user's: so each worker looks for itself.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from af_kit.credentials import variables

__all__ = ["STANDARD", "find_authorities", "forget", "holds_certificates", "point_to"]

# The place that all grid tools know, and CERN's copy for machines that have CVMFS
STANDARD = ("/etc/grid-security/certificates", "/cvmfs/grid.cern.ch/etc/grid-security/certificates")


def find_authorities(cert_dir: str | None = None, hints: tuple[str, ...] = ()) -> tuple[str, str] | None:
    """The variable that names this machine's authorities, and its value.

    Parameters
    ----------
    cert_dir : str, optional
        The place to use; nothing else is looked at then.
    hints : tuple of str
        Further places, tried after this machine's own variables and before the standard ones.

    Returns
    -------
    tuple of str, or None
        ``("X509_CERT_DIR", folder)``, or ``("X509_CERT_BUNDLE", file)`` where there is no folder (enough for https,
        not for XRootD); None if there is neither.
    """
    places = [cert_dir] if cert_dir is not None else list(_folders(hints))
    for place in places:
        if holds_certificates(Path(place)):
            return "X509_CERT_DIR", place
    bundle = cert_dir if cert_dir is not None else variables.given("X509_CERT_BUNDLE")
    if bundle and Path(bundle).is_file():
        return "X509_CERT_BUNDLE", bundle
    return None


def point_to(folder: str | None, worker_folder: str | Path) -> str:
    """Have a worker's own name for the authorities lead to ``folder``; None to one that is empty.

    XRootD keeps the name that it was given first, for as long as the process lives, and gives up for good if nothing
    is there. So the name is one's own and never changes, only where it leads to.

    Returns
    -------
    str
        The name, for ``X509_CERT_DIR``.
    """
    link = Path(worker_folder) / "af-authorities"
    if folder is None:
        folder = str(link.with_name("af-no-authorities"))
        Path(folder).mkdir(exist_ok=True)
    new = link.with_name(f".{link.name}.{secrets.token_hex(8)}")
    new.symlink_to(folder, target_is_directory=True)
    new.replace(link)
    return str(link)


def forget(worker_folder: str | Path) -> None:
    """Remove what `point_to` made."""
    (Path(worker_folder) / "af-authorities").unlink(missing_ok=True)
    with suppress(OSError):
        (Path(worker_folder) / "af-no-authorities").rmdir()


def _folders(hints: tuple[str, ...]) -> Iterator[str]:
    for name in ("XrdSecGSICADIR", "X509_CERT_DIR"):
        if place := variables.given(name):
            yield place
    yield from hints
    yield from STANDARD


def holds_certificates(folder: Path) -> bool:
    """Whether there is a certificate under its hashed name: a mount point that is not mounted is an empty folder."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith((".0", ".1")) for entry in entries)
    except OSError:
        return False
