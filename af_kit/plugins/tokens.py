"""`send_token`: the user's bearer token on every worker, whenever it comes, and renewed.

Found as the WLCG's bearer token discovery says. A token that is a JWT tells whose it is, for whom, for what and until
when; this is read and nothing verified, as the storage does that.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from af_kit.credentials import variables
from af_kit.credentials.credential import About, Credential, moment
from af_kit.credentials.secret import SecretBytes, read_secret
from af_kit.errors import InputError
from af_kit.plugins.credential_handle import Sent, check_client, send
from af_kit.plugins.credential_plugin import CarrierPlugin

__all__ = ["AboutToken", "TokenPlugin", "find_token", "parse_token", "read_token", "send_token"]

_VARIABLE = "$BEARER_TOKEN"
_HOW = "`oidc-token ACCOUNT` or `htgettoken` gets one; a file that lies elsewhere: send_token(client, path)."
# What a bearer token may consist of (RFC 6750), and the three parts of a JWT
_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
_JWT = re.compile(rb"([\w-]+)\.([\w-]+)\.([\w-]*)")


@dataclass(frozen=True, kw_only=True)
class AboutToken(About):
    """What a token says of itself.

    Attributes
    ----------
    who : str
        The subject and its issuer: ``alice at https://cms-auth.web.cern.ch/``.
    until : datetime or None
        When it ends; None for a token that is no JWT, which only its issuer understands.
    audience : tuple of str
        The services that are to accept it; empty if it does not say.
    scope : tuple of str
        What it allows: ``"storage.read:/"``, ...
    """

    what: ClassVar[str] = "bearer token"
    renew: ClassVar[str] = "Get a new one (`oidc-token`, `htgettoken`)"

    audience: tuple[str, ...]
    scope: tuple[str, ...]

    def __str__(self) -> str:
        scope = f" ({' '.join(self.scope)})" if self.scope else ""
        return f"{self.what} of {self.who}{scope}, {moment(self.until)}"


class TokenPlugin(CarrierPlugin):
    """The worker's half of `send_token`: the token in a file of mode 0600, named by ``BEARER_TOKEN_FILE``."""

    name = "af-secret-token"
    filename = "bearer_token"

    def settings(self, path: Path, options: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, Any]]:
        """The file's name; ``BEARER_TOKEN`` is taken away, as it would win and could not be renewed."""
        return {"BEARER_TOKEN_FILE": str(path), "BEARER_TOKEN": None}, {}


def send_token(client: Any, path: str | Path | None = None, *, min_lifetime_s: float = 60, watch: bool = True) -> Sent:
    """Send the user's bearer token to all workers, also to those that come later, and keep it renewed.

    Parameters
    ----------
    client : distributed.Client
        What `connect` gives.
    path : path, optional
        The token's file. By default as the WLCG's token discovery finds it: ``BEARER_TOKEN``, ``BEARER_TOKEN_FILE``,
        ``$XDG_RUNTIME_DIR/bt_u<uid>``, ``/tmp/bt_u<uid>``.
    min_lifetime_s : float
        A token with less lifetime than this, in seconds, is refused. Tokens live for an hour or less.
    watch : bool
        Send it again whenever it changes, and warn before it ends, for as long as the client lives.

    Returns
    -------
    Sent
        ``.info`` (whose, for what, until when), ``.refresh()``, ``.check()``, ``.stop()``, ``.remove()``.

    Raises
    ------
    InputError
        There is no usable token, or it has expired or will soon.
    AfKitError
        A worker could not write it.

    Notes
    -----
    On the workers ``BEARER_TOKEN_FILE`` names a file of mode 0600 in the worker's own folder, at one path.
    """
    check_client(client, "send_token")
    place = find_token() if path is None else Path(path).expanduser().absolute()

    def read() -> Credential:
        secret, about = read_token(place)
        return Credential(secret, about, {})

    return send(client, TokenPlugin(), read, min_lifetime_s=min_lifetime_s, watch=watch)


def find_token() -> Path | None:
    """The file of the user's token, found as WLCG's token discovery says; None if ``BEARER_TOKEN`` holds it.

    Raises
    ------
    InputError
        There is none; the message says where was looked.
    """
    if variables.given("BEARER_TOKEN"):
        return None
    named = variables.given("BEARER_TOKEN_FILE")
    if named:
        if Path(named).exists():
            return Path(named)
        raise InputError(f"There is no bearer token: BEARER_TOKEN_FILE names {named}, which does not exist. {_HOW}")
    name = f"bt_u{os.geteuid()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    # A file in /tmp may be anybody's.
    own = [Path(runtime) / name] if runtime else []
    places = [*own, Path("/tmp") / name]
    for place in places:
        if place.exists() and place.stat().st_uid == os.geteuid():
            return place
    looked = ", ".join(map(str, places))
    raise InputError(
        f"There is no bearer token: BEARER_TOKEN and BEARER_TOKEN_FILE are not set, and of {looked} none exists as "
        f"yours. {_HOW}"
    )


def read_token(place: Path | None) -> tuple[SecretBytes, AboutToken]:
    """Read a token from a file, or from ``BEARER_TOKEN`` if this is None; white space around it does not count.

    Raises
    ------
    InputError
        It cannot be read, or it is not a token.
    """
    if place is None:
        secret = SecretBytes((variables.given("BEARER_TOKEN") or "").strip().encode())
    else:
        try:
            secret = SecretBytes(read_secret(place)[0].reveal().strip())
        except FileNotFoundError:
            raise InputError(f"There is no bearer token: {place} does not exist. {_HOW}") from None
        except OSError as error:
            raise InputError(f"The bearer token {place} cannot be read: {error.strerror}.") from None
    return secret, parse_token(secret, _VARIABLE if place is None else str(place))


def parse_token(secret: SecretBytes, source: str) -> AboutToken:
    """What a token says of itself, without verifying it.

    Raises
    ------
    InputError
        It is not a bearer token.
    """
    if not _TOKEN.fullmatch(secret.reveal()):
        raise InputError(f"{source} is not a bearer token{_looks_like(secret)}. {_HOW}")
    claims = _claims(secret)
    if claims is None:
        return AboutToken(source=source, who="an unknown issuer (no JWT)", until=None, audience=(), scope=())
    issuer = claims.get("iss")
    try:
        until = datetime.fromtimestamp(float(claims["exp"]), UTC) if "exp" in claims else None
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"The bearer token in {source} has no usable expiry time (`exp`). {_HOW}") from None
    return AboutToken(
        source=source,
        who=str(claims.get("sub", "somebody")) + (f" at {issuer}" if issuer else ""),
        until=until,
        audience=_words(claims.get("aud"), None),
        scope=_words(claims.get("scope"), " "),
    )


def _claims(secret: SecretBytes) -> dict[str, Any] | None:
    """The content of a JWT; None for a token of another kind."""
    found = _JWT.fullmatch(secret.reveal())
    if found is None:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(found[2] + b"=" * (-len(found[2]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _words(value: Any, separator: str | None) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split(separator)) if separator else (value,)
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _looks_like(secret: SecretBytes) -> str:
    if not len(secret):
        return ": it is empty"
    if b"-----BEGIN" in secret.reveal():
        return ", it looks like an X.509 proxy; send_proxy(client) sends those"
    if secret.reveal().startswith(b"{"):
        return ": it is the issuer's whole answer, of which `access_token` is the token"
    return ": it holds characters that no token has"
