"""Why a server refused a login: XRootD's error message is the same whatever is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from af_kit.credentials.ca_certificates import STANDARD_FOLDERS, holds_certificates
from af_kit.credentials.credential import check_lifetime, format_duration
from af_kit.credentials.tokens import read_token
from af_kit.credentials.x509 import default_proxy, read_proxy
from af_kit.credentials.xrootd_paths import stale_paths
from af_kit.errors import InputError

__all__ = ["diagnose_refusal"]


def diagnose_refusal() -> str:
    """Explain what is wrong with this process's credentials. Call it in the process that was refused.

    Returns
    -------
    str
        One paragraph with the reason and what to do: the proxy or token is missing, has expired or is not usable, the
        CA certificates are missing, or everything is fine here and the server does not accept this identity.
    """
    proxy, proxy_problem = _check_proxy()
    token, token_problem = _check_token()
    valid = [text for text in (proxy, token) if text]
    problems = [text for text in (proxy_problem, token_problem) if text]
    if valid:
        accepted = (
            f"Valid here: {'; '.join(valid)}. The server does not accept it for this file: check VO, role, scope."
        )
        return " ".join([accepted, *problems])
    return " ".join(problems) or "This process has no credentials: af_kit.send_proxy(client), or send_token(client)."


def _check_proxy() -> tuple[str, str]:
    """Return a description of this process's valid proxy, or its problem; both are empty if none is expected."""
    named = os.environ.get("XrdSecGSIUSERPROXY") or os.environ.get("X509_USER_PROXY")  # noqa: SIM112 - XRootD's name
    path = Path(named) if named else default_proxy()
    if not path.exists():
        return "", f"No X.509 proxy was sent here ({named} does not exist): af_kit.send_proxy(client)." if named else ""
    try:
        _, info = read_proxy(path)
        check_lifetime(info, 0)
    except InputError as error:
        return "", f"{error} A session that watches the file sends the new one; otherwise call send_proxy(client)."
    if stale_path := stale_paths.get(str(path)):
        return "", (
            f"The {info} is valid, but XRootD in this process tried to log in before the proxy arrived and keeps using "
            f"{stale_path}. Restart this worker: client.restart_workers([...])."
        )
    folder = os.environ.get("X509_CERT_DIR") or STANDARD_FOLDERS[0]
    if not holds_certificates(Path(folder)):
        return "", (
            f"The {info} is valid, but {folder} contains no CA certificates, and XRootD cannot use the proxy without "
            "them: send_proxy(client, cert_dir=...)."
        )
    return f"{info}, {format_duration(info.seconds_left)} left", ""


def _check_token() -> tuple[str, str]:
    """Return the same as `_check_proxy`, for the token."""
    named = os.environ.get("BEARER_TOKEN_FILE")
    if not named:
        return "", ""
    try:
        _, info = read_token(Path(named))
        check_lifetime(info, 0)
    except InputError as error:
        return "", f"{error} A session that watches the token sends the new one; otherwise call send_token(client)."
    return str(info) + (f", {format_duration(info.seconds_left)} left" if info.until else ""), ""
