"""Bearer tokens: find and read them, and their claims (owner, audience, scope, expiry).

Tokens are found by the WLCG bearer token discovery. The claims are not verified; the storage does that.
"""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from af_kit.credentials import environment_variables
from af_kit.credentials.credential import CredentialInfo, format_expiry
from af_kit.credentials.secret import SecretBytes, read_secret
from af_kit.errors import InputError

__all__ = ["TokenInfo", "find_token", "parse_token", "read_token"]

_VARIABLE = "$BEARER_TOKEN"
_ADVICE = "Get one with `oidc-token ACCOUNT` or `htgettoken`, or name the file: send_token(client, path)."
# The characters of a bearer token (RFC 6750), and the three parts of a JWT
_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
_JWT = re.compile(rb"([\w-]+)\.([\w-]+)\.([\w-]*)")


@dataclass(frozen=True, kw_only=True)
class TokenInfo(CredentialInfo):
    """The claims of a token.

    Attributes
    ----------
    who : str
        The subject and its issuer: ``alice at https://cms-auth.web.cern.ch/``.
    until : datetime or None
        The expiry; None for a token that is not a JWT, which only its issuer can read.
    audience : tuple of str
        The services that accept the token; empty if it does not say.
    scope : tuple of str
        What it allows: ``"storage.read:/"``, ...
    """

    what: ClassVar[str] = "bearer token"
    renew: ClassVar[str] = "Get a new one (`oidc-token`, `htgettoken`)"

    audience: tuple[str, ...]
    scope: tuple[str, ...]

    def __str__(self) -> str:
        scope = f" ({' '.join(self.scope)})" if self.scope else ""
        return f"{self.what} of {self.who}{scope}, {format_expiry(self.until)}"


def find_token() -> Path | None:
    """Return the file of the user's token by WLCG token discovery; None if ``BEARER_TOKEN`` contains the token.

    Raises
    ------
    InputError
        There is no token; the message lists where it was searched.
    """
    if environment_variables.user_value("BEARER_TOKEN"):
        return None
    named = environment_variables.user_value("BEARER_TOKEN_FILE")
    if named:
        if Path(named).exists():
            return Path(named)
        raise InputError(f"There is no bearer token: BEARER_TOKEN_FILE names {named}, which does not exist. {_ADVICE}")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    paths = [Path(folder) / f"bt_u{os.geteuid()}" for folder in (runtime, "/tmp") if folder]
    for path in paths:
        if path.exists() and path.stat().st_uid == os.geteuid():  # anybody can put a file into /tmp
            return path
    raise InputError(
        f"There is no bearer token: BEARER_TOKEN and BEARER_TOKEN_FILE are not set, and you own no file "
        f"{' or '.join(map(str, paths))}. {_ADVICE}"
    )


def read_token(path: Path | None) -> tuple[SecretBytes, TokenInfo]:
    """Read a token from a file, or from ``BEARER_TOKEN`` if this is None, without surrounding white space.

    Raises
    ------
    InputError
        It cannot be read, or it is not a token.
    """
    if path is None:
        secret = SecretBytes((environment_variables.user_value("BEARER_TOKEN") or "").strip().encode())
    else:
        try:
            secret = SecretBytes(read_secret(path)[0].reveal().strip())
        except FileNotFoundError:
            raise InputError(f"There is no bearer token: {path} does not exist. {_ADVICE}") from None
        except OSError as error:
            raise InputError(f"The bearer token {path} cannot be read: {error.strerror}.") from None
    return secret, parse_token(secret, _VARIABLE if path is None else str(path))


def parse_token(secret: SecretBytes, source: str) -> TokenInfo:
    """Return the claims of a token without verifying them.

    Raises
    ------
    InputError
        It is not a bearer token.
    """
    if not _TOKEN.fullmatch(secret.reveal()):
        raise InputError(f"{source} is not a bearer token{_guess_content(secret)}. {_ADVICE}")
    claims = _claims(secret)
    if claims is None:
        return TokenInfo(source=source, who="an unknown issuer (no JWT)", until=None, audience=(), scope=())
    issuer = claims.get("iss")
    try:
        until = datetime.fromtimestamp(float(claims["exp"]), UTC) if "exp" in claims else None
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"The bearer token in {source} has no usable expiry time (`exp`). {_ADVICE}") from None
    return TokenInfo(
        source=source,
        who=str(claims.get("sub", "somebody")) + (f" at {issuer}" if issuer else ""),
        until=until,
        audience=_strings(claims.get("aud"), None),
        scope=_strings(claims.get("scope"), " "),
    )


def _claims(secret: SecretBytes) -> dict[str, Any] | None:
    """Decode the payload of a JWT; None for any other token."""
    match = _JWT.fullmatch(secret.reveal())
    if match is None:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(match[2] + b"=" * (-len(match[2]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _strings(value: Any, separator: str | None) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split(separator)) if separator else (value,)
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _guess_content(secret: SecretBytes) -> str:
    if not len(secret):
        return ": it is empty"
    if b"-----BEGIN" in secret.reveal():
        return ": it looks like an X.509 proxy, which send_proxy(client) sends"
    if secret.reveal().startswith(b"{"):
        return ": it is the issuer's whole answer; only its `access_token` is the token"
    return ": it contains characters that a token cannot have"
