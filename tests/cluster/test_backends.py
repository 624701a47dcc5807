"""The table of backends, and backends of other packages: real distributions with entry points."""

from __future__ import annotations

import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import dask.config
import pytest

from af_kit.cluster import backends, connect
from af_kit.errors import InputError

TOY = """
    from distributed import LocalCluster

    from af_kit.cluster.backends import Backend


    class Toy(Backend):
        supported_options = ("name",)

        def start(self, request, *, queue="default"):
            return LocalCluster(
                name=queue, n_workers=request.n_workers or 1, threads_per_worker=1, processes=False,
                protocol="tcp", dashboard_address="127.0.0.1:0",
            )


    class NoBackend:
        pass
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with a backend, one that cannot be imported, and one of the wrong class."""
    (tmp_path / "toy_backend.py").write_text(textwrap.dedent(TOY))
    info = tmp_path / "toy_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-backend\nVersion: 1.0\n")
    points = {"toy": "toy_backend:Toy", "broken": "toy_gone:Toy", "other": "toy_backend:NoBackend"}
    lines = "".join(f"{name} = {value}\n" for name, value in {**points, "local": "toy_backend:Toy"}.items())
    (info / "entry_points.txt").write_text(f"[{backends.ENTRY_POINTS}]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    assert set(points) <= entry_points(group=backends.ENTRY_POINTS).names


def test_the_kits_own_backends():
    assert backends.available()[:5] == ["local", "slurm", "htcondor", "gateway", "kubernetes"]
    for name in backends.BACKENDS:
        assert isinstance(backends.get(name), backends.Backend)
        assert backends.load(name, {})


def test_the_configured_backend():
    assert backends.configured() == "local"  # auto
    with dask.config.set({"af_kit.cluster.backend": "slurm"}):
        assert backends.configured() == "slurm"


def test_a_backend_of_another_package(toy: None):
    assert backends.available()[5:] == ["broken", "other", "toy"]
    with connect("toy", n_workers=1, queue="short", quiet=True) as client:
        assert client.cluster.name == "short"
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
    with dask.config.set({"af_kit.cluster.backend": "toy"}), connect(n_workers=1, quiet=True) as client:
        assert client.cluster.name == "default"


def test_its_options_are_checked(toy: None):
    assert backends.load("toy", {"queue": "short"})
    with pytest.raises(InputError, match="Did you mean 'queue'"):
        connect("toy", queu="short")
    with pytest.raises(InputError, match="no option 'walltime'"):
        connect("toy", walltime="1h")
    with pytest.raises(InputError, match=r"'toi' is not a cluster backend\. Did you mean 'toy'"):
        connect("toi")


def test_another_package_cannot_replace_a_backend_of_the_kit(toy: None):
    assert type(backends.get("local")).__module__ == "af_kit.cluster.local"


def test_a_backend_that_cannot_be_used_is_an_error(toy: None):
    with pytest.raises(InputError, match=r"'broken' cannot be loaded from toy_gone:Toy \(ModuleNotFoundError"):
        connect("broken")
    with pytest.raises(InputError, match=r"'other': toy_backend:NoBackend is not a subclass of .*backends\.Backend"):
        connect("other")
