"""Licences of what is installed, and what `make audit` says of licences, vulnerabilities and an absent network."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import audit
import pytest
from packaging.utils import canonicalize_name

LOCKED = {
    canonicalize_name(name) for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", audit.LOCK.read_text(), re.MULTILINE)
}
RULES = {"words": {"BSD License": "BSD-3-Clause", "BSD": "BSD-3-Clause"}}


def test_all_locked_packages_have_an_allowed_licence():
    assert "numpy" in LOCKED
    assert not list(audit.refused_licences(LOCKED))


def test_a_licence_that_is_not_in_the_list_is_named(monkeypatch):
    rules = {**audit.settings(), "licences": ["BSD-3-Clause"], "packages": {}}
    monkeypatch.setattr(audit, "settings", lambda: rules)
    lines = list(audit.refused_licences({"pytest", "dask"}))
    assert len(lines) == 1
    assert re.fullmatch(r"pytest [\d.]+: MIT", lines[0])


@pytest.mark.parametrize(
    ("metadata", "classifiers", "licence"),
    [
        ({"License-Expression": "MIT OR Apache-2.0", "License": "BSD"}, [], "MIT OR Apache-2.0"),
        ({"License": "BSD"}, [], "BSD-3-Clause"),
        ({"License": "Copyright 2020\nPermission ..."}, ["License :: OSI Approved :: BSD License"], "BSD-3-Clause"),
        ({}, ["License :: OSI Approved :: GNU General Public License"], "GNU General Public License"),
        ({}, ["License :: OSI Approved"], ""),
    ],
)
def test_the_licence_of_metadata(metadata, classifiers, licence):
    assert audit.licence_of(metadata, classifiers, RULES) == licence


@pytest.mark.parametrize(
    ("expression", "is_allowed"),
    [
        ("MIT", True),
        ("MIT AND PSF-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("(GPL-3.0-only OR AGPL-3.0-only)", False),
        ("MIT WITH Exception", False),
        ("", False),
    ],
)
def test_all_parts_of_one_alternative_are_allowed(expression, is_allowed):
    assert audit.is_allowed(expression, ["MIT", "PSF-2.0"]) == is_allowed


def fake_uv(folder: Path, body: str) -> Path:
    """A Python's folder with a program in place of uv."""
    program = folder / "uv"
    program.write_text(f"#!{sys.executable}\nimport sys, json\n{body}\n")
    program.chmod(0o755)
    return folder / "python"


def test_known_vulnerabilities_are_listed(tmp_path, monkeypatch, capsys):
    report = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"], "aliases": []}]},
            {"name": "skipped", "skip_reason": "not found"},
        ]
    }
    body = f"open(sys.argv[sys.argv.index('--output') + 1], 'w').write({json.dumps(json.dumps(report))}); sys.exit(1)"
    monkeypatch.setattr(sys, "executable", str(fake_uv(tmp_path, body)))
    monkeypatch.setattr(audit, "refused_licences", lambda: iter(()))
    assert audit.main() == 1
    assert "known vulnerability: bad 2: CVE-1, fixed in 2.1\n" in capsys.readouterr().out


def test_without_a_database_it_says_so(tmp_path, monkeypatch, capsys):
    body = "print('no route to host', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(sys, "executable", str(fake_uv(tmp_path, body)))
    monkeypatch.setattr(audit, "refused_licences", lambda: iter(()))
    assert audit.main() == 2
    out = capsys.readouterr().out
    assert "not checked, because no advisory database can be reached from here (no route to host)" in out
    assert "Vulnerabilities: 0 known" not in out
