"""Why a server refused this process: XRootD says the same, whatever is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from af_kit.credentials.ca_certificates import STANDARD, holds_certificates
from af_kit.credentials.credential import check_lifetime, duration
from af_kit.credentials.x509 import default_proxy, read_proxy
from af_kit.errors import InputError
from af_kit.plugins.proxy import stuck_at
from af_kit.plugins.tokens import read_token

__all__ = ["diagnose_refusal", "is_refusal"]

# What XRootD's client says when no way to log on is left, and its server to an identity without rights.
_REFUSED = ("No protocols left to try", "Auth failed", "permission denied")


def is_refusal(message: str) -> bool:
    """Whether an error's text says that a server did not let this process in."""
    return any(words in message for words in _REFUSED)


def diagnose_refusal() -> str:
    """What is wrong with the credentials of this process; to be asked where the login failed.

    Returns
    -------
    str
        One paragraph: the proxy or token is missing, has expired or is not usable, the authorities' certificates are
        missing, or all is well here and the server does not accept this identity; and what to do.
    """
    proxy, proxy_problem = _proxy()
    token, token_problem = _token()
    valid = [text for text in (proxy, token) if text]
    problems = [text for text in (proxy_problem, token_problem) if text]
    if valid:
        accepted = (
            f"Valid here: {'; '.join(valid)}. The server does not accept it for this file: check VO, role, scope."
        )
        return " ".join([accepted, *problems])
    return " ".join(problems) or "This process has no credentials: af_kit.send_proxy(client), or send_token(client)."


def _proxy() -> tuple[str, str]:
    """The proxy of this process in words, and what is wrong with it; both empty if there is none to be expected."""
    named = os.environ.get("XrdSecGSIUSERPROXY") or os.environ.get("X509_USER_PROXY")  # noqa: SIM112 - XRootD's name
    place = Path(named) if named else default_proxy()
    if not place.exists():
        return "", f"No X.509 proxy was sent here ({named} does not exist): af_kit.send_proxy(client)." if named else ""
    try:
        _, about = read_proxy(place)
        check_lifetime(about, 0)
    except InputError as error:
        return "", f"{error} A session that watches the file sends the new one by itself; else send_proxy(client)."
    if elsewhere := stuck_at.get(str(place)):
        return "", (
            f"The {about} is valid, but XRootD in this process looks at {elsewhere} for ever, as it tried to log on "
            "before the proxy came: start this worker again, client.restart_workers([...])."
        )
    folder = os.environ.get("X509_CERT_DIR") or STANDARD[0]
    if not holds_certificates(Path(folder)):
        return "", (
            f"The {about} is valid, but {folder} holds no certificates of authorities, without which XRootD cannot use "
            "it: send_proxy(client, cert_dir=...)."
        )
    return f"{about}, {duration(about.seconds_left)} left", ""


def _token() -> tuple[str, str]:
    """The same for the token."""
    named = os.environ.get("BEARER_TOKEN_FILE")
    if not named:
        return "", ""
    try:
        _, about = read_token(Path(named))
        check_lifetime(about, 0)
    except InputError as error:
        return "", f"{error} A session that watches the token sends the new one by itself; else send_token(client)."
    return str(about) + (f", {duration(about.seconds_left)} left" if about.until else ""), ""
