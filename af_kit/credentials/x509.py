"""X.509 proxies: find and read one, and what it says (owner, VO, expiry).

A proxy file contains, in PEM: the proxy's certificate, its private key, and the chain of certificates above it up to
the user's own. It is valid until the first of them expires.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from af_kit.credentials import environment_variables
from af_kit.credentials.credential import CredentialInfo, format_duration, format_expiry
from af_kit.credentials.secret import SecretBytes, read_secret
from af_kit.credentials.voms import VOMS_EXTENSION, Voms, read_voms
from af_kit.errors import InputError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = [
    "ProxyInfo",
    "default_proxy",
    "find_proxy",
    "is_expired",
    "parse_proxy",
    "proxy_path",
    "read_proxy",
    "seconds_left",
]

_MAKE_ONE = "Make one with `voms-proxy-init --voms VO` (VO: your VO's name; without a VO: `grid-proxy-init`)"
_ADVICE = f"{_MAKE_ONE}, or name the file: send_proxy(client, path)."

# The extension that makes a certificate a proxy: RFC 3820, and the draft before it
_PROXY_EXTENSIONS = {"1.3.6.1.5.5.7.1.14": "RFC 3820", "1.3.6.1.4.1.3536.1.222": "draft of RFC 3820"}
# The policy of a limited proxy (1.3.6.1.4.1.3536.1.1.1.9), as encoded in that extension
_LIMITED = bytes.fromhex("060b2b060104019b5001010109")
# Globus Toolkit 2 recognised a proxy only by the last part of its name.
_LEGACY_NAMES = {"proxy": False, "limited proxy": True}
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_NAMES = {"1.2.840.113549.1.9.1": "emailAddress"}


@dataclass(frozen=True, kw_only=True)
class ProxyInfo(CredentialInfo):
    """The public facts about a proxy.

    Attributes
    ----------
    who : str
        The distinguished name of the user's certificate: ``/DC=ch/DC=cern/.../CN=alice``.
    until : datetime
        When servers stop accepting it: the first expiry among its certificates and its VO attributes.
    kind : str
        ``"RFC 3820"``, ``"draft of RFC 3820"`` or ``"legacy Globus"``.
    limited : bool
        A limited proxy can read and write files, but cannot start jobs.
    voms : Voms or None
        VO, roles and groups, with their own expiry.
    mode : int
        The file's mode, as ``os.stat`` returns it.
    """

    what: ClassVar[str] = "X.509 proxy"
    renew: ClassVar[str] = "Make a new one (`voms-proxy-init --voms VO`)"

    kind: str
    limited: bool
    voms: Voms | None
    mode: int = 0o600

    def __str__(self) -> str:
        vo = f" (VO {self.voms.vo})" if self.voms else ""
        return f"{self.what} of {self.who}{vo}, {format_expiry(self.until)}"


def default_proxy() -> Path:
    """Return the path where grid tools keep this user's proxy by default."""
    return Path(f"/tmp/x509up_u{os.geteuid()}")


def proxy_path() -> Path:
    """Return the path where grid tools look for the user's proxy, whether it exists or not."""
    return Path(environment_variables.user_value("X509_USER_PROXY") or default_proxy())


def find_proxy() -> Path:
    """Find the user's proxy like grid tools: ``X509_USER_PROXY``, else ``/tmp/x509up_u<uid>``.

    Raises
    ------
    InputError
        There is none; the message says where it was expected and how to make one.
    """
    default = default_proxy()
    if named := environment_variables.user_value("X509_USER_PROXY"):
        if _exists(Path(named)):
            return Path(named)
        other = f" There is a file {default}: unset the variable to use it." if _exists(default) else ""
        raise InputError(
            f"There is no X.509 proxy: X509_USER_PROXY names {named}, which does not exist.{other} {_ADVICE}"
        )
    if not _exists(default):
        raise InputError(f"There is no X.509 proxy: X509_USER_PROXY is not set and {default} does not exist. {_ADVICE}")
    if default.stat().st_uid != os.geteuid():
        # Anybody can put a file there. A path that the user names can belong to somebody else (a mounted secret).
        raise InputError(
            f"{default} belongs to another user (uid {default.stat().st_uid}), so it is not your proxy. {_ADVICE}"
        )
    return default


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # in a folder without search permission; reading the file then fails with that reason


def seconds_left(content: bytes) -> float:
    """Return the seconds until the first certificate in a proxy's content expires, without checking anything else.

    Raises
    ------
    ValueError
        There is no certificate in it.
    """
    from cryptography import x509

    return min(one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(content)) - time.time()


def is_expired(path: Path) -> bool:
    """Whether a proxy file has expired, or cannot be read as one."""
    try:
        return seconds_left(read_secret(path)[0].reveal()) <= 0
    except (OSError, ValueError):
        return True


def read_proxy(path: str | Path | None = None) -> tuple[SecretBytes, ProxyInfo]:
    """Read and check a proxy.

    Parameters
    ----------
    path : path, optional
        The file; by default the one that `find_proxy` finds.

    Returns
    -------
    SecretBytes, ProxyInfo
        The file's content, and the facts about it. The remaining lifetime is not checked.

    Raises
    ------
    InputError
        The file does not exist, cannot be read, or is not a usable proxy.
    """
    place = find_proxy() if path is None else Path(path).expanduser()
    try:
        content, status = read_secret(place)
    except FileNotFoundError:
        raise InputError(f"There is no X.509 proxy: {place} does not exist. {_MAKE_ONE}.") from None
    except OSError as error:
        raise InputError(
            f"The X.509 proxy {place} cannot be read: {error.strerror}. It must belong to you, with mode 0600."
        ) from None
    return content, replace(parse_proxy(content, str(place)), mode=status.st_mode)


