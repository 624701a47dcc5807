from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from certificates import DRAFT, LIMITED, RFC, Authority, Holder, attributes, name, pem, proxy, sign, write

from af_kit.credentials import x509
from af_kit.credentials.auth_diagnosis import diagnose_refusal
from af_kit.credentials.ca_certificates import find_authorities
from af_kit.credentials.credential import check_lifetime
from af_kit.credentials.secret import SecretBytes
from af_kit.credentials.x509 import find_proxy, parse_proxy, read_proxy
from af_kit.errors import InputError

ALICE = "/DC=ch/DC=test/CN=Users/CN=alice"


@pytest.fixture(autouse=True)
def nothing_there(monkeypatch, tmp_path):
    """No proxy of the machine's own is in sight."""
    for variable in ("X509_USER_PROXY", "X509_CERT_DIR", "X509_CERT_BUNDLE", "XrdSecGSICADIR", "XrdSecGSIUSERPROXY"):
        monkeypatch.delenv(variable, raising=False)
    default = tmp_path / "x509up_default"
    monkeypatch.setattr("af_kit.credentials.x509.default_proxy", lambda: default)
    monkeypatch.setattr("af_kit.credentials.auth_diagnosis.default_proxy", lambda: default)
    return default


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def alice(authority):
    return authority.user()


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
def test_the_kinds_of_proxies(alice, made, kind, limited):
    about = parse(proxy(alice, 7200, **made).pem())
    assert (about.kind, about.limited, about.who) == (kind, limited, ALICE)
    assert 7100 < about.seconds_left <= 7200


def test_the_identity_of_a_proxy_of_a_proxy_is_the_users(alice):
    assert parse(proxy(proxy(alice, last="11"), last="22").pem()).who == ALICE


def test_it_lasts_as_long_as_the_first_certificate_that_ends(authority):
    short = authority.user("bob", seconds=900)
    assert 800 < parse(proxy(short, 7200).pem()).seconds_left <= 900
    shorter = proxy(proxy(short, 300), 7200)
    assert 200 < parse(shorter.pem()).seconds_left <= 300


def test_a_certificate_of_the_authority_at_the_end_does_not_matter(authority, good):
    assert parse(good.pem() + pem(authority.certificate)).who == ALICE


def test_vo_roles_and_their_end(alice):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    fqans = ["/cms/Role=production/Capability=NULL", "/cms/dcms/Role=NULL/Capability=NULL"]
    about = parse(proxy(alice, voms=attributes("cms", fqans, until)).pem())
    assert about.voms is not None
    assert (about.voms.vo, about.voms.fqans, about.voms.until) == ("cms", tuple(fqans), until)
    assert about.until == until  # before the proxy's own end
    assert "VO cms" in str(about)


def test_attributes_that_cannot_be_understood_do_no_harm(alice):
    about = parse(proxy(alice, voms=b"\x30\x84\xff\xff\xff\xff").pem())
    assert about.voms is not None
    assert about.voms.vo == "unknown"
    assert about.seconds_left > 40000


def broken(alice: Holder, authority: Authority) -> dict[str, tuple[bytes, str]]:
    good, other = proxy(alice), proxy(alice)
    certificate, key, end = good.pem().partition(b"-----BEGIN RSA")[0], good.key, pem(alice.certificate)
    alone = Holder(good.certificate, key).pem()
    wrong_key = Holder(good.certificate, other.key, good.above).pem()
    mallory = Authority().user("alice")
    middle = len(good.pem()) // 8
    return {
        "the user's own": (alice.pem(), "the certificate of /DC=ch/DC=test/CN=Users/CN=alice itself.*voms-proxy-init"),
        "an authority's": (pem(authority.certificate), "certificate of an authority"),
        "no key": (certificate + end, "no private key"),
        "encrypted": (good.pem(password=b"secret"), "is encrypted"),
        "another key": (wrong_key, "does not belong to the proxy's certificate"),
        "no user certificate": (alone, "not complete"),
        "another chain": (
            Holder(good.certificate, key, (mallory.certificate,)).pem(),
            "do not belong together",
        ),
        "damaged certificate": (good.pem()[:middle] + b"????" + good.pem()[middle + 4 :], "damaged"),
        "damaged key": (good.pem().replace(b"PRIVATE KEY-----\n", b"PRIVATE KEY-----\nAAAA", 1), "key.*is damaged"),
        "not yet": (proxy(alice, begin_s=3600).pem(), "not valid yet: it begins in 59 min.*clock"),
        "empty": (b"", "no PEM certificate, it is empty"),
        "text": (b"hello\n", "holds no PEM certificate"),
        "token": (b"eyJhbGciOi.eyJzdWIi.c2ln\n", "a bearer token; send_token"),
        "p12": (b"\x30\x82\x01\x02", "PKCS#12"),
    }


def test_what_is_not_a_proxy_is_refused_with_its_reason(alice, authority):
    for what, (content, reason) in broken(alice, authority).items():
        with pytest.raises(InputError, match=f"(?s){reason}") as caught:
            parse(content)
        assert "/tmp/here" in str(caught.value), what
        assert "\n" not in str(caught.value), what


