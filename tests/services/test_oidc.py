"""The login provider of the tests' hub: an OpenID Connect provider with claims as INDIGO IAM gives them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from passing import passing

from services.oidc.server import GROUP, OIDC, ORGANISATION, PROGRAMS, installed

# Nobody listens there: the tests look at where a login leads to, and do not go.
BACK = "http://127.0.0.1:9/hub/oauth_callback"
VERBS = Path(__file__).parents[2] / "services" / "oidc"


@pytest.fixture(scope="session")
def provider(require) -> Iterator[OIDC]:
    require("oidc", PROGRAMS)
    if not installed():
        pytest.skip("oidc is not installed: npm ci --prefix services")
    with passing(OIDC, "oidc") as provider:
        yield provider.start({"hub": [BACK]})


def log_in(provider: OIDC, user: str, password: str) -> requests.Response:
    """Fill the login page in; where that leads back to the client, the answer is the redirection to there."""
    browser = requests.Session()
    asked = {"client_id": "hub", "response_type": "code", "scope": "openid profile email", "redirect_uri": BACK}
    page = browser.get(f"{provider.issuer}/auth", params={**asked, "state": "s"}, timeout=60)
    assert f"Log in to {ORGANISATION}" in page.text
    answer = browser.post(page.url, data={"name": user, "password": password}, timeout=60, allow_redirects=False)
    while answer.is_redirect and not answer.headers["Location"].startswith(BACK):
        answer = browser.get(answer.headers["Location"], timeout=60, allow_redirects=False)
    return answer


def claims(provider: OIDC, answer: requests.Response) -> dict:
    """What the client learns about the user: code, token, user's data."""
    code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
    given = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    token = requests.post(
        f"{provider.issuer}/token", data=given, auth=("hub", provider.secret("hub")), timeout=60
    ).json()["access_token"]
    return requests.get(f"{provider.issuer}/me", headers={"Authorization": f"Bearer {token}"}, timeout=60).json()


def test_a_login_gives_the_claims_that_a_hub_needs(provider):
    told = claims(provider, log_in(provider, "alice", provider.password("alice")))
    assert told["preferred_username"] == "alice"
    assert told["organisation_name"] == ORGANISATION
    assert GROUP in told["groups"]
    told = claims(provider, log_in(provider, "mallory", provider.password("mallory")))
    assert told["preferred_username"] == "mallory"
    assert GROUP not in told["groups"]


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("nobody", "x"), ("__proto__", "x"), ("alice", "")])
def test_a_wrong_password_is_refused_on_the_same_page(provider, user, password):
    answer = log_in(provider, user, password)
    assert answer.status_code == 403
    assert "do not belong together" in answer.text


def test_another_address_gets_no_logins(provider):
    asked = {
        "client_id": "hub",
        "response_type": "code",
        "scope": "openid",
        "redirect_uri": "http://elsewhere.example/",
    }
    answer = requests.get(f"{provider.issuer}/auth", params=asked, timeout=60)
    assert answer.status_code == 400
    assert "redirect_uri" in answer.text


def test_it_is_started_again_with_the_same_users(provider):
    told = subprocess.run(
        [VERBS / "start", "--folder", provider.folder], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert provider.issuer in told
    assert re.search(rf"alice +password {re.escape(provider.password('alice'))}", told)
    assert (provider.folder / "settings.json").stat().st_mode & 0o077 == 0
    assert provider.folder.stat().st_mode & 0o077 == 0