def parse_proxy(content: SecretBytes, source: str) -> ProxyInfo:
    """Check the content of a proxy file, and return the facts about it.

    Parameters
    ----------
    source : str
        The file's path, for messages.

    Raises
    ------
    InputError
        It is not a proxy, it is incomplete, its key does not match, or it is not valid yet.
    """
    chain = _certificates(content, source)
    kinds = [_proxy_kind(certificate) for certificate in chain]
    kind = kinds[0]
    if kind is None:
        raise InputError(_not_a_proxy(chain[0], source))
    _check_key(content, chain[0], source)
    if None not in kinds:
        raise InputError(
            f"The proxy in {source} is incomplete: the user's own certificate is missing at its end. {_MAKE_ONE}."
        )
    user = kinds.index(None)
    for lower, upper in pairwise(chain[: user + 1]):
        _check_issued(lower, upper, source)
    begin = max(certificate.not_valid_before_utc for certificate in chain[: user + 1])
    if (ahead := begin.timestamp() - time.time()) > 0:
        raise InputError(
            f"The proxy in {source} is not valid yet: it starts in {format_duration(ahead)} "
            f"({begin:%Y-%m-%d %H:%M:%S} UTC). Is this machine's clock right?"
        )
    ends = [certificate.not_valid_after_utc for certificate in chain[: user + 1]]
    voms = next((found for certificate in chain[:user] if (found := _voms(certificate)) is not None), None)
    if voms is not None and voms.until is not None:
        ends.append(voms.until)
    return ProxyInfo(
        source=source, who=_slashed(chain[user].subject), until=min(ends), kind=kind[0], limited=kind[1], voms=voms
    )


def _blocks(content: SecretBytes) -> Iterator[tuple[str, SecretBytes]]:
    """Yield the label and the text of each PEM block."""
    for found in _PEM.finditer(content.reveal()):
        yield found[1].decode(), SecretBytes(found[0])


def _certificates(content: SecretBytes, source: str) -> list[x509.Certificate]:
    from cryptography import x509

    blocks = [block for label, block in _blocks(content) if label in ("CERTIFICATE", "X509 CERTIFICATE")]
    if not blocks:
        raise InputError(f"{source} is not an X.509 proxy: it contains no PEM certificate{_guess_content(content)}.")
    try:
        with warnings.catch_warnings():
            # Grid certificates bend rules for serial numbers and names; enforcing them is not our job.
            warnings.simplefilter("ignore")
            return [x509.load_pem_x509_certificate(block.reveal()) for block in blocks]
    except ValueError:
        raise InputError(f"A certificate in {source} is damaged and cannot be read. {_MAKE_ONE}.") from None


def _guess_content(content: SecretBytes) -> str:
    if re.fullmatch(rb"\s*eyJ[\w-]+\.[\w-]+\.[\w-]*\s*", content.reveal()):
        return "; it is a bearer token, which send_token(client) sends"
    if content.reveal()[:1] == b"\x30":
        return "; it looks like a PKCS#12 bundle (.p12), from which grid tools make a proxy"
    return "" if len(content) else "; it is empty"


def _proxy_kind(certificate: x509.Certificate) -> tuple[str, bool] | None:
    """Return the kind of a proxy and whether it is limited; None if the certificate is not a proxy."""
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
    except ValueError:  # one is malformed, which makes all of them unreadable
        return []


def _not_a_proxy(certificate: x509.Certificate, source: str) -> str:
    from cryptography import x509

    who = _slashed(certificate.subject)
    constraints = [item.value for item in _extensions(certificate) if isinstance(item.value, x509.BasicConstraints)]
    if any(item.ca for item in constraints):
        return f"{source} is not a proxy: it contains the CA certificate {who}. {_MAKE_ONE}."
    return f"{source} is not a proxy: it contains the user certificate {who}, which stays on your machine. {_MAKE_ONE}."


def _check_key(content: SecretBytes, certificate: x509.Certificate, source: str) -> None:
    """Refuse a proxy without the matching private key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    keys = [block for label, block in _blocks(content) if label.endswith("PRIVATE KEY")]
    if not keys:
        raise InputError(f"The proxy in {source} has no private key, so it cannot be used. {_MAKE_ONE}.")
    try:
        public = load_pem_private_key(keys[0].reveal(), password=None).public_key()
    except TypeError:
        raise InputError(
            f"The private key in {source} is encrypted, so this is not a proxy: a proxy's key has no passphrase. "
            f"{_MAKE_ONE}."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"The private key in {source} is damaged and cannot be read. {_MAKE_ONE}.") from None
    if public != certificate.public_key():
        raise InputError(f"The private key in {source} does not match the proxy's certificate. {_MAKE_ONE}.")


def _check_issued(lower: x509.Certificate, upper: x509.Certificate, source: str) -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature):
        raise InputError(
            f"The certificates in {source} are not one chain: {_slashed(lower.subject)} was not issued by the next "
            f"one, {_slashed(upper.subject)}. {_MAKE_ONE}."
        ) from None
    except UnsupportedAlgorithm:
        pass  # an old signature algorithm, for the server to judge


def _voms(certificate: x509.Certificate) -> Voms | None:
    for extension in _extensions(certificate):
        if extension.oid.dotted_string == VOMS_EXTENSION:
            return read_voms(extension.value.public_bytes())
    return None


def _slashed(name: x509.Name) -> str:
    """Format a distinguished name like grid tools: ``/DC=ch/DC=cern/CN=alice``."""
    parts = []
    for attribute in name:
        short = attribute.rfc4514_attribute_name
        parts.append(f"/{_NAMES.get(short, short)}={attribute.value!s}")
    return "".join(parts)
