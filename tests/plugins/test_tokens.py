from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

import pytest
from certificates import jwt, write
from distributed import Client
from plugin_tools import local_cluster
from waiting import until

from af_kit.errors import InputError
from af_kit.plugins.credential_handle import remove_credential
from af_kit.plugins.lifetime import lifetimes
from af_kit.plugins.tokens import TokenPlugin, send_token


@pytest.fixture(scope="module", autouse=True)
def no_credentials(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY", "XrdSecGSIUSERPROXY"):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with local_cluster(tmp_path_factory.mktemp("workers"), n_workers=1, env={"BEARER_TOKEN": "stale"}) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        yield client
        remove_credential(client, TokenPlugin.name)


def look() -> dict:
    path = Path(os.environ.get("BEARER_TOKEN_FILE", "/nowhere"))
    return {
        "variable": os.environ.get("BEARER_TOKEN"),
        "path": str(path),
        "content": path.read_bytes() if path.exists() else None,
        "mode": stat.S_IMODE(path.stat().st_mode) if path.exists() else None,
    }


def test_a_worker_has_the_token_in_a_file_and_not_in_a_variable(client, cluster, tmp_path):
    before = client.submit(look, pure=False).result()
    assert (before["variable"], before["content"]) == ("stale", None)
    source = write(tmp_path / "token", jwt() + b"\n")
    handle = send_token(client, source)
    seen = client.submit(look, pure=False).result()
    assert seen["variable"] is None
    assert (seen["content"], seen["mode"]) == (source.read_bytes().strip(), 0o600)
    assert list(handle.workers.values()) == [seen["path"]]
    assert "49 min left, on 1 worker and every later one, renewed from" in repr(handle)
    assert [item.what for item in lifetimes(client)] == ["bearer token"]
    handle.remove()
    after = client.submit(look, pure=False).result()
    assert (after["variable"], after["content"]) == ("stale", None)  # as it was before


def test_a_changed_token_is_sent(client, tmp_path, monkeypatch):
    monkeypatch.setattr("af_kit.plugins.credential_watcher._CHECK_S", 0.05)
    source = write(tmp_path / "token", jwt())
    handle = send_token(client, source)
    path = look_at(client)["path"]
    new = jwt(jti="2")
    write(source, new)
    until(lambda: look_at(client)["content"] == new, "the new token")
    assert look_at(client)["path"] == path
    assert handle.watching


def look_at(client) -> dict:
    return next(iter(client.run(look).values()))


def test_a_token_in_a_variable_is_watched_too(client, monkeypatch):
    monkeypatch.setattr("af_kit.plugins.credential_watcher._CHECK_S", 0.05)
    monkeypatch.setenv("BEARER_TOKEN", jwt(jti="1").decode())
    handle = send_token(client)
    assert handle.info.source == "$BEARER_TOKEN"
    new = jwt(jti="2")
    monkeypatch.setenv("BEARER_TOKEN", new.decode())
    until(lambda: look_at(client)["content"] == new, "the new token")
    handle.stop()


def test_a_token_that_has_expired_or_expires_soon_is_refused(client, tmp_path):
    with pytest.raises(InputError, match=r"expired 2 min ago.*oidc-token"):
        send_token(client, write(tmp_path / "expired", jwt(-130)))
    short = write(tmp_path / "short", jwt(40))
    with pytest.raises(InputError, match=r"only 3. s left.*min_lifetime_s=60"):
        send_token(client, short)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        send_token(client, short, min_lifetime_s=0, watch=False)
