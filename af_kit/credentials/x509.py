"""X.509 proxies: where grid tools look for one, and what it says: whose, of which VO, until when.

A proxy file holds, in PEM: the proxy's certificate, its private key, and the certificates above it, the last of which
is the user's own. It is valid until the first of them ends.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from af_kit.credentials import variables
from af_kit.credentials.credential import About, duration, moment
from af_kit.credentials.secret import SecretBytes, read_secret
from af_kit.credentials.voms import VOMS_EXTENSION, Voms, read_voms
from af_kit.errors import InputError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["AboutProxy", "default_proxy", "find_proxy", "parse_proxy", "read_proxy"]

MAKE_ONE = "`voms-proxy-init --voms VO` (with your VO's name; `grid-proxy-init` without one) makes a proxy"

_HOW = f"{MAKE_ONE}; one that lies elsewhere: send_proxy(client, path)."

# The extension that makes a certificate a proxy: RFC 3820, and the draft before it
_PROXY_EXTENSIONS = {"1.3.6.1.5.5.7.1.14": "RFC 3820", "1.3.6.1.4.1.3536.1.222": "draft of RFC 3820"}
# The policy of a limited proxy (1.3.6.1.4.1.3536.1.1.1.9), as it stands in that extension
_LIMITED = bytes.fromhex("060b2b060104019b5001010109")
# Globus Toolkit 2 knew a proxy by the last part of its name only.
_LEGACY_NAMES = {"proxy": False, "limited proxy": True}
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_NAMES = {"1.2.840.113549.1.9.1": "emailAddress"}


@dataclass(frozen=True, kw_only=True)
class AboutProxy(About):
    """What a proxy says, without its key.

    Attributes
    ----------
    who : str
        The distinguished name of the user's certificate: ``/DC=ch/DC=cern/.../CN=alice``.
    until : datetime
        When it ends for a server: the first end among its certificates and its VO's attributes.
    kind : str
        ``"RFC 3820"``, ``"draft of RFC 3820"`` or ``"legacy Globus"``.
    limited : bool
        A limited proxy reads and writes files, but starts no jobs.
    voms : Voms or None
        VO, roles and groups, with an end of their own.
    mode : int
        The file's mode, as ``os.stat`` gives it.
    """

    what: ClassVar[str] = "X.509 proxy"
    renew: ClassVar[str] = "Make a new one (`voms-proxy-init --voms VO`)"

    kind: str
    limited: bool
    voms: Voms | None
    mode: int = 0o600

    def __str__(self) -> str:
        vo = f" (VO {self.voms.vo})" if self.voms else ""
        return f"{self.what} of {self.who}{vo}, {moment(self.until)}"


def default_proxy() -> Path:
    """Where grid tools keep the proxy of this user, if nothing else is said."""
    return Path(f"/tmp/x509up_u{os.geteuid()}")


def find_proxy() -> Path:
    """The user's proxy, found as grid tools find it: ``X509_USER_PROXY``, else ``/tmp/x509up_u<uid>``.

    Raises
    ------
    InputError
        There is none; the message says where was looked, and how to make one.
    """
    default = default_proxy()
    named = variables.given("X509_USER_PROXY")
    if named:
        if _exists(Path(named)):
            return Path(named)
        other = f" There is a file {default}: unset the variable to use that one." if _exists(default) else ""
        raise InputError(f"There is no X.509 proxy: X509_USER_PROXY names {named}, which does not exist.{other} {_HOW}")
    if not _exists(default):
        raise InputError(f"There is no X.509 proxy: X509_USER_PROXY is not set and {default} does not exist. {_HOW}")
    if default.stat().st_uid != os.geteuid():
        # Everybody may put a file there. A path that the user names may belong to somebody else (a mounted secret).
        raise InputError(
            f"{default} belongs to another user (uid {default.stat().st_uid}), so it is not your proxy. {_HOW}"
        )
    return default


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # in a folder that this user may not search; reading it says so


def read_proxy(path: str | Path | None = None) -> tuple[SecretBytes, AboutProxy]:
    """Read and check a proxy.

    Parameters
    ----------
    path : path, optional
        Where it is; found as grid tools do by default.

    Returns
    -------
    SecretBytes, AboutProxy
        The file's content, and what it says. Whether enough of its lifetime is left is not judged here.

    Raises
    ------
    InputError
        There is no such file, it cannot be read, or it is not a usable proxy.
    """
    place = find_proxy() if path is None else Path(path).expanduser()
    try:
        content, status = read_secret(place)
    except FileNotFoundError:
        raise InputError(f"There is no X.509 proxy: {place} does not exist. {MAKE_ONE}.") from None
    except OSError as error:
        raise InputError(
            f"The X.509 proxy {place} cannot be read: {error.strerror}. It must belong to you, with mode 0600."
        ) from None
    return content, replace(parse_proxy(content, str(place)), mode=status.st_mode)


def parse_proxy(content: SecretBytes, source: str) -> AboutProxy:
    """What the content of a proxy file says.

    Parameters
    ----------
    source : str
        The file's path, for messages.

    Raises
    ------
    InputError
        It is not a proxy, not complete, its key does not belong to it, or it is not valid yet.
    """
    chain = _certificates(content, source)
    kinds = [_proxy_kind(certificate) for certificate in chain]
    if kinds[0] is None:
        raise InputError(_not_a_proxy(chain[0], source))
    _check_key(content, chain[0], source)
    used = next((number for number, kind in enumerate(kinds) if kind is None), None)
    if used is None:
        raise InputError(
            f"The proxy in {source} is not complete: the user's own certificate, of which it was made, is missing at "
            f"its end. {MAKE_ONE}."
        )
    for lower, upper in pairwise(chain[: used + 1]):
        _check_issued(lower, upper, source)
    begin = max(certificate.not_valid_before_utc for certificate in chain[: used + 1])
    if (ahead := begin.timestamp() - datetime.now(UTC).timestamp()) > 0:
        raise InputError(
            f"The proxy in {source} is not valid yet: it begins in {duration(ahead)} ({begin:%Y-%m-%d %H:%M:%S} UTC). "
            "Is this machine's clock right?"
        )
    ends = [certificate.not_valid_after_utc for certificate in chain[: used + 1]]
    attributes = [found for certificate in chain[:used] if (found := _voms(certificate)) is not None]
    voms = attributes[0] if attributes else None
    if voms is not None and voms.until is not None:
        ends.append(voms.until)
    kind = kinds[0]
    return AboutProxy(
        source=source, who=_slashed(chain[used].subject), until=min(ends), kind=kind[0], limited=kind[1], voms=voms
    )


def _blocks(content: SecretBytes) -> Iterator[tuple[str, SecretBytes]]:
    """The PEM blocks of a file: their kind, and the block with its frame."""
    for found in _PEM.finditer(content.reveal()):
        yield found[1].decode(), SecretBytes(found[0])


def _certificates(content: SecretBytes, source: str) -> list[x509.Certificate]:
    from cryptography import x509

    blocks = [block for label, block in _blocks(content) if label in ("CERTIFICATE", "X509 CERTIFICATE")]
    if not blocks:
        raise InputError(f"{source} is not an X.509 proxy: it holds no PEM certificate{_looks_like(content)}.")
    try:
        with warnings.catch_warnings():
            # Grid certificates bend rules (serial numbers, names) that are not ours to hold.
            warnings.simplefilter("ignore")
            return [x509.load_pem_x509_certificate(block.reveal()) for block in blocks]
    except ValueError:
        raise InputError(f"A certificate in {source} is damaged and cannot be read. {MAKE_ONE}.") from None


def _looks_like(content: SecretBytes) -> str:
    if re.fullmatch(rb"\s*eyJ[\w-]+\.[\w-]+\.[\w-]*\s*", content.reveal()):
        return ", but a bearer token; send_token(client) sends those"
    if content.reveal()[:1] == b"\x30":
        return "; it may be a PKCS#12 bundle (.p12), of which grid tools make a proxy"
    return "" if len(content) else ", it is empty"


def _proxy_kind(certificate: x509.Certificate) -> tuple[str, bool] | None:
    """Kind of a proxy and whether it is limited; None for a certificate that is not a proxy."""
    for extension in _extensions(certificate):
        kind = _PROXY_EXTENSIONS.get(extension.oid.dotted_string)
        if kind is not None:
            return kind, _LIMITED in extension.value.public_bytes()
    *above, last = certificate.subject.rdns
    value = str(next(iter(last)).value)
    if value in _LEGACY_NAMES and above == list(certificate.issuer.rdns):
        return "legacy Globus", _LEGACY_NAMES[value]
    return None


def _extensions(certificate: x509.Certificate) -> list[Any]:
    try:
        return list(certificate.extensions)
    except ValueError:  # one of them is malformed, and then none can be had
        return []


def _not_a_proxy(certificate: x509.Certificate, source: str) -> str:
    from cryptography import x509

    who = _slashed(certificate.subject)
    constraints = [item.value for item in _extensions(certificate) if isinstance(item.value, x509.BasicConstraints)]
    if any(item.ca for item in constraints):
        return f"{source} is not a proxy: it holds the certificate of an authority, {who}. {MAKE_ONE}."
    return (
        f"{source} is not a proxy: it holds the certificate of {who} itself. That one stays with you; {MAKE_ONE} of it."
    )


def _check_key(content: SecretBytes, certificate: x509.Certificate, source: str) -> None:
    """Refuse a proxy without a private key that is its own."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    keys = [block for label, block in _blocks(content) if label.endswith("PRIVATE KEY")]
    if not keys:
        raise InputError(f"The proxy in {source} has no private key: nobody can use it. {MAKE_ONE}.")
    try:
        public = load_pem_private_key(keys[0].reveal(), password=None).public_key()
    except TypeError:
        raise InputError(
            f"The private key in {source} is encrypted, so it is not a proxy's, whose key has no passphrase. "
            f"{MAKE_ONE}."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"The private key in {source} is damaged and cannot be read. {MAKE_ONE}.") from None
    if public != certificate.public_key():
        raise InputError(f"The private key in {source} does not belong to the proxy's certificate. {MAKE_ONE}.")


def _check_issued(lower: x509.Certificate, upper: x509.Certificate, source: str) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature):
        raise InputError(
            f"The certificates in {source} do not belong together: {_slashed(lower.subject)} was not issued by "
            f"{_slashed(upper.subject)}, which follows it. {MAKE_ONE}."
        ) from None
    except UnsupportedAlgorithm:
        pass  # an old signature algorithm: the server will judge


def _voms(certificate: x509.Certificate) -> Voms | None:
    for extension in _extensions(certificate):
        if extension.oid.dotted_string == VOMS_EXTENSION:
            return read_voms(extension.value.public_bytes())
    return None


def _slashed(name: x509.Name) -> str:
    """A distinguished name as grid tools write it: ``/DC=ch/DC=cern/CN=alice``."""
    parts = []
    for attribute in name:
        short = attribute.rfc4514_attribute_name
        parts.append(f"/{_NAMES.get(short, short)}={attribute.value!s}")
    return "".join(parts)
