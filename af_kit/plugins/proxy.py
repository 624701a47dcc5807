"""`send_proxy`: the user's X.509 proxy on every worker, whenever it comes, and renewed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.errors import InputError
from af_kit.plugins import variables
from af_kit.plugins.authorities import STANDARD, find_authorities
from af_kit.plugins.carrier import CarrierPlugin
from af_kit.plugins.credential import Credential, check_lifetime
from af_kit.plugins.sent import Sent, ask_workers, check_client, send
from af_kit.plugins.x509 import default_proxy, find_proxy, read_proxy

__all__ = ["X509ProxyPlugin", "send_proxy"]


class X509ProxyPlugin(CarrierPlugin):
    """The worker's half of `send_proxy`: the proxy in a file of mode 0600, and the variables that XRootD reads.

    XRootD looks at its variables once in a process, at the first login with a proxy, successful or not; the file is
    read again for each login. So the path never changes while the worker lives.
    """

    name = "af-secret-x509"
    filename = "x509up"

    def settings(self, path: str, options: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
        """``X509_USER_PROXY``, and the authorities' certificates where this machine has them."""
        stuck = _stuck_at(path)
        settings: dict[str, str | None] = {"X509_USER_PROXY": path}
        found = find_authorities(options["cert_dir"], tuple(options["hints"]))
        if found is not None:
            settings[found[0]] = found[1]
        # XRootD's own names win over the general ones, where a site sets them.
        if variables.given("XrdSecGSIUSERPROXY"):
            settings["XrdSecGSIUSERPROXY"] = path
        if found is not None and found[0] == "X509_CERT_DIR" and variables.given("XrdSecGSICADIR"):
            settings["XrdSecGSICADIR"] = found[1]
        return settings, {"authorities": found and found[1], "stuck": stuck}


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
        ``.about`` (whose, until when), ``.refresh()``, ``.check()``, ``.stop()``, ``.remove()``.

    Raises
    ------
    InputError
        There is no usable proxy, it has expired or will soon, or a worker finds no authorities' certificates.

    Notes
    -----
    The workers keep it in a file of mode 0600 in their own folder, at one path, removed when they end. What this
    protects, and what not, is told in ``docs/credentials.md``.
    """
    check_client(client, "send_proxy")
    place = find_proxy() if path is None else Path(path).expanduser().absolute()
    own = variables.given("X509_CERT_DIR")
    options = {
        "cert_dir": None if cert_dir is None else os.fspath(cert_dir),
        "hints": [own] if own and cert_dir is None else [],
    }

    def read() -> Credential:
        secret, about = read_proxy(place)
        check_lifetime(about, min_lifetime_s)
        return Credential(secret, about, options)

    credential = read()
    _check_authorities(client, options)
    return send(client, X509ProxyPlugin(), credential, read, watch=watch)


def _check_authorities(client: Any, options: Mapping[str, Any]) -> None:
    found = ask_workers(client, find_authorities, options["cert_dir"], tuple(options["hints"]))
    without = [address for address, place in found.items() if place is None]
    if not without:
        return
    looked = [options["cert_dir"]] if options["cert_dir"] else ["X509_CERT_DIR", *options["hints"], *STANDARD]
    raise InputError(
        f"No certificates of authorities (CA directory) on {len(without)} of {len(found)} workers, {without[0]} for "
        f"one; XRootD cannot use a proxy without them. Looked at: {', '.join(looked)}. Give the folder as the workers "
        "see it: send_proxy(client, cert_dir=...); the package ca-policy-egi-core or CVMFS's grid.cern.ch has it."
    )


def _stuck_at(path: str) -> str | None:
    """Another path at which XRootD in this process looks for the proxy for ever, as it has logged on before."""
    if os.environ.get("X509_USER_PROXY") == path:
        return None  # it was ours at every login, if there was one
    try:
        loaded = "libXrdSecgsi" in Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return None
    if not loaded:
        return None
    return os.environ.get("XrdSecGSIUSERPROXY") or os.environ.get("X509_USER_PROXY") or str(default_proxy())
