"""Checks of proxies, tokens and CA certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dask
from certificates import Authority, attributes, jwt, pem, proxy, write
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from doctor_tools import all_text, of

import af_kit as af


def test_a_good_proxy(authority, tmp_path, monkeypatch):
    until = datetime.now(UTC) + timedelta(hours=10)
    holder = proxy(authority.user(), voms=attributes("cms", ["/cms/Role=NULL"], until))
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "x509", holder.pem())))
    monkeypatch.setenv("X509_CERT_DIR", str(authority.folder(tmp_path / "ca")))
    found = af.doctor()
    assert of(found, "X509_CERT_DIR").state == of(found, "X.509 proxy").state == of(found, "VO").state == "ok"
    assert "CN=alice" in of(found, "X.509 proxy").seen
    assert of(found, "VO").seen == "cms: /cms/Role=NULL"
    assert not [line for line in holder.secret_lines() if line in all_text(found)]


def test_a_proxy_that_has_expired_or_soon_will(authority, tmp_path, monkeypatch):
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "x509", proxy(authority.user(), -60).pem())))
    expired = of(af.doctor(), "X.509 proxy")
    assert expired.state == "problem"
    assert "expired" in expired.seen
    assert "voms-proxy-init" in expired.advice
    write(tmp_path / "x509", proxy(authority.user(), 1200).pem())
    assert of(af.doctor(), "X.509 proxy").state == "warning"
    with dask.config.set({"af_kit.doctor.min_lifetime_s": 600}):
        assert of(af.doctor(), "X.509 proxy").state == "ok"


def test_a_proxy_without_vo_that_others_can_read(authority, tmp_path, monkeypatch):
    path = write(tmp_path / "x509", proxy(authority.user()).pem(), mode=0o644)
    monkeypatch.setenv("X509_USER_PROXY", str(path))
    found = af.doctor()
    seen = [(f.check, f.state) for f in found.findings if f.check in ("X.509 proxy", "VO")]
    assert seen == [("X.509 proxy", "ok"), ("X.509 proxy", "warning"), ("VO", "warning")]
    assert f"chmod 600 {path}" in str(found)


def test_a_missing_proxy_and_a_file_that_is_not_a_proxy(tmp_path, monkeypatch):
    assert of(af.doctor(), "X.509 proxy").state == "problem"
    monkeypatch.setenv("X509_USER_PROXY", str(write(tmp_path / "x509", b"nothing")))
    assert "is not an X.509 proxy" in of(af.doctor(), "X.509 proxy").seen


def test_tokens(tmp_path, monkeypatch):
    assert of(af.doctor(), "bearer token").state == "ok"
    token = jwt(3000)
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(write(tmp_path / "token", token)))
    found = af.doctor()
    assert of(found, "bearer token").state == "ok"
    assert "storage.read:/" in of(found, "bearer token").seen
    assert token.decode() not in all_text(found)
    write(tmp_path / "token", jwt(-10))
    assert of(af.doctor(), "bearer token").state == "problem"


def revocations(authority: Authority, until: datetime) -> bytes:
    start = until - timedelta(days=30)
    builder = x509.CertificateRevocationListBuilder(authority.name, start, until)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_authorities_and_their_revocation_lists(authority, tmp_path, monkeypatch):
    folder = authority.folder(tmp_path / "ca")
    monkeypatch.setenv("X509_CERT_DIR", str(folder))
    now = datetime.now(UTC)
    (folder / "0a1b2c3d.r0").write_bytes(revocations(authority, now + timedelta(days=3)))
    assert of(af.doctor(), "CRLs").state == "ok"
    (folder / "0a1b2c3d.r0").write_bytes(revocations(authority, now - timedelta(days=3)))
    assert of(af.doctor(), "CRLs").state == "warning"
    (folder / "0a1b2c3d.0").write_bytes(pem(authority.user(seconds=-10).certificate))
    assert "all expired" in of(af.doctor(), "X509_CERT_DIR").seen
    (folder / "0a1b2c3d.0").unlink()
    assert of(af.doctor(), "X509_CERT_DIR").state == "problem"
