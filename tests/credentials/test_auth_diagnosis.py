from __future__ import annotations

import pytest
from certificates import Authority, jwt, proxy, write

from af_kit.credentials.auth_diagnosis import diagnose_refusal
from af_kit.credentials.xrootd_paths import stale_paths


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch, tmp_path):
    for name in ("X509_USER_PROXY", "XrdSecGSIUSERPROXY", "X509_CERT_DIR", "BEARER_TOKEN", "BEARER_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("af_kit.credentials.auth_diagnosis.default_proxy", lambda: tmp_path / "none")


def test_what_is_wrong_with_the_proxy(tmp_path, monkeypatch):
    authority = Authority()
    alice = authority.user()
    assert "no credentials" in diagnose_refusal()
    place = tmp_path / "x509up"
    monkeypatch.setenv("X509_USER_PROXY", str(place))
    assert f"No X.509 proxy was sent here ({place}" in diagnose_refusal()
    write(place, proxy(alice, -600).pem())
    assert "expired 10 min ago" in diagnose_refusal()
    write(place, proxy(alice, 7300).pem())
    monkeypatch.setenv("X509_CERT_DIR", "/nowhere")
    assert "/nowhere contains no CA certificates" in diagnose_refusal()
    monkeypatch.setenv("X509_CERT_DIR", str(authority.folder(tmp_path / "certificates")))
    assert "Valid here: X.509 proxy of" in diagnose_refusal()
    assert "2 h 1 min left" in diagnose_refusal()
    monkeypatch.setitem(stale_paths, str(place), "/old/path")
    assert "keeps using /old/path. Restart this worker" in diagnose_refusal()


def test_what_is_wrong_with_the_token(tmp_path, monkeypatch):
    source = write(tmp_path / "token", jwt(-130))
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(source))
    assert "expired 2 min ago" in diagnose_refusal()
    write(source, jwt())
    assert "Valid here: bearer token of alice" in diagnose_refusal()
