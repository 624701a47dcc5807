"""The image's files agree with each other and with the project. tests/services/ builds and runs the image."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from declared import requirements
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import af_kit
from af_kit import config

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


# -------------------------------------------------------------------------------------------------------------- locks


def pins(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the hashes of each pin (package, version, marker). A package has several pins if platforms differ."""
    found = {}
    for block in re.split(r"^(?=\w)", path.read_text(), flags=re.MULTILINE)[1:]:
        line = re.match(r"(.*?)(?: \\)?$", block, re.MULTILINE)[1]
        found[line] = frozenset(re.findall(r"--hash=(\S+)", block))
    return found


def names(path: Path) -> set[str]:
    return {canonicalize_name(re.match(r"[\w.-]+", line)[0]) for line in pins(path)}


@pytest.mark.parametrize("lock", ["requirements.lock", "build.lock"])
def test_the_images_locks_are_subsets_of_the_main_lock(lock):
    every = {line.split(" ;")[0]: hashes for line, hashes in pins(ROOT / "requirements.lock").items()}
    for line, hashes in pins(DOCKER / lock).items():
        assert every.get(line.split(" ;")[0]) == hashes, f"{line}: make lock"
        assert hashes


def test_the_images_lock_is_complete():
    """It contains the direct dependencies with the extra "all", and all of theirs, on this platform."""
    locked = names(DOCKER / "requirements.lock")
    todo = requirements("all")
    seen = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is not in docker/requirements.lock: make lock"
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                needs = map(Requirement, distribution(name).requires or [])
                todo += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]


def test_no_development_tool_is_in_the_image():
    development = {need.name for need in requirements("dev", "train")} - {need.name for need in requirements("all")}
    # The kit needs these as well.
    shared = {"packaging", "nbclient"}
    assert not names(DOCKER / "requirements.lock") & development - shared
    assert "hatchling" in names(DOCKER / "build.lock")


# ---------------------------------------------------------------------------------------------------- environment.yml


def test_conda_and_pip_install_the_same_versions_as_the_image():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["--requirement docker/requirements.lock"]
    (python,) = [entry.partition("=")[2] for entry in conda if entry.startswith("python=")]
    assert SpecifierSet(project()["requires-python"]).contains(f"{python}.0")
    # Debian 12 has Python 3.11; the service test of the image checks that.
    assert (python, re.search(r"^ARG BASE=debian:(\w+)-", DOCKERFILE, re.M)[1]) == ("3.11", "bookworm")
    # Packages from PyPI are not also installed by conda.
    assert not {entry.partition("=")[0] for entry in conda} & names(DOCKER / "requirements.lock")


# --------------------------------------------------------------------------------------------------------- Dockerfile


def test_the_base_image_is_pinned_and_configurable():
    base = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.M)
    assert len(base) == 1
    assert re.fullmatch(r"debian:\w+-\d{8}-slim", base[0])
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)[0] == "${BASE}"


def test_the_label_has_the_version():
    assert re.search(r'image\.version="(.*?)"', DOCKERFILE)[1] == af_kit.__version__


def test_copied_files_exist_and_are_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [Path(line.removeprefix("!")) for line in ignored if line.startswith("!")]
    copied = [
        source for words in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M) for source in words.split()
    ]
    assert "docker/requirements.lock" in copied
    for source in copied:
        assert list(ROOT.glob(source)), source
        assert any(Path(source) == path or path in Path(source).parents for path in allowed), source


def test_workers_have_the_kits_environment():
    """The Dockerfile and docker/start set the variables of the kit's own workers, docker/dask their preloads."""
    start = (DOCKER / "start").read_text()
    for name, value in config.get("cluster.environment").items():
        of_all = re.search(rf"^\s*{name}=(\S+)", DOCKERFILE, re.M)
        of_workers = re.search(rf'{name}="\${{{name}:-(\S+?)}}"', start)
        assert (of_all or of_workers)[1] == str(value)
    worker = yaml.safe_load((DOCKER / "dask" / "worker.yaml").read_text())
    assert worker["distributed"]["worker"]["preload"] == config.get("cluster.local.preload")


def test_the_scripts_are_shell_and_executable():
    for name in ("start", "healthy"):
        assert os.access(DOCKER / name, os.X_OK)
    subprocess.run(["sh", "-n", DOCKER / "start"], check=True)


# -------------------------------------------------------------------------------------------------------- health check


@pytest.fixture(scope="module")
def healthy():
    loader = importlib.machinery.SourceFileLoader("healthy", str(DOCKER / "healthy"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("healthy", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "variables", "url"),
    [
        ("tini -- af-start jupyter lab --ip=0.0.0.0", {}, "http://127.0.0.1:8888/api"),
        ("tini -- af-start jupyter-lab --port 9999", {}, "http://127.0.0.1:9999/api"),
        ("tini -- af-start jupyter lab --ServerApp.base_url=/x/", {}, "http://127.0.0.1:8888/x/api"),
        (
            "tini -- af-start jupyterhub-singleuser",
            {"JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/ann/"},
            "http://127.0.0.1:8888/user/ann/api",
        ),
        (
            "jupyterhub-singleuser",
            {"JUPYTERHUB_SERVICE_URL": "https://:8443/user/ann/lab/"},
            "https://127.0.0.1:8443/user/ann/lab/api",
        ),
        ("tini -- af-start dask scheduler", {}, "http://127.0.0.1:8787/health"),
        ("python /opt/af-kit/bin/dask scheduler --dashboard-address :9000", {}, "http://127.0.0.1:9000/health"),
        ("tini -- af-start dask worker tcp://scheduler:8786", {}, None),
        ("tini -- af-start sleep 600", {"JUPYTERHUB_USER": "ann"}, None),
    ],
)
def test_the_url_of_the_health_check(healthy, line, variables, url):
    assert healthy.address(line.split(), variables) == url


# ---------------------------------------------------------------------------------------------------------------- VOMS


def test_each_vo_has_a_server_and_its_certificate_subjects():
    entries = sorted((DOCKER / "grid" / "vomses").iterdir())
    assert {path.name.partition("-")[0] for path in entries} >= {"alice", "atlas", "cms", "lhcb"}
    for path in entries:
        alias, host, port, subject, vo = re.fullmatch(
            r'"(.*?)" "(.*?)" "(\d+)" "(/.*?)" "(.*?)"\n', path.read_text()
        ).groups()
        assert path.name == f"{vo}-{host}"
        assert (alias, port) == (vo, "443")
        lsc = DOCKER / "grid" / "grid-security" / "vomsdir" / vo / f"{host}.lsc"
        assert lsc.read_text().splitlines()[0] == subject
        assert len(lsc.read_text().splitlines()) == 2  # the subjects of the server and of its authority
