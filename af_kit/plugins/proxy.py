"""`send_proxy`: the user's X.509 proxy on every worker, whenever it comes, and renewed."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.credentials import variables
from af_kit.credentials.ca_certificates import STANDARD, find_authorities, forget, holds_certificates, point_to
from af_kit.credentials.credential import Credential, warn
from af_kit.credentials.secret import read_secret
from af_kit.credentials.x509 import AboutProxy, default_proxy, find_proxy, read_proxy
from af_kit.errors import InputError
from af_kit.plugins.credential_handle import Sent, ask_workers, check_client, send
from af_kit.plugins.credential_plugin import CarrierPlugin

__all__ = ["PROXY_FILE", "X509ProxyPlugin", "kept_by_xrootd", "send_proxy", "stuck_at"]

PROXY_FILE = "x509up"
# XRootD's own names win over the general ones.
_ITS_PROXY, _ITS_AUTHORITIES = "XrdSecGSIUSERPROXY", "XrdSecGSICADIR"


stuck_at: dict[str, str | None] = {}
"""For the path of a proxy that was sent to this process: where XRootD looks instead, for ever."""


class X509ProxyPlugin(CarrierPlugin):
    """The worker's half of `send_proxy`: the proxy in a file of mode 0600, and the variables that XRootD reads.

    XRootD reads its variables once in a process, at the first login with a proxy, successful or not; what they name is
    read again for each login. So the paths never change while the worker lives.
    """

    name = "af-secret-x509"
    filename = PROXY_FILE

    def __init__(self) -> None:
        self._kept: tuple[str, str] | None = None
        self._asked = False

    def settings(self, path: Path, options: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
        """``X509_USER_PROXY``, and the authorities' certificates where this machine has them."""
        if not self._asked:  # before the variables are set for the first time
            self._kept, self._asked = kept_by_xrootd(), True
        found = find_authorities(options["cert_dir"], tuple(options["hints"]))
        folder = found[1] if found and found[0] == "X509_CERT_DIR" else None
        settings: dict[str, str | None] = {
            "X509_USER_PROXY": str(path),
            "X509_CERT_DIR": point_to(folder, path.parent.parent),
        }
        if found and found[0] == "X509_CERT_BUNDLE":
            settings["X509_CERT_BUNDLE"] = found[1]
        for its, general in ((_ITS_PROXY, "X509_USER_PROXY"), (_ITS_AUTHORITIES, "X509_CERT_DIR")):
            if variables.given(its):
                settings[its] = settings[general]
        stuck_at[str(path)] = self._stuck(path)
        return settings, {"authorities": found and found[1], "stuck": stuck_at[str(path)]}

    def clean(self, path: Path) -> None:
        """Remove the name for the authorities."""
        forget(path.parent.parent)

    def _stuck(self, path: Path) -> str | None:
        """Where XRootD in this process looks in vain for ever, as it has logged on before; None if all is well."""
        if self._kept is None:
            return None
        proxy, authorities = self._kept
        if proxy != str(path) and not _same_content(Path(proxy), path):
            return proxy
        return authorities if not holds_certificates(Path(authorities)) else None


def kept_by_xrootd() -> tuple[str, str] | None:
    """The proxy's path and the authorities' folder that XRootD keeps to if it has logged on by now; None if not."""
    try:
        loaded = "libXrdSecgsi" in Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return None
    if not loaded:
        return None
    proxy = os.environ.get(_ITS_PROXY) or os.environ.get("X509_USER_PROXY") or str(default_proxy())
    authorities = os.environ.get(_ITS_AUTHORITIES) or os.environ.get("X509_CERT_DIR") or STANDARD[0]
    return proxy, authorities


def send_proxy(
    client: Any,
    path: str | Path | None = None,
    *,
    min_lifetime_s: float = 600,
    watch: bool = True,
    cert_dir: str | Path | None = None,
) -> Sent:
    """Send the user's X.509 proxy to all workers, also to those that come later, and keep it renewed.

    Parameters
    ----------
    client : distributed.Client
        What `connect` gives.
    path : path, optional
        The proxy's file. By default as grid tools find it: ``X509_USER_PROXY``, else ``/tmp/x509up_u<uid>``.
    min_lifetime_s : float
        A proxy with less lifetime than this, in seconds, is refused.
    watch : bool
        Send the file again whenever it changes (after ``voms-proxy-init``), and warn before it ends, for as long as the
        client lives.
    cert_dir : path, optional
        The folder with the authorities' certificates, as the workers see it. By default each worker looks at its own
        ``X509_CERT_DIR``, at this session's, at ``/etc/grid-security/certificates``, at CVMFS's ``grid.cern.ch``, and
        at ``X509_CERT_BUNDLE``.

    Returns
    -------
    Sent
        ``.info`` (whose, until when), ``.refresh()``, ``.check()``, ``.stop()``, ``.remove()``.

    Raises
    ------
    InputError
        There is no usable proxy, it has expired or will soon, or a worker finds no authorities' certificates.
    AfKitError
        A worker could not write it.

    Notes
    -----
    Each worker keeps it in a file of mode 0600 in its own folder, at one path, and removes it when it ends. What is
    protected, and what is not, is told in ``docs/credentials.md``.
    """
    check_client(client, "send_proxy")
    # The same file from now on: one that is missing for a moment must not bring another proxy in its place.
    place = find_proxy() if path is None else Path(path).expanduser().absolute()
    own = variables.given("X509_CERT_DIR")
    options = {
        "cert_dir": None if cert_dir is None else str(Path(cert_dir).expanduser().absolute()),
        "hints": [own] if own else [],
    }

    def read() -> Credential:
        secret, about = read_proxy(place)
        return Credential(secret, about, options)

    def before(credential: Credential) -> None:
        _check_authorities(client, options)
        _warn_if_open(credential.about)

    return send(client, X509ProxyPlugin(), read, min_lifetime_s=min_lifetime_s, watch=watch, before=before)


def _check_authorities(client: Any, options: Mapping[str, Any]) -> None:
    found = ask_workers(client, find_authorities, options["cert_dir"], tuple(options["hints"]))
    without = [address for address, place in found.items() if place is None]
    if without:
        looked = [options["cert_dir"]] if options["cert_dir"] else ["$X509_CERT_DIR", *options["hints"], *STANDARD]
        raise InputError(
            f"{len(without)} of {len(found)} workers find no certificates of authorities (CA directory), {without[0]} "
            f"for one, and XRootD cannot use a proxy without them. Looked at: {', '.join(looked)}. Give the folder as "
            "the workers see it: send_proxy(client, cert_dir=...). CVMFS's grid.cern.ch and the package "
            "ca-policy-egi-core have it."
        )
    bundles = [address for address, place in found.items() if place[0] == "X509_CERT_BUNDLE"]
    if bundles:
        warn(
            f"{len(bundles)} of {len(found)} workers have the authorities' certificates as one file only "
            f"({found[bundles[0]][1]}): enough for https, but XRootD (root://) needs the folder: "
            "send_proxy(client, cert_dir=...)."
        )


def _warn_if_open(about: Any) -> None:
    if isinstance(about, AboutProxy) and about.mode & 0o077:
        warn(
            f"The X.509 proxy {about.source} has mode {stat.S_IMODE(about.mode):04o}: others on this machine can take "
            f"it, and grid tools refuse it. `chmod 600 {about.source}`. (The workers' copies have mode 0600.)"
        )


def _same_content(one: Path, other: Path) -> bool:
    try:
        return read_secret(one)[0] == read_secret(other)[0]
    except (OSError, InputError):
        return False
