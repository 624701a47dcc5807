from __future__ import annotations

import os

import pytest
from certificates import DRAFT, LIMITED, RFC, X509_VARIABLES, Authority, Holder, name, pem, proxy, sign, write

from af_kit.credentials import x509
from af_kit.credentials.credential import check_lifetime
from af_kit.credentials.secret import SecretBytes
from af_kit.credentials.x509 import find_proxy, is_expired, parse_proxy, proxy_path, read_proxy, seconds_left
from af_kit.errors import InputError

ALICE = "/DC=ch/DC=test/CN=Users/CN=alice"


@pytest.fixture(autouse=True)
def default_path(monkeypatch, tmp_path):
    """Hide the machine's own proxy and CA certificates; return the default path of a proxy."""
    for variable in X509_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    default = tmp_path / "x509up_default"
    monkeypatch.setattr("af_kit.credentials.x509.default_proxy", lambda: default)
    return default


@pytest.fixture(scope="module")
def good(alice):
    return proxy(alice)


def parse(content: bytes):
    return parse_proxy(SecretBytes(content), "/tmp/here")


@pytest.mark.parametrize(
    ("made", "kind", "limited"),
    [
        ({"oid": RFC}, "RFC 3820", False),
        ({"oid": RFC, "policy": LIMITED}, "RFC 3820", True),
        ({"oid": DRAFT}, "draft of RFC 3820", False),
        ({"oid": None, "last": "proxy"}, "legacy Globus", False),
        ({"oid": None, "last": "limited proxy"}, "legacy Globus", True),
    ],
)
def test_all_kinds_of_proxies_are_read(alice, made, kind, limited):
    info = parse(proxy(alice, 7200, **made).pem())
    assert (info.kind, info.limited, info.who) == (kind, limited, ALICE)
    assert 7100 < info.seconds_left <= 7200


def test_a_proxy_of_a_proxy_has_the_users_identity(alice):
    assert parse(proxy(proxy(alice, last="11"), last="22").pem()).who == ALICE


def test_the_first_certificate_to_expire_sets_the_expiry(authority):
    short = authority.user("bob", seconds=900)
    assert 800 < parse(proxy(short, 7200).pem()).seconds_left <= 900
    shorter = proxy(proxy(short, 300), 7200)
    assert 200 < parse(shorter.pem()).seconds_left <= 300


def test_a_ca_certificate_at_the_end_is_ignored(authority, good):
    assert parse(good.pem() + pem(authority.certificate)).who == ALICE


def broken(alice: Holder, authority: Authority) -> dict[str, tuple[bytes, str]]:
    good, other = proxy(alice), proxy(alice)
    certificate, key, end = good.pem().partition(b"-----BEGIN RSA")[0], good.key, pem(alice.certificate)
    alone = Holder(good.certificate, key).pem()
    wrong_key = Holder(good.certificate, other.key, good.above).pem()
    mallory = Authority().user("alice")
    middle = len(good.pem()) // 8
    return {
        "the user's own": (alice.pem(), "the user certificate /DC=ch/DC=test/CN=Users/CN=alice, .*voms-proxy-init"),
        "an authority's": (pem(authority.certificate), "the CA certificate /DC"),
        "no key": (certificate + end, "no private key"),
        "encrypted": (good.pem(password=b"secret"), "is encrypted"),
        "another key": (wrong_key, "does not match the proxy's certificate"),
        "no user certificate": (alone, "is incomplete"),
        "another chain": (
            Holder(good.certificate, key, (mallory.certificate,)).pem(),
            "are not one chain",
        ),
        "damaged certificate": (good.pem()[:middle] + b"????" + good.pem()[middle + 4 :], "damaged"),
        "damaged key": (good.pem().replace(b"PRIVATE KEY-----\n", b"PRIVATE KEY-----\nAAAA", 1), "key.*is damaged"),
        "not yet": (proxy(alice, begin_s=3600).pem(), "not valid yet: it starts in 59 min.*clock"),
        "empty": (b"", "no PEM certificate; it is empty"),
        "text": (b"hello\n", "contains no PEM certificate"),
        "token": (b"eyJhbGciOi.eyJzdWIi.c2ln\n", "a bearer token, which send_token"),
        "p12": (b"\x30\x82\x01\x02", "PKCS#12"),
    }


