from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from af_kit.cluster.kubernetes import proxy_secret
from af_kit.errors import InputError


def write_proxy(path, hours: float) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1))
    certificate = builder.not_valid_after(now + timedelta(hours=hours)).sign(key, hashes.SHA256())
    path.touch(mode=0o600)
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_an_unusable_proxy_is_refused_before_anything_is_created(tmp_path):
    path = tmp_path / "proxy"
    with pytest.raises(InputError, match=r"X\.509 proxy .* cannot be read: No such file"):
        proxy_secret.ProxySecret(path)
    path.write_text("something else")
    with pytest.raises(InputError, match=r"is not an X\.509 proxy"):
        proxy_secret.ProxySecret(path)
    write_proxy(path, -1)
    with pytest.raises(InputError, match="expired"):
        proxy_secret.ProxySecret(path)
    write_proxy(path, 12)
    assert "PRIVATE" not in repr(vars(proxy_secret.ProxySecret(path)))


def test_which_proxy_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "mine"))
    assert proxy_secret.proxy_file(True) == tmp_path / "mine"
    assert proxy_secret.proxy_file(str(tmp_path / "other")) == tmp_path / "other"
    monkeypatch.delenv("X509_USER_PROXY")
    assert str(proxy_secret.proxy_file(True)) == f"/tmp/x509up_u{os.geteuid()}"
