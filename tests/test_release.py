"""What is released: the content of the wheel and the sdist, and the workflows of the two CI systems."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml
from declared import requirements

import af_kit

ROOT = Path(__file__).parents[1]
NAME = f"af_kit-{af_kit.__version__}"


def sources() -> set[str]:
    """Return the files that git tracks, or would if they were added."""
    git = ["git", "-c", "safe.directory=*", "-c", "core.quotePath=off", "-C", str(ROOT), "ls-files"]
    listed = subprocess.run(
        [*git, "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """The folder of the wheel and the sdist, built as `make dist` does."""
    folder = tmp_path_factory.mktemp("dist")
    build = re.search(r"^\t\$\(BIN\)/uv (build .*) out/dist$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert build is not None
    uv = Path(sys.executable).with_name("uv")
    command = [uv, *build[1].split(), folder, "--python", sys.executable, ROOT]
    subprocess.run(command, check=True, timeout=120, stdin=subprocess.DEVNULL)
    return folder


def test_the_wheel_has_the_package_and_nothing_else(dist):
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        content = set(wheel.namelist())
        metadata = HeaderParser().parsestr(wheel.read(f"{NAME}.dist-info/METADATA").decode())
    package = {name for name in sources() if name.startswith("af_kit/")}
    assert {"af_kit/py.typed", "af_kit/af_kit.yaml", "af_kit/filesets/dimuon.yaml"} <= package
    added = {
        f"{NAME}.data/data/etc/jupyter/jupyter_server_config.d/af_kit.json",
        *(
            f"{NAME}.dist-info/{name}"
            for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
        ),
    }
    assert content == package | added
    assert metadata["Version"] == af_kit.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert not metadata.get_all("Project-URL")  # none is known


def test_the_sdist_has_the_files_of_git_and_nothing_else(dist):
    with tarfile.open(dist / f"{NAME}.tar.gz") as sdist:
        content = {member.name.removeprefix(f"{NAME}/") for member in sdist.getmembers()}
        size = sum(member.size for member in sdist.getmembers())
    assert content == sources() | {"PKG-INFO"}
    assert size < 20e6
    secret = re.compile(r"\.(pem|key|p12|crt)$|x509up|kubeconfig|(^|/)\.env$")
    assert not [name for name in content if secret.search(name)]


# ----------------------------------------------------------------------------------------------- without the extras

WITHOUT_EXTRAS = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({missing!r}))  # importing one of these fails
import af_kit
from af_kit.cli import main
for module in pkgutil.walk_packages(af_kit.__path__, "af_kit."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert not main(["simulate", "dimuon", "--events", "1000", "--files", "1", "--out", "samples"])
assert not main(["run", "dimuon", "samples/fileset.yaml", "--out", "results"])
sys.exit(main(["fit", "hmumu", "results"]))
"""


def test_the_smallest_install_imports_every_module_and_runs_an_analysis(tmp_path):
    core = {requirement.name for requirement in requirements()}
    extras = {requirement.name for requirement in requirements("all", "train", "spark")} - core
    assert extras >= {"pyhf", "jax", "onnxruntime", "jupyterhub", "keras"}
    code = WITHOUT_EXTRAS.format(missing=sorted(extras))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "results/plots/mass.png").exists()


# ------------------------------------------------------------------------------------------------------- workflows


def commands(document: object) -> list[str]:
    """Return the lines that a workflow runs."""
    found: list[str] = []
    todo = [document]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("run", "script", "before_script", "after_script"):
                    found += [value] if isinstance(value, str) else value
                else:
                    todo.append(value)
        elif isinstance(node, list):
            todo += node
    return found


@pytest.mark.parametrize(
    ("path", "line", "key"),
    [
        (".github/workflows/ci.yml", "make ${{ matrix.command }}", "command"),
        (".gitlab-ci.yml", "make $COMMAND", "COMMAND"),
    ],
)
def test_a_workflow_runs_make_and_nothing_else(path, line, key):
    text = (ROOT / path).read_text()
    assert commands(yaml.safe_load(text)) == [line]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(rf"\b{key}: (?:\[(.*?)\]|(\w+))", text)
    called = {target.strip() for pair in named for target in "".join(pair).split(",")}
    assert "test" in called
    assert called <= targets


def test_actions_are_pinned_by_commit():
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert not [action for action in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}  # v[\d.]+", action)]
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_the_workflows_test_the_pythons_of_the_classifiers():
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    for path in (".github/workflows/ci.yml", ".gitlab-ci.yml"):
        assert set(re.findall(r'"(3\.\d+)"', (ROOT / path).read_text())) == set(classifiers), path


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_an_issue_template_has_questions_with_labels(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert form["blank_issues_enabled"] in (True, False)
        return
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    names = [field["id"] for field in fields]
    assert len(set(names)) == len(names)
