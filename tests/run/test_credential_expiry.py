"""A run that will outlast the credentials on its workers warns, once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster

from af_kit.run import credential_expiry
from af_kit.run.credential_expiry import CredentialExpiry


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def half_an_hour(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose workers have a token that is valid for 30 minutes."""
    import base64
    import json
    import time

    from af_kit.plugins.tokens import send_token

    def part(content: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'RS256'})}.{part({'sub': 'alice', 'exp': int(time.time()) + 1800})}.c2lnbmF0dXJl"
    monkeypatch.setenv("BEARER_TOKEN", token)
    send_token(client, watch=False, min_lifetime_s=60)
    monkeypatch.setattr(credential_expiry, "_FIRST_S", 0.0)
    monkeypatch.setattr(credential_expiry, "_AGAIN_S", 0.0)
    return client


def test_a_long_run_warns_once(half_an_hour: Client) -> None:
    run = CredentialExpiry(half_an_hour, 10**12)
    with pytest.warns(UserWarning, match="token.*expires in .*this run will take"):
        run.update(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.update(1)


def test_a_short_run_does_not_warn(half_an_hour: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CredentialExpiry(half_an_hour, 2).update(1)


def test_nothing_is_checked_if_nothing_was_sent(client: Client) -> None:
    assert CredentialExpiry(client, 10)._client is None
    assert CredentialExpiry(None, 10)._client is None