def test_a_look_alike_of_a_legacy_proxy_is_a_certificate(authority):
    key = authority.key
    certificate = sign(name("Users", "proxy"), authority.name, key, key)
    with pytest.raises(InputError, match="itself"):
        parse(Holder(certificate, key).pem())


def test_too_little_lifetime(alice):
    about = parse(proxy(alice, 300).pem())
    check_lifetime(about, 60)
    with pytest.raises(InputError, match=r"only 4 min left.*min_lifetime_s=600 \(10 min\).*voms-proxy-init"):
        check_lifetime(about, 600)


def test_expired(alice):
    about = parse(proxy(alice, -7300).pem())
    with pytest.raises(InputError, match=r"/tmp/here expired 2 h 1 min ago \(until 20.*CN=alice.*voms-proxy-init"):
        check_lifetime(about, 0)


def test_found_by_variable_then_at_the_default_place(good, nothing_there, tmp_path, monkeypatch):
    write(nothing_there, good.pem())
    assert find_proxy() == nothing_there
    elsewhere = write(tmp_path / "mine", good.pem())
    monkeypatch.setenv("X509_USER_PROXY", str(elsewhere))
    assert find_proxy() == elsewhere
    secret, about = read_proxy()
    assert secret.reveal() == good.pem()
    assert about.source == str(elsewhere)


def test_the_default_place_is_that_of_grid_tools(monkeypatch):
    monkeypatch.undo()
    assert str(x509.default_proxy()) == f"/tmp/x509up_u{os.geteuid()}"


def test_not_found_says_where_and_how(nothing_there, good, monkeypatch):
    with pytest.raises(InputError, match=f"X509_USER_PROXY is not set and {nothing_there} does not.*voms-proxy-init"):
        find_proxy()
    monkeypatch.setenv("X509_USER_PROXY", "/nowhere/proxy")
    with pytest.raises(InputError, match=r"names /nowhere/proxy, which does not exist\. `voms"):
        find_proxy()
    write(nothing_there, good.pem())
    with pytest.raises(InputError, match=f"There is a file {nothing_there}: unset"):
        find_proxy()
    with pytest.raises(InputError, match="/nowhere/other does not exist"):
        read_proxy("/nowhere/other")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_at_the_default_place_is_not_taken(good, nothing_there):
    write(nothing_there, good.pem())
    os.chown(nothing_there, 12345, -1)
    with pytest.raises(InputError, match=r"another user \(uid 12345\)"):
        find_proxy()


def test_what_is_not_a_file(tmp_path, good):
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
def test_unreadable(tmp_path, good):
    with pytest.raises(InputError, match=r"cannot be read: Permission denied.*0600"):
        read_proxy(write(tmp_path / "proxy", good.pem(), mode=0o000))


def test_the_authorities_are_looked_for_in_order(authority, tmp_path, monkeypatch):
    own, hint, standard = (authority.folder(tmp_path / name) for name in ("own", "hint", "standard"))
    empty = tmp_path / "not mounted"
    empty.mkdir()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(pem(authority.certificate))
    monkeypatch.setattr("af_kit.credentials.ca_certificates.STANDARD", ("/nowhere", str(empty)))
    assert find_authorities() is None
    monkeypatch.setenv("X509_CERT_BUNDLE", str(bundle))
    assert find_authorities() == ("X509_CERT_BUNDLE", str(bundle))
    monkeypatch.setattr("af_kit.credentials.ca_certificates.STANDARD", (str(empty), str(standard)))
    assert find_authorities() == ("X509_CERT_DIR", str(standard))
    assert find_authorities(None, (str(empty), str(hint))) == ("X509_CERT_DIR", str(hint))
    monkeypatch.setenv("X509_CERT_DIR", str(empty))
    assert find_authorities() == ("X509_CERT_DIR", str(standard))
    monkeypatch.setenv("X509_CERT_DIR", str(own))
    assert find_authorities(None, (str(hint),)) == ("X509_CERT_DIR", str(own))
    assert find_authorities(str(hint)) == ("X509_CERT_DIR", str(hint))
    assert find_authorities("/nowhere") is None
    assert find_authorities(str(bundle)) == ("X509_CERT_BUNDLE", str(bundle))


def test_why_a_login_was_refused(alice, authority, tmp_path, monkeypatch):
    assert "no credentials" in diagnose_refusal()
    place = tmp_path / "x509up"
    monkeypatch.setenv("X509_USER_PROXY", str(place))
    assert f"No X.509 proxy was sent here ({place}" in diagnose_refusal()
    write(place, proxy(alice, -600).pem())
    assert "expired 10 min ago" in diagnose_refusal()
    write(place, proxy(alice, 7300).pem())
    monkeypatch.setenv("X509_CERT_DIR", "/nowhere")
    assert "/nowhere holds no certificates of authorities" in diagnose_refusal()
    monkeypatch.setenv("X509_CERT_DIR", str(authority.folder(tmp_path / "certificates")))
    assert "Valid here: X.509 proxy of" in diagnose_refusal()
    assert "2 h 1 min left" in diagnose_refusal()
