from __future__ import annotations

import os
from pathlib import Path

import pytest
from certificates import Authority, pem

from af_kit.credentials.ca_certificates import find_ca_certificates, link_ca_folder, remove_ca_link


@pytest.fixture
def authority(monkeypatch):
    for variable in ("X509_CERT_DIR", "X509_CERT_BUNDLE", "XrdSecGSICADIR"):
        monkeypatch.delenv(variable, raising=False)
    return Authority()


def test_the_folders_are_tried_in_order(authority, tmp_path, monkeypatch):
    own, hint, standard = (authority.folder(tmp_path / name) for name in ("own", "hint", "standard"))
    empty = tmp_path / "not mounted"
    empty.mkdir()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(pem(authority.certificate))
    monkeypatch.setattr("af_kit.credentials.ca_certificates.STANDARD_FOLDERS", ("/nowhere", str(empty)))
    assert find_ca_certificates() is None
    monkeypatch.setenv("X509_CERT_BUNDLE", str(bundle))
    assert find_ca_certificates() == ("X509_CERT_BUNDLE", str(bundle))
    monkeypatch.setattr("af_kit.credentials.ca_certificates.STANDARD_FOLDERS", (str(empty), str(standard)))
    assert find_ca_certificates() == ("X509_CERT_DIR", str(standard))
    assert find_ca_certificates(None, (str(empty), str(hint))) == ("X509_CERT_DIR", str(hint))
    monkeypatch.setenv("X509_CERT_DIR", str(empty))
    assert find_ca_certificates() == ("X509_CERT_DIR", str(standard))
    monkeypatch.setenv("X509_CERT_DIR", str(own))
    assert find_ca_certificates(None, (str(hint),)) == ("X509_CERT_DIR", str(own))
    assert find_ca_certificates(str(hint)) == ("X509_CERT_DIR", str(hint))
    assert find_ca_certificates("/nowhere") is None
    assert find_ca_certificates(str(bundle)) == ("X509_CERT_BUNDLE", str(bundle))


def test_the_link_changes_its_target_and_never_its_path(tmp_path):
    link = link_ca_folder(None, tmp_path)
    assert list(Path(link).iterdir()) == []
    (tmp_path / "certificates").mkdir()
    assert link_ca_folder(str(tmp_path / "certificates"), tmp_path) == link
    assert os.path.realpath(link) == str(tmp_path / "certificates")
    remove_ca_link(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["certificates"]
