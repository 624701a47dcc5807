"""Consistency of the repository: commands, versions, the lock, links, and no paths or hosts of one machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from declared import requirements
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import af_kit

ROOT = Path(__file__).parents[1]

# Without the variables of an outer `make test`
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST"))}


def files(pattern: str = "*") -> list[Path]:
    """Return files that git tracks."""
    git = ["git", "-c", "safe.directory=*", "-c", "core.quotePath=off", "-C", str(ROOT)]
    listing = [*git, "ls-files", "--", pattern]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in (ROOT / name for name in listed) if path.is_file()]


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


# ---------------------------------------------------------------------------------------------- names and versions


def test_public_names():
    assert af_kit.__all__ == [
        "write_files",
        "load_fileset",
        "Fileset",
        "connect",
        "send_proxy",
        "send_token",
        "send_files",
        "file",
        "verify_files",
        "send_model",
        "model",
        "send_package",
        "plan",
        "Chunk",
        "read",
        "flat",
        "process",
        "rdataframe",
        "Result",
        "Report",
        "scale_to_lumi",
        "stage_out",
        "write_manifest",
        "read_manifest",
        "performance_report",
        "doctor",
        "analysis",
        "corrections",
        "errors",
        "__version__",
    ]


@pytest.mark.parametrize("name", af_kit.__all__)
def test_a_public_name_exists_and_has_a_docstring(name):
    assert name in dir(af_kit)
    assert getattr(af_kit, name).__doc__


def test_the_docstring_lists_the_public_names():
    modules = {"analysis", "corrections", "errors", "__version__"}
    absent = [name for name in {*af_kit.__all__} - modules if not re.search(rf"\b{name}\b", af_kit.__doc__)]
    assert not absent


def test_deprecated_names_still_work():
    assert af_kit.verify is af_kit.verify_files


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(af_kit, "no_such_name")


def test_one_version_everywhere():
    newest = re.search(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert af_kit.__version__ == newest[1] == citation["version"]
    assert "version" in pyproject()["project"]["dynamic"]


# ------------------------------------------------------------------------------------------------------- the lock


def direct_dependencies() -> dict[str, Requirement]:
    return {canonicalize_name(requirement.name): requirement for requirement in requirements("all", "dev", "train")}


def locked() -> dict[str, list[tuple[Version, str]]]:
    """Return the pins of each package, one per platform or Python: version, and the rest of the pin's block."""
    blocks = re.split(r"^(?=\w)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)[1:]
    pins: dict[str, list[tuple[Version, str]]] = {}
    for block in blocks:
        name, version = re.match(r"([\w.-]+)(?:\[.*\])?==([^\s;]+)", block).groups()
        pins.setdefault(canonicalize_name(name), []).append((Version(version), block))
    return pins


def test_the_lock_matches_pyproject():
    lock = locked()
    for name, requirement in direct_dependencies().items():
        assert name in lock, f"{name} is in pyproject.toml but not in requirements.lock: make lock"
        for version, _ in lock[name]:
            assert version in requirement.specifier, (
                f"the lock has {name} {version}, pyproject.toml requires {requirement}"
            )
    from_project = {
        name for name, pins in lock.items() for _, block in pins if re.search(r"# +(via )?af-kit \(pyproject", block)
    }
    assert from_project == direct_dependencies().keys(), "make lock"


def test_every_pin_has_its_hashes():
    assert not [name for name, pins in locked().items() for _, block in pins if "--hash=sha256:" not in block]


# ------------------------------------------------------------------------------------------------------- commands


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def test_make_help_lists_every_target():
    done = make("help")
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE)) == targets()


@pytest.mark.parametrize("path", files("*.md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_make_commands_in_a_page_exist(path):
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", path.read_text(), re.MULTILINE)) <= targets()


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("exit 1", "needs Python 3.11 or newer"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "has no venv module"),
    ],
)
def test_setup_reports_what_is_missing(tmp_path, python, message):
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    interpreter = folder / "python"
    interpreter.write_text(f"#!/bin/sh\n{python}\n")
    interpreter.chmod(0o755)
    done = make("setup", f"PYTHON={interpreter}", cwd=folder)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (folder / ".venv").exists()


def test_ci_is_one_executable_script():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    assert re.search(r"^make test", script.read_text(), re.MULTILINE)


def test_pre_commit_runs_what_make_lint_runs():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"  # nothing to download
    lint = make("--dry-run", "lint").stdout
    for hook in repo["hooks"]:
        assert hook["entry"].split()[0] in lint or hook["id"] == "nbstripout"


# ------------------------------------------------------------------------------------- contents of files

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


@pytest.mark.parametrize("path", files("*.md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_are_valid(path):
    assert not [target for target in LINK.findall(path.read_text()) if not (path.parent / target).exists()]


def test_notebooks_have_no_outputs():
    notebooks = files("*.ipynb")
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")], path.name


# Package indexes are configured per machine, and paths of one machine do not exist on another.
ONE_MACHINE = re.compile(
    r"pypi\.(?:org|python)|pythonhosted\.org|conda\.anaconda\.org|registry\.npmjs|"
    r"(?:index-url|registry|find-links)\s*[=:]\s*\S*https?:|"
    r"(?<![\w.}])/(?:work|root|Users|home/(?!jovyan\b)\w+)/"
)


def test_no_file_names_a_registry_host_or_a_path_of_one_machine():
    found = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image or a ROOT file
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in ONE_MACHINE.finditer(text)]
    assert not found


@pytest.mark.parametrize(
    "line",
    ["https://pypi" + ".org/simple", "--index-url" + "=https://mirror", "cd /ro" + "ot/data", "/ho" + "me/alice/x"],
)
def test_the_pattern_finds_such_lines(line):
    assert ONE_MACHINE.search(line)


# ------------------------------------------------------------------------------------------------- the README's example


def test_the_example_in_the_readme_runs(tmp_path):
    example = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert example is not None
    af_kit_command = Path(sys.executable).with_name("af-kit")
    simulate = [af_kit_command, "simulate", "dimuon", "--events", "2000", "--files", "2", "--seed", "1"]
    subprocess.run([*simulate, "--out", tmp_path], check=True)
    (tmp_path / "dimuon.yaml").write_text("dimuon:\n  files: ['*.root']\n  treename: Events\n")
    (tmp_path / "example.py").write_text(
        'if __name__ == "__main__":\n' + "".join(f"    {line}\n" for line in example[1].splitlines())
    )
    environment = {**ENVIRONMENT, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "example.py"], cwd=tmp_path, env=environment, check=True, timeout=120)
