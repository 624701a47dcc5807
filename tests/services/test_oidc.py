"""The login provider of the tests' hub: an OpenID Connect provider with the claims of INDIGO IAM."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from temporary import temporary_service

from services.oidc.server import GROUP, OIDC, ORGANISATION, PROGRAMS, missing

# Nothing listens there: the tests check the address to which a login redirects, and do not follow it.
BACK = "http://127.0.0.1:9/hub/oauth_callback"
COMMANDS = Path(__file__).parents[2] / "services" / "oidc"


@pytest.fixture(scope="module")
def provider(require) -> Iterator[OIDC]:
    require("oidc", PROGRAMS)
    if reason := missing():
        pytest.skip(f"oidc is not installed: {reason}")
    with temporary_service(OIDC, "oidc") as provider:
        yield provider.start({"hub": [BACK]})


def log_in(provider: OIDC, user: str, password: str) -> requests.Response:
    """Fill in the login page. If the login succeeds, the answer is the redirection to the client."""
    browser = requests.Session()
    request = {"client_id": "hub", "response_type": "code", "scope": "openid profile email", "redirect_uri": BACK}
    page = browser.get(f"{provider.issuer}/auth", params={**request, "state": "s"}, timeout=60)
    assert f"Log in to {ORGANISATION}" in page.text
    answer = browser.post(page.url, data={"name": user, "password": password}, timeout=60, allow_redirects=False)
    while answer.is_redirect and not answer.headers["Location"].startswith(BACK):
        answer = browser.get(answer.headers["Location"], timeout=60, allow_redirects=False)
    return answer


def claims(provider: OIDC, answer: requests.Response) -> dict:
    """Return the claims that the client receives: code, then token, then the user's data."""
    code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
    token = requests.post(
        f"{provider.issuer}/token", data=form, auth=("hub", provider.secret("hub")), timeout=60
    ).json()["access_token"]
    return requests.get(f"{provider.issuer}/me", headers={"Authorization": f"Bearer {token}"}, timeout=60).json()


def test_a_login_returns_the_claims_that_a_hub_needs(provider):
    found = claims(provider, log_in(provider, "alice", provider.password("alice")))
    assert found["preferred_username"] == "alice"
    assert found["organisation_name"] == ORGANISATION
    assert GROUP in found["groups"]
    found = claims(provider, log_in(provider, "mallory", provider.password("mallory")))
    assert found["preferred_username"] == "mallory"
    assert GROUP not in found["groups"]


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("nobody", "x"), ("__proto__", "x"), ("alice", "")])
def test_a_wrong_password_is_refused_on_the_same_page(provider, user, password):
    answer = log_in(provider, user, password)
    assert answer.status_code == 403
    assert "Wrong name or password" in answer.text


def test_a_login_does_not_redirect_to_an_unknown_address(provider):
    request = {
        "client_id": "hub",
        "response_type": "code",
        "scope": "openid",
        "redirect_uri": "http://elsewhere.example/",
    }
    answer = requests.get(f"{provider.issuer}/auth", params=request, timeout=60)
    assert answer.status_code == 400
    assert "redirect_uri" in answer.text


def test_a_second_start_has_the_same_users(provider):
    printed = subprocess.run(
        [COMMANDS / "start", "--folder", provider.folder], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert provider.issuer in printed
    assert re.search(rf"alice +password {re.escape(provider.password('alice'))}", printed)
    assert (provider.folder / "settings.json").stat().st_mode & 0o077 == 0
    assert provider.folder.stat().st_mode & 0o077 == 0
