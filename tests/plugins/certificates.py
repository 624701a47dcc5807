"""Credentials for tests: an authority, users, proxies in all formats of grid tools, and tokens."""

from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

# ProxyCertInfo with the policies "inherit all" and "limited", as DER
INHERIT_ALL = bytes.fromhex("300c300a06082b06010505071501")
LIMITED = bytes.fromhex("300f300d060b2b060104019b5001010109")
RFC = "1.3.6.1.5.5.7.1.14"
DRAFT = "1.3.6.1.4.1.3536.1.222"
VOMS = "1.3.6.1.4.1.8005.100.100.5"


# The variables in which grid tools and XRootD read the paths of credentials
X509_VARIABLES = ("X509_USER_PROXY", "X509_CERT_DIR", "X509_CERT_BUNDLE", "XrdSecGSIUSERPROXY", "XrdSecGSICADIR")


@dataclass(frozen=True)
class Holder:
    """A certificate, its key, and the certificates above it up to the user's own."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    above: tuple[x509.Certificate, ...] = ()

    def pem(self, password: bytes | None = None) -> bytes:
        """Return the content of a proxy file: certificate, key, chain."""
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, encryption
        )
        return pem(self.certificate) + key + b"".join(map(pem, self.above))

    def secret_lines(self) -> list[str]:
        """Return the lines of the private key, which must not appear anywhere."""
        lines = [line for line in self.pem().decode().split("PRIVATE KEY-----")[1].splitlines() if len(line) > 30]
        assert len(lines) > 10
        return lines


class Authority:
    """An authority that signs certificates. Tests start with `user` and `proxy`."""

    def __init__(self) -> None:
        self.key = new_key()
        self.name = name("Authority of these tests")
        self.certificate = sign(self.name, self.name, self.key, self.key, extensions=[_basic(True)])

    def user(self, common_name: str = "alice", seconds: float = 30 * 86400) -> Holder:
        key = new_key()
        subject = name("Users", common_name)
        return Holder(sign(subject, self.name, key, self.key, seconds, extensions=[_basic(False)]), key)

    def folder(self, path: Path) -> Path:
        """Create a CA directory with this authority's certificate."""
        path.mkdir()
        (path / "0a1b2c3d.0").write_bytes(pem(self.certificate))
        return path


def proxy(
    of: Holder,
    seconds: float = 12 * 3600,
    *,
    begin_s: float = -300,
    oid: str | None = RFC,
    policy: bytes = INHERIT_ALL,
    last: str = "1234567",
    voms: bytes | None = None,
) -> Holder:
    """Return a proxy of a user's certificate, or of another proxy."""
    key = new_key()
    issuer = of.certificate.subject
    subject = x509.Name([*issuer, x509.NameAttribute(NameOID.COMMON_NAME, last)])
    extensions: list[tuple[Any, bool]] = []
    if oid is not None:
        extensions.append((x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), policy), True))
    if voms is not None:
        extensions.append((x509.UnrecognizedExtension(x509.ObjectIdentifier(VOMS), voms), False))
    certificate = sign(subject, issuer, key, of.key, seconds, begin_s=begin_s, extensions=extensions)
    return Holder(certificate, key, (of.certificate, *of.above))


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a file as ``voms-proxy-init`` does: nobody reads an incomplete one."""
    new = path.with_name(path.name + ".new")
    handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    new.chmod(mode)
    new.replace(path)
    return path


def attributes(vo: str, fqans: list[str], until: datetime) -> bytes:
    """Return the extension of a VOMS proxy, with the fields that the kit reads: DER of one attribute certificate."""

    def der(tag: int, *parts: bytes) -> bytes:
        content = b"".join(parts)
        size = len(content)
        length = bytes([size]) if size < 128 else bytes([0x82, size >> 8, size & 0xFF])
        return bytes([tag]) + length + content

    def moment_of(moment: datetime) -> bytes:
        return der(0x18, f"{moment:%Y%m%d%H%M%SZ}".encode())

    policy = der(0xA0, der(0x86, f"{vo}://voms.test:15002".encode()))
    values = der(0x30, *(der(0x04, fqan.encode()) for fqan in fqans))
    attribute = der(0x30, der(0x06, bytes.fromhex("2b06010401be45646404")), der(0x31, der(0x30, policy, values)))
    validity = der(0x30, moment_of(datetime.now(UTC) - timedelta(minutes=5)), moment_of(until))
    info = der(
        0x30, der(0x02, b"\1"), der(0x30), der(0xA0), der(0x30), der(0x02, b"\5"), validity, der(0x30, attribute)
    )
    return der(0x30, der(0x30, der(0x30, info, der(0x30), der(0x03, b"\0"))))


_CLAIMS = {
    "iss": "https://issuer.test/",
    "sub": "alice",
    "aud": "https://storage.test",
    "scope": "storage.read:/ storage.create:/user/alice",
    "wlcg.ver": "1.0",
}


def jwt(seconds: float | None = 3000, **claims) -> bytes:
    """Return a token like those of an issuer, with an invalid signature."""
    content = {**_CLAIMS, **({} if seconds is None else {"exp": int(time.time() + seconds)}), **claims}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, content)]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in [*parts, os.urandom(256)])


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)  # too short for real use, but quick to generate


def name(*common_names: str) -> x509.Name:
    domain = [x509.NameAttribute(NameOID.DOMAIN_COMPONENT, part) for part in ("ch", "test")]
    return x509.Name(domain + [x509.NameAttribute(NameOID.COMMON_NAME, part) for part in common_names])


def sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    by: rsa.RSAPrivateKey,
    seconds: float = 30 * 86400,
    *,
    begin_s: float = -86400,
    extensions: list[tuple[Any, bool]] = [],  # noqa: B006 - not changed
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + timedelta(seconds=min(begin_s, seconds - 1)))
    builder = builder.not_valid_after(now + timedelta(seconds=seconds))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(by, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _basic(ca: bool) -> tuple[x509.BasicConstraints, bool]:
    return x509.BasicConstraints(ca=ca, path_length=None), True
