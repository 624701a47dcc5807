"""A certificate authority for tests: its CA directory, host certificates, users and their proxies."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from af_kit.credentials.private_files import write_private
from services.common import find_program

__all__ = ["Authority", "Identity"]

_BASE = [(NameOID.DOMAIN_COMPONENT, "test"), (NameOID.DOMAIN_COMPONENT, "af-kit")]
_YEAR_S = 365 * 86400
# RFC 3820: the extension of a proxy certificate, here with all rights of its user
_PROXY = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14"), bytes.fromhex("300c300a06082b06010505071501")
)


class Identity(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def name(self) -> str:
        """The distinguished name in the format of grid tools."""
        return "".join(f"/{part.rfc4514_attribute_name}={part.value!s}" for part in self.certificate.subject)


@dataclass(frozen=True)
class Authority:
    """The authority of a folder, which has everything that it has issued; each certificate is issued once.

    Parameters
    ----------
    folder : Path
        Other users can only read ``certificates``, the CA directory.
    """

    folder: Path

    @property
    def directory(self) -> Path:
        """The CA directory, for ``X509_CERT_DIR``."""
        return self.folder / "certificates"

    @property
    def bundle(self) -> Path:
        """The file with the authority's own certificate."""
        return self.folder / "certificates" / "af-kit-test-ca.pem"

    def create(self) -> Authority:
        """Create the authority and its CA directory, if they do not exist."""
        if self.bundle.exists():
            return self
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.directory.mkdir(mode=0o755, exist_ok=True)
        self._issue("ca", _name("af-kit test CA"), None, _YEAR_S, _ca_extensions())
        text = (self.folder / "ca.pem").read_bytes()
        policy = "access_id_CA X509 '{}'\npos_rights globus CA:sign\ncond_subjects globus '\"/DC=test/DC=af-kit/*\"'\n"
        for option in ("-subject_hash", "-subject_hash_old"):  # the hash of OpenSSL, and of versions before 1.0
            name = _hash(self.folder / "ca.pem", option)
            (self.directory / f"{name}.0").write_bytes(text)
            (self.directory / f"{name}.signing_policy").write_text(policy.format(self._load("ca").name))
        self.bundle.write_bytes(text)
        return self

    def host(self, *names: str) -> Identity:
        """Return the certificate of a host with these ``names``."""
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        return self._issue(f"host-{names[0]}", _name(names[0]), "ca", _YEAR_S, [(alternatives, False), _plain()])

    def user(self, name: str) -> Identity:
        """Return the certificate of a user."""
        return self._issue(f"user-{name}", _name("Users", name), "ca", _YEAR_S, [_plain(), _usage()])

    def write_proxy(self, path: Path, user: str = "alice", *, lifetime_s: float = 12 * 3600) -> Path:
        """Write an X.509 proxy of a user; an existing file is replaced in one step, as when a proxy is renewed.

        Parameters
        ----------
        lifetime_s : float
            The lifetime from now; if it is negative, the proxy has expired.
        """
        signer = self.user(user)
        key = _new_key()
        number = x509.random_serial_number()
        subject = _name("Users", user, str(number % 10**9))
        proxy = _sign(
            subject, signer.certificate.subject, key, signer.key, lifetime_s, [(_PROXY, True), _usage()], number
        )
        return write_private(path, _pem(proxy) + _key_pem(key) + _pem(signer.certificate))

    def _issue(
        self,
        label: str,
        subject: x509.Name,
        issuer: str | None,
        lifetime_s: float,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
    ) -> Identity:
        certificate = self.folder / f"{label}.pem"
        if not certificate.exists():
            key = _new_key()
            signer = Identity(None, key) if issuer is None else self._load(issuer)  # type: ignore[arg-type]
            issuer_name = subject if issuer is None else signer.certificate.subject
            write_private(self.folder / f"{label}.key", _key_pem(key))
            signed = _sign(subject, issuer_name, key, signer.key, lifetime_s, extensions)
            certificate.write_bytes(_pem(signed))
        return self._load(label)

    def _load(self, label: str) -> Identity:
        key = serialization.load_pem_private_key((self.folder / f"{label}.key").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return Identity(x509.load_pem_x509_certificate((self.folder / f"{label}.pem").read_bytes()), key)


def _name(*common_names: str) -> x509.Name:
    parts = [*_BASE, *((NameOID.COMMON_NAME, name) for name in common_names)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    signer: rsa.RSAPrivateKey,
    lifetime_s: float,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    serial: int | None = None,
) -> x509.Certificate:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(seconds=lifetime_s))
    )
    for extension, critical in extensions:
        made = made.add_extension(extension, critical)
    return made.sign(signer, hashes.SHA256())


def _ca_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.BasicConstraints(True, None), True), _usage(key_cert_sign=True, crl_sign=True)]


def _plain() -> tuple[x509.ExtensionType, bool]:
    return x509.BasicConstraints(False, None), True


def _usage(**more: bool) -> tuple[x509.ExtensionType, bool]:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    usual = {"digital_signature": True, "key_encipherment": True}
    return x509.KeyUsage(**{name: (usual | more).get(name, False) for name in names}), True


def _hash(certificate: Path, option: str) -> str:
    command = [find_program("openssl"), "x509", "-in", str(certificate), "-noout", option]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
