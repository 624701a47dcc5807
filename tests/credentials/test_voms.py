from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certificates import attributes, proxy

from af_kit.credentials.secret import SecretBytes
from af_kit.credentials.x509 import parse_proxy


def parse(content: bytes):
    return parse_proxy(SecretBytes(content), "/tmp/here")


def test_vo_and_roles_are_read_with_their_expiry(alice):
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    fqans = ["/cms/Role=production/Capability=NULL", "/cms/dcms/Role=NULL/Capability=NULL"]
    info = parse(proxy(alice, voms=attributes("cms", fqans, until)).pem())
    assert info.voms is not None
    assert (info.voms.vo, info.voms.fqans, info.voms.until) == ("cms", tuple(fqans), until)
    assert info.until == until  # before the proxy's own end
    assert "VO cms" in str(info)


def test_unreadable_attributes_are_tolerated(alice):
    info = parse(proxy(alice, voms=b"\x30\x84\xff\xff\xff\xff").pem())
    assert info.voms is not None
    assert info.voms.vo == "unknown"
    assert info.seconds_left > 40000
