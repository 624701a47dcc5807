"""`make audit`: the licences of all installed packages, and known vulnerabilities of the locked ones.

Licences come from the packages' own metadata and are compared with the list in pyproject.toml, without a network.
Vulnerabilities come from a public advisory database, through pip-audit, which uv downloads for this one use.

Exit codes: 0 nothing found; 1 a licence that is not listed, or a known vulnerability; 2 the database was not reached,
or not for all packages.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
TIMEOUT_S = 600


def settings() -> dict[str, Any]:
    """Return the table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["af_kit"]["audit"]
    return table


def licence_of(metadata: Mapping[str, str], classifiers: list[str], rules: Mapping[str, Any]) -> str:
    """Return a package's licence as an SPDX expression, or the words of its metadata if the rules do not know them."""
    words = rules["words"]
    stated = metadata.get("License-Expression") or ""
    if not stated:
        named = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: ") and c.count(" :: ") > 1]
        text = (metadata.get("License") or "").strip().partition("\n")[0]
        # a licence's whole text begins with its name or its owner: then the classifiers are clearer
        stated = " AND ".join(sorted({words.get(name, name) for name in named})) or words.get(text, text)
    return stated


def is_allowed(expression: str, allowed: list[str]) -> bool:
    """Whether one of the alternatives (OR) of an expression has only licences (AND) that are allowed."""
    alternatives = re.sub(r"[()]", "", expression).split(" OR ")
    return any(all(part.strip() in allowed for part in one.split(" AND ")) for one in alternatives)


def refused_licences(only: set[str] | None = None) -> Iterator[str]:
    """Yield a line for each installed package whose licence is not allowed; ``only`` limits it to some packages."""
    rules = settings()
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata
        name = canonicalize_name(metadata["Name"])
        if only is not None and name not in only:
            continue
        plain = {key: str(metadata[key]) for key in ("License-Expression", "License") if key in metadata}
        found = licence_of(plain, metadata.get_all("Classifier") or [], rules)
        found = rules["packages"].get(name, found)
        if not is_allowed(found, rules["licences"]):
            yield f"{name} {distribution.version}: {found or 'no licence in its metadata'}"


def advisories() -> tuple[list[str], int, str]:
    """Return a line for each known vulnerability of the lock, the packages asked for, and why not all were.

    An index that serves packages without advisories, such as a mirror, looks like one that knows no vulnerability. So
    one package is asked for first.
    """
    lock = LOCK.read_text()
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first.txt"
        first.write_text(re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1])
        for requirements in (first, LOCK):
            report, problem = _ask(requirements, Path(folder) / "report.json")
            asked = [package for package in report if "skip_reason" not in package]
            if not problem and len(asked) < len(report):
                missing = [package["name"] for package in report if "skip_reason" in package]
                problem = f"it lacks {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
            if problem and not asked:
                break
    return list(vulnerabilities(asked)), len(asked), problem


def _ask(requirements: Path, report: Path) -> tuple[list[dict[str, Any]], str]:
    """Return pip-audit's report on a file of hashed requirements, or why there is none."""
    report.unlink(missing_ok=True)
    command = [
        str(Path(sys.executable).with_name("uv")), "tool", "run", "--from", f"pip-audit=={settings()['pip_audit']}",
        "pip-audit", "--requirement", str(requirements), "--disable-pip", "--require-hashes",
        "--progress-spinner", "off", "--format", "json", "--output", str(report),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    if not report.is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return [], lines[-1] if lines else f"pip-audit ended with exit code {done.returncode}"
    packages: list[dict[str, Any]] = json.loads(report.read_text())["dependencies"]
    return packages, ""


def vulnerabilities(packages: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each vulnerability in pip-audit's report."""
    for package in packages:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}"


def main() -> int:
    """Run from the command line."""
    licences = list(refused_licences())
    for line in licences:
        print(f"licence not in pyproject.toml's list: {line}")
    installed = sum(1 for _ in importlib.metadata.distributions())
    print(f"Licences: {installed} packages, {len(licences)} of them to look at.", flush=True)
    found, asked, problem = advisories()
    for line in found:
        print(f"known vulnerability: {line}")
    if asked:
        print(f"Vulnerabilities: {len(found)} known in the {asked} packages of {LOCK.name} that were asked for.")
    if problem:
        what = "not all packages were checked" if asked else "not checked, as no advisory database can be reached"
        print(f"Vulnerabilities: {what} ({problem}). Run make audit where the internet can be reached.")
    return 1 if licences or found else 2 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
