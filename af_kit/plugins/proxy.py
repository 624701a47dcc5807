"""`send_proxy`: deliver the user's X.509 proxy to every worker, including later ones, and renew it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.credentials import environment_variables
from af_kit.credentials.ca_certificates import STANDARD_FOLDERS, find_ca_certificates, link_ca_folder, remove_ca_link
from af_kit.credentials.credential import Credential, CredentialInfo, warn
from af_kit.credentials.x509 import ProxyInfo, find_proxy, read_proxy
from af_kit.credentials.xrootd_paths import fixed_paths, stale_paths, unusable_path
from af_kit.errors import InputError
from af_kit.plugins.credential_handle import CredentialHandle, ask_workers, check_client, send_credential
from af_kit.plugins.credential_plugin import CredentialPlugin
from af_kit.plugins.spark_credentials import SparkCredential

__all__ = ["PROXY_FILE", "X509ProxyPlugin", "send_proxy"]

PROXY_FILE = "x509up"


class X509ProxyPlugin(CredentialPlugin):
    """Worker plugin of `send_proxy`: the proxy in a file of mode 0600, and the variables that XRootD reads.

    XRootD reads its variables once per process (see `af_kit.credentials.xrootd_paths`), so the paths never change while
    the worker lives.
    """

    name = "af-secret-x509"
    filename = PROXY_FILE

    def __init__(self) -> None:
        self._fixed_paths: tuple[str, str] | None = None
        self._checked = False

    def settings(self, path: Path, options: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
        """Return ``X509_USER_PROXY`` and the variables for this machine's CA certificates."""
        if not self._checked:  # before the variables are set for the first time
            self._fixed_paths, self._checked = fixed_paths(), True
        found = find_ca_certificates(options["cert_dir"], tuple(options["hints"]))
        folder = found[1] if found and found[0] == "X509_CERT_DIR" else None
        settings: dict[str, str | None] = {
            "X509_USER_PROXY": str(path),
            "X509_CERT_DIR": link_ca_folder(folder, path.parent.parent),
        }
        if found and found[0] == "X509_CERT_BUNDLE":
            settings["X509_CERT_BUNDLE"] = found[1]
        # XRootD prefers its own names to the general ones.
        for own_name, name in (("XrdSecGSIUSERPROXY", "X509_USER_PROXY"), ("XrdSecGSICADIR", "X509_CERT_DIR")):
            if environment_variables.user_value(own_name):
                settings[own_name] = settings[name]
        stale_paths[str(path)] = unusable_path(path, self._fixed_paths)
        return settings, {"stale_path": stale_paths[str(path)]}

    def clean_up(self, path: Path) -> None:
        """Remove the link to the CA certificates."""
        remove_ca_link(path.parent.parent)


def send_proxy(
    client: Any,
    path: str | Path | None = None,
    *,
    min_lifetime_s: float = 600,
    watch: bool = True,
    cert_dir: str | Path | None = None,
) -> CredentialHandle | SparkCredential:
    """Send the user's X.509 proxy to all workers, including those that join later, and keep it renewed.

    Parameters
    ----------
    client : distributed.Client or pyspark.sql.SparkSession
        The return value of `connect`, or a Spark session, whose executors get it with each task of the kit.
    path : path, optional
        The proxy's file. By default it is found like grid tools find it: ``X509_USER_PROXY``, else
        ``/tmp/x509up_u<uid>``.
    min_lifetime_s : float
        Refuse a proxy with less lifetime than this, in seconds.
    watch : bool
        Send the file again whenever it changes (after ``voms-proxy-init``), and warn before it expires, for as long as
        the client lives.
    cert_dir : path, optional
        The folder of the CA certificates, as the workers see it. By default each worker tries its own
        ``X509_CERT_DIR``, this session's, ``/etc/grid-security/certificates``, CVMFS's ``grid.cern.ch``, and
        ``X509_CERT_BUNDLE``.

    Returns
    -------
    CredentialHandle or SparkCredential
        ``.info`` (owner, VO, expiry), ``.refresh()``, ``.check()``, ``.stop()``, ``.remove()``.

    Raises
    ------
    InputError
        There is no usable proxy, it has expired or expires too soon, or a worker finds no CA certificates.
    AfKitError
        A worker could not write it.

    Notes
    -----
    Each worker keeps the proxy in a file of mode 0600 in its folder, whose path never changes, and removes it when the
    worker ends. ``docs/credentials.md`` says what is protected and what is not.
    """
    check_client(client, "send_proxy")
    # Fix the file now: when it is missing for a moment, another proxy must not replace it.
    source = find_proxy() if path is None else Path(path).expanduser().absolute()
    own_folder = environment_variables.user_value("X509_CERT_DIR")
    options = {
        "cert_dir": None if cert_dir is None else str(Path(cert_dir).expanduser().absolute()),
        "hints": [own_folder] if own_folder else [],
    }

    def read() -> Credential:
        secret, info = read_proxy(source)
        return Credential(secret, info, options)

    def check(credential: Credential) -> None:
        _check_ca_certificates(client, options)
        _warn_if_readable_by_others(credential.info)

    return send_credential(
        client, X509ProxyPlugin(), read, min_lifetime_s=min_lifetime_s, watch=watch, before_sending=check
    )


def _check_ca_certificates(client: Any, options: Mapping[str, Any]) -> None:
    found = ask_workers(client, find_ca_certificates, options["cert_dir"], tuple(options["hints"]))
    without = [address for address, variable in found.items() if variable is None]
    if without:
        tried = (
            [options["cert_dir"]] if options["cert_dir"] else ["$X509_CERT_DIR", *options["hints"], *STANDARD_FOLDERS]
        )
        raise InputError(
            f"{len(without)} of {len(found)} workers find no CA certificates, for example {without[0]}, and XRootD "
            f"cannot use a proxy without them. Folders tried: {', '.join(tried)}. Name the folder as the workers see "
            "it: send_proxy(client, cert_dir=...). CVMFS's grid.cern.ch and the package ca-policy-egi-core have it."
        )
    bundles = [address for address, (variable, _) in found.items() if variable == "X509_CERT_BUNDLE"]
    if bundles:
        warn(
            f"{len(bundles)} of {len(found)} workers have the CA certificates as one file only "
            f"({found[bundles[0]][1]}): enough for https, but XRootD (root://) needs the folder: "
            "send_proxy(client, cert_dir=...)."
        )


def _warn_if_readable_by_others(info: CredentialInfo) -> None:
    if isinstance(info, ProxyInfo) and info.mode & 0o077:
        warn(
            f"The X.509 proxy {info.source} has mode {stat.S_IMODE(info.mode):04o}: other users of this machine can "
            f"steal it, and grid tools refuse it. `chmod 600 {info.source}`. (The workers' copies have mode 0600.)"
        )
