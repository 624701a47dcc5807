"""The credential paths that XRootD in this process keeps using.

XRootD reads its environment variables once per process, at the first login with a proxy, whether that succeeds or not.
The files behind the paths are read again for each login. A proxy that arrives at another path later is never used.
"""

from __future__ import annotations

import os
from pathlib import Path

from af_kit.credentials.ca_certificates import STANDARD_FOLDERS, holds_certificates
from af_kit.credentials.secret import read_secret
from af_kit.credentials.x509 import default_proxy
from af_kit.errors import InputError

__all__ = ["fixed_paths", "stale_paths", "unusable_path"]

stale_paths: dict[str, str | None] = {}
"""For each proxy file delivered to this process: the path that XRootD keeps using instead; None if it uses the file."""


def fixed_paths() -> tuple[str, str] | None:
    """Return the proxy's path and the CA folder that XRootD has settled on; None before its first login."""
    try:
        loaded = "libXrdSecgsi" in Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return None
    if not loaded:
        return None
    variables = os.environ
    proxy = variables.get("XrdSecGSIUSERPROXY") or variables.get("X509_USER_PROXY") or str(default_proxy())
    folder = variables.get("XrdSecGSICADIR") or variables.get("X509_CERT_DIR") or STANDARD_FOLDERS[0]
    return proxy, folder


def unusable_path(proxy: Path, fixed: tuple[str, str] | None) -> str | None:
    """Return the one of XRootD's fixed paths that keeps it from using a proxy; None if it can use the proxy."""
    if fixed is None:
        return None
    fixed_proxy, fixed_folder = fixed
    if fixed_proxy != str(proxy) and not _same_content(Path(fixed_proxy), proxy):
        return fixed_proxy
    return None if holds_certificates(Path(fixed_folder)) else fixed_folder


def _same_content(one: Path, other: Path) -> bool:
    try:
        return read_secret(one)[0] == read_secret(other)[0]
    except (OSError, InputError):
        return False
