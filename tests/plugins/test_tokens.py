from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

import pytest
from certificates import jwt, write
from distributed import Client, LocalCluster
from waiting import until

from af_kit.credentials.auth_diagnosis import diagnose_refusal
from af_kit.credentials.secret import SecretBytes
from af_kit.errors import InputError
from af_kit.plugins.credential_handle import take_off
from af_kit.plugins.lifetime import lifetimes
from af_kit.plugins.tokens import TokenPlugin, find_token, parse_token, read_token, send_token


def parse(content: bytes):
    return parse_token(SecretBytes(content), "/tmp/here")


@pytest.fixture(scope="module", autouse=True)
def no_credentials(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY", "XrdSecGSIUSERPROXY"):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        local_directory=str(tmp_path_factory.mktemp("workers")),
        env={"BEARER_TOKEN": "stale"},
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        yield client
        take_off(client, TokenPlugin.name)


def look() -> dict:
    path = Path(os.environ.get("BEARER_TOKEN_FILE", "/nowhere"))
    return {
        "variable": os.environ.get("BEARER_TOKEN"),
        "path": str(path),
        "content": path.read_bytes() if path.exists() else None,
        "mode": stat.S_IMODE(path.stat().st_mode) if path.exists() else None,
    }


def test_what_a_token_says():
    about = parse(jwt(3000))
    assert about.who == "alice at https://issuer.test/"
    assert about.scope == ("storage.read:/", "storage.create:/user/alice")
    assert about.audience == ("https://storage.test",)
    assert 2990 < about.seconds_left <= 3000
    assert str(about).startswith("bearer token of alice at https://issuer.test/ (storage.read:/ storage.create")
    assert parse(jwt(aud=["a", "b"])).audience == ("a", "b")


@pytest.mark.parametrize("content", [b"opaque-token_123", b"eyJub3Qi.bm90IGpzb24.c2ln", jwt(None)])
def test_a_token_that_does_not_tell_its_end_is_taken_as_it_is(content):
    about = parse(content)
    assert about.until is None
    assert about.seconds_left == float("inf")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b'{"access_token": "eyJ"}', "`access_token` is the token"),
        (b"-----BEGIN CERTIFICATE-----\nMII\n", "X.509 proxy; send_proxy"),
        (b"two words", "characters that no token has"),
        (jwt(exp="soon"), "no usable expiry time"),
    ],
)
def test_what_is_not_a_token_is_refused(content, reason):
    with pytest.raises(InputError, match=f"/tmp/here.*{reason}"):
        parse(content)


def test_found_as_the_discovery_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(InputError, match=rf"are not set, and of {tmp_path}/bt_u\d+, /tmp/bt_u\d+ none exists"):
        find_token()
    runtime = write(tmp_path / f"bt_u{os.geteuid()}", jwt())
    assert find_token() == runtime
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"BEARER_TOKEN_FILE names .*none, which does not exist"):
        find_token()
    named = write(tmp_path / "named", b"\n " + jwt(sub="bob") + b"\n")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(named))
    assert find_token() == named
    secret, about = read_token(named)
    assert secret.reveal() == named.read_bytes().strip()
    assert about.who.startswith("bob")
    monkeypatch.setenv("BEARER_TOKEN", jwt(sub="carol").decode())
    assert find_token() is None
    assert read_token(None)[1].who.startswith("carol")


def test_a_worker_has_it_in_a_file_and_not_in_a_variable(client, cluster, tmp_path):
    before = client.submit(look, pure=False).result()
    assert (before["variable"], before["content"]) == ("stale", None)
    source = write(tmp_path / "token", jwt() + b"\n")
    sent = send_token(client, source)
    seen = client.submit(look, pure=False).result()
    assert seen["variable"] is None
    assert (seen["content"], seen["mode"]) == (source.read_bytes().strip(), 0o600)
    assert list(sent.workers.values()) == [seen["path"]]
    assert "49 min left, on 1 worker and every later one, renewed from" in repr(sent)
    assert [item.what for item in lifetimes(client)] == ["bearer token"]
    sent.remove()
    after = client.submit(look, pure=False).result()
    assert (after["variable"], after["content"]) == ("stale", None)  # as it was before


def test_renewed_when_it_changes(client, tmp_path, monkeypatch):
    monkeypatch.setattr("af_kit.plugins.credential_watcher.LOOK_S", 0.05)
    source = write(tmp_path / "token", jwt())
    sent = send_token(client, source)
    path = look_at(client)["path"]
    new = jwt(jti="2")
    write(source, new)
    until(lambda: look_at(client)["content"] == new, "the new token")
    assert look_at(client)["path"] == path
    assert sent.watching


def look_at(client) -> dict:
    return next(iter(client.run(look).values()))


def test_the_variable_is_watched_too(client, monkeypatch):
    monkeypatch.setattr("af_kit.plugins.credential_watcher.LOOK_S", 0.05)
    monkeypatch.setenv("BEARER_TOKEN", jwt(jti="1").decode())
    sent = send_token(client)
    assert sent.info.source == "$BEARER_TOKEN"
    new = jwt(jti="2")
    monkeypatch.setenv("BEARER_TOKEN", new.decode())
    until(lambda: look_at(client)["content"] == new, "the new token")
    sent.stop()


def test_expired_or_short(client, tmp_path):
    with pytest.raises(InputError, match=r"expired 2 min ago.*oidc-token"):
        send_token(client, write(tmp_path / "expired", jwt(-130)))
    short = write(tmp_path / "short", jwt(40))
    with pytest.raises(InputError, match=r"only 3. s left.*min_lifetime_s=60"):
        send_token(client, short)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        send_token(client, short, min_lifetime_s=0, watch=False)


def test_why_a_login_was_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("af_kit.credentials.auth_diagnosis.default_proxy", lambda: tmp_path / "none")
    source = write(tmp_path / "token", jwt(-130))
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(source))
    assert "expired 2 min ago" in diagnose_refusal()
    write(source, jwt())
    assert "Valid here: bearer token of alice" in diagnose_refusal()
