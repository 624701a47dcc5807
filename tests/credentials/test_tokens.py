from __future__ import annotations

import os

import pytest
from certificates import jwt, write

from af_kit.credentials.secret import SecretBytes
from af_kit.credentials.tokens import find_token, parse_token, read_token
from af_kit.errors import InputError


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def parse(content: bytes):
    return parse_token(SecretBytes(content), "/tmp/here")


def test_the_claims_of_a_token():
    info = parse(jwt(3000))
    assert info.who == "alice at https://issuer.test/"
    assert info.scope == ("storage.read:/", "storage.create:/user/alice")
    assert info.audience == ("https://storage.test",)
    assert 2990 < info.seconds_left <= 3000
    assert str(info).startswith("bearer token of alice at https://issuer.test/ (storage.read:/ storage.create")
    assert parse(jwt(aud=["a", "b"])).audience == ("a", "b")


@pytest.mark.parametrize("content", [b"opaque-token_123", b"eyJub3Qi.bm90IGpzb24.c2ln", jwt(None)])
def test_a_token_without_an_expiry_time_is_accepted(content):
    info = parse(content)
    assert info.until is None
    assert info.seconds_left == float("inf")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b'{"access_token": "eyJ"}', "only its `access_token` is the token"),
        (b"-----BEGIN CERTIFICATE-----\nMII\n", "X.509 proxy, which send_proxy"),
        (b"two words", "characters that a token cannot have"),
        (jwt(exp="soon"), "no usable expiry time"),
    ],
)
def test_anything_but_a_token_is_refused(content, reason):
    with pytest.raises(InputError, match=f"/tmp/here.*{reason}"):
        parse(content)


def test_a_token_is_found_by_wlcg_discovery(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(InputError, match=rf"are not set, and you own no file {tmp_path}/bt_u\d+ or /tmp/bt_u\d+\."):
        find_token()
    runtime = write(tmp_path / f"bt_u{os.geteuid()}", jwt())
    assert find_token() == runtime
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"BEARER_TOKEN_FILE names .*none, which does not exist"):
        find_token()
    named = write(tmp_path / "named", b"\n " + jwt(sub="bob") + b"\n")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(named))
    assert find_token() == named
    secret, info = read_token(named)
    assert secret.reveal() == named.read_bytes().strip()
    assert info.who.startswith("bob")
    monkeypatch.setenv("BEARER_TOKEN", jwt(sub="carol").decode())
    assert find_token() is None
    assert read_token(None)[1].who.startswith("carol")