def test_anything_but_a_valid_proxy_is_refused_with_the_reason(alice, authority):
    for what, (content, reason) in broken(alice, authority).items():
        with pytest.raises(InputError, match=f"(?s){reason}") as caught:
            parse(content)
        assert "/tmp/here" in str(caught.value), what
        assert "\n" not in str(caught.value), what


def test_a_certificate_that_resembles_a_legacy_proxy_is_refused(authority):
    key = authority.key
    certificate = sign(name("Users", "proxy"), authority.name, key, key)
    with pytest.raises(InputError, match="the user certificate"):
        parse(Holder(certificate, key).pem())


def test_a_proxy_with_too_little_lifetime_is_refused(alice):
    info = parse(proxy(alice, 300).pem())
    check_lifetime(info, 60)
    with pytest.raises(InputError, match=r"only 4 min left.*min_lifetime_s=600 \(10 min\).*voms-proxy-init"):
        check_lifetime(info, 600)


def test_an_expired_proxy_is_refused(alice):
    info = parse(proxy(alice, -7300).pem())
    with pytest.raises(InputError, match=r"/tmp/here expired 2 h 1 min ago \(until 20.*CN=alice.*voms-proxy-init"):
        check_lifetime(info, 0)


def test_a_proxy_is_found_by_its_variable_or_at_the_default_path(good, default_path, tmp_path, monkeypatch):
    write(default_path, good.pem())
    assert find_proxy() == default_path
    elsewhere = write(tmp_path / "mine", good.pem())
    monkeypatch.setenv("X509_USER_PROXY", str(elsewhere))
    assert find_proxy() == elsewhere
    secret, info = read_proxy()
    assert secret.reveal() == good.pem()
    assert info.source == str(elsewhere)


def test_the_default_path_is_that_of_grid_tools(monkeypatch):
    monkeypatch.undo()
    assert str(x509.default_proxy()) == f"/tmp/x509up_u{os.geteuid()}"


def test_without_a_proxy_the_error_says_where_it_was_expected_and_how_to_make_one(default_path, good, monkeypatch):
    with pytest.raises(InputError, match=f"X509_USER_PROXY is not set and {default_path} does not.*voms-proxy-init"):
        find_proxy()
    monkeypatch.setenv("X509_USER_PROXY", "/nowhere/proxy")
    with pytest.raises(InputError, match=r"names /nowhere/proxy, which does not exist\. Make one with `voms"):
        find_proxy()
    write(default_path, good.pem())
    with pytest.raises(InputError, match=f"There is a file {default_path}: unset"):
        find_proxy()
    with pytest.raises(InputError, match="/nowhere/other does not exist"):
        read_proxy("/nowhere/other")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_file_at_the_default_path_is_refused(good, default_path):
    write(default_path, good.pem())
    os.chown(default_path, 12345, -1)
    with pytest.raises(InputError, match=r"another user \(uid 12345\)"):
        find_proxy()


def test_anything_but_a_small_regular_file_is_refused(tmp_path, good):
    with pytest.raises(InputError, match="not a regular file"):
        read_proxy(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read_proxy(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    with pytest.raises(InputError, match="2,000,000 bytes"):
        read_proxy(tmp_path / "large")
    write(tmp_path / "file", good.pem())
    with pytest.raises(InputError, match="cannot be read"):
        read_proxy(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path, good):
    with pytest.raises(InputError, match=r"cannot be read: Permission denied.*0600"):
        read_proxy(write(tmp_path / "proxy", good.pem(), mode=0o000))


def test_the_path_of_a_proxy_that_need_not_exist(default_path, monkeypatch):
    assert proxy_path() == default_path
    monkeypatch.setenv("X509_USER_PROXY", "/nowhere/proxy")
    assert str(proxy_path()) == "/nowhere/proxy"


def test_seconds_left_of_the_first_certificate_to_expire(authority, tmp_path):
    content = proxy(authority.user("bob", seconds=900), 7200).pem()
    assert 800 < seconds_left(content) <= 900
    assert not is_expired(write(tmp_path / "valid", content))
    assert is_expired(write(tmp_path / "expired", proxy(authority.user(), -60).pem()))
    assert is_expired(write(tmp_path / "text", b"hello"))
    assert is_expired(tmp_path / "absent")
