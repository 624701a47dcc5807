from __future__ import annotations

import pytest
from certificates import Authority

from af_kit.credentials.xrootd_paths import unusable_path


def test_before_the_first_login_any_path_can_be_used(tmp_path):
    assert unusable_path(tmp_path / "x509up", None) is None


@pytest.fixture
def folder(tmp_path):
    return str(Authority().folder(tmp_path / "certificates"))


def test_a_proxy_at_another_path_is_used_only_if_its_content_is_the_same(tmp_path, folder):
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_bytes(b"proxy")
    assert unusable_path(new, (str(new), folder)) is None
    assert unusable_path(new, (str(old), folder)) == str(old)
    old.write_bytes(b"proxy")
    assert unusable_path(new, (str(old), folder)) is None
    old.write_bytes(b"expired")
    assert unusable_path(new, (str(old), folder)) == str(old)


def test_a_folder_without_ca_certificates_stays_unusable(tmp_path):
    assert unusable_path(tmp_path / "x509up", (str(tmp_path / "x509up"), "/nowhere")) == "/nowhere"
