"""Licences of what is installed, and what `make audit` says of licences, vulnerabilities and an absent network."""

from __future__ import annotations

import re
import sys

import audit
import pytest
from packaging.utils import canonicalize_name

LOCKED = {
    canonicalize_name(name) for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", audit.LOCK.read_text(), re.MULTILINE)
}
PYTHON = sys.executable
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


REPORT = """
import json, pathlib, sys
given = pathlib.Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text()
names = [line.split("==")[0] for line in given.splitlines() if "==" in line]
known = {"bad": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
packages = [{"name": name, "version": "2", "vulns": known.get(name, [])} for name in names if name != ABSENT]
packages += [{"name": name, "skip_reason": "not found"} for name in names if name == ABSENT]
pathlib.Path(sys.argv[sys.argv.index("--output") + 1]).write_text(json.dumps({"dependencies": packages}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the audit of a lock of two packages with a program in place of uv; return exit code and output."""
    lock = tmp_path / "requirements.lock"
    lock.write_text("# a comment\ngood==1 --hash=sha256:00\nbad==2 --hash=sha256:00\n")

    def run(body: str) -> tuple[int, str]:
        program = tmp_path / "uv"
        program.write_text(f"#!{PYTHON}\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setattr(audit, "LOCK", lock)
        monkeypatch.setattr(audit, "refused_licences", lambda: iter(()))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        return audit.main(), capsys.readouterr().out

    return run


def test_known_vulnerabilities_are_listed(run):
    code, out = run(f"ABSENT = ''{REPORT}")
    assert code == 1
    assert "known vulnerability: bad 2: CVE-1, fixed in 2.1\n" in out
    assert "Vulnerabilities: 1 known in the 2 packages" in out


def test_a_package_that_the_database_does_not_know_is_named(run):
    code, out = run(f"ABSENT = 'bad'{REPORT}")
    assert code == 2
    assert "not all packages were checked (it lacks bad)" in out


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import sys; print('no route to host', file=sys.stderr); sys.exit(1)", "no route to host"),
        (f"ABSENT = 'good'{REPORT}", "it lacks good"),  # only the first was asked for
    ],
)
def test_without_a_database_it_says_so(run, body, reason):
    code, out = run(body)
    assert code == 2
    assert f"not checked, as no advisory database can be reached ({reason})" in out
    assert "known in" not in out
