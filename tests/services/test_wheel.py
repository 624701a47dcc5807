"""The wheel, installed in an empty environment with the packages that environment.yml names, and used there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import af_kit

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
pytestmark = pytest.mark.timeout(1200)  # downloads packages


class Environment:
    """A Python environment outside the checkout; programs run in a separate folder, without this one's variables."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder / "venv", folder / "work"
        self.work.mkdir(parents=True)
        ours = ("PYTHON", "AF_KIT", "DASK", "VIRTUAL_ENV")
        self.variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}

    def run(self, program: str, *arguments: str | Path, timeout_s: float = 300) -> str:
        """Return what a program of the environment prints, also to stderr."""
        done = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.work,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def installed(require, required_services, tmp_path_factory):
    """The environment: the pip part of environment.yml, in a folder laid out like the checkout, then the wheel."""
    require("wheel", [])
    if "wheel" not in required_services:
        pytest.skip("downloads a gigabyte of packages; AF_KIT_REQUIRE=wheel asks for it")
    folder = tmp_path_factory.mktemp("installed")
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    (lines,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    (folder / "docker").mkdir()
    shutil.copy(ROOT / "docker/requirements.lock", folder / "docker")
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n")
    environment = Environment(folder)

    def uv(*arguments: str | Path) -> None:
        subprocess.run([UV, *arguments, "--quiet"], cwd=folder, check=True, timeout=1000, stdin=subprocess.DEVNULL)

    uv("build", "--wheel", "--no-build-isolation", "--offline", "--python", sys.executable, "--out-dir", "dist", ROOT)
    uv("venv", "--python", sys.executable, environment.folder)
    # uv reads what pip reads, and installs it in a fifth of the time. The image is built with pip, from the same lock.
    into = ("pip", "install", "--python", environment.folder / "bin/python")
    uv(*into, "--require-hashes", "--requirement", "requirements.txt")
    uv(*into, "--no-deps", "--offline", *(folder / "dist").glob("*.whl"))
    yield environment
    shutil.rmtree(folder)  # more than a gigabyte


def test_the_installed_version_and_its_requirements(installed):
    assert installed.run("af-kit", "--version").strip() == f"af-kit {af_kit.__version__}"
    about = "import af_kit; from importlib.metadata import version; print(af_kit.__file__, version('af-kit'))"
    path, version = installed.run("python", "-c", about).split()
    assert Path(path).is_relative_to(installed.folder)
    assert version == af_kit.__version__
    check = [UV, "pip", "check", "--python", installed.folder / "bin/python"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # the environment has every requirement of the wheel's metadata


def test_every_module_is_in_the_wheel_and_can_be_imported(installed):
    code = (
        "import importlib, pkgutil, af_kit\n"
        "found = [module.name for module in pkgutil.walk_packages(af_kit.__path__, 'af_kit.')]\n"
        "found = [name for name in found if not name.endswith('__main__')]\n"
        "for name in found: importlib.import_module(name)\n"
        "print(len(found))\n"
    )
    source = [path for path in (ROOT / "af_kit").rglob("*.py") if path.name != "__main__.py"]
    source = [path for path in source if path.parent.name != "new_analysis"]  # files that `af-kit new` copies
    assert int(installed.run("python", "-c", code)) == len(source) - 1  # without af_kit itself


def test_the_dimuon_analysis_runs_in_it(installed):
    installed.run("af-kit", "simulate", "dimuon", "--events", "2000", "--files", "2", "--seed", "1", "--out", "samples")
    installed.run("af-kit", "run", "dimuon", "samples/fileset.yaml", "--n-workers", "1", "--out", "dimuon")
    entries = json.loads((installed.work / "dimuon/report.json").read_text())["entries"]
    assert (entries["planned"], entries["processed"], entries["failed"]) == (2000, 2000, 0)
    assert (installed.work / "dimuon/plots/mass.png").stat().st_size > 10_000


def test_a_newcomers_path(installed):
    """From the wheel alone: a new analysis, its sample, a run, an edited cut, a run on workers."""
    folder = installed.work / "zmumu"
    installed.run("af-kit", "new", "zmumu")
    installed.run("af-kit", "simulate", "dimuon", "--events", "4000", "--files", "2", "--out", "zmumu/samples")
    runs = ["zmumu/analysis.py", "zmumu/fileset.yaml", "--no-plots"]
    installed.run("af-kit", "run", *runs, "--out", "first")
    code = (folder / "analysis.py").read_text()
    (folder / "analysis.py").write_text(code.replace("pt_min: float = 10.0", "pt_min: float = 30.0"))
    installed.run("af-kit", "run", *runs, "--out", "second", "--n-workers", "1")
    first, second = (json.loads((installed.work / name / "values.json").read_text()) for name in ("first", "second"))
    assert first == second == {"events": 4000}
    sizes = [(installed.work / name / "candidates.parquet").stat().st_size for name in ("first", "second")]
    assert sizes[1] < sizes[0]


def test_jupyterlab_loads_the_kits_extension(installed):
    listed = installed.run("jupyter-server", "extension", "list")
    assert re.search(r"af_kit\.cluster\.jupyter\.extension.*OK", listed), listed
