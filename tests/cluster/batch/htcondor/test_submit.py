"""The submit description of a job. A real pool: tests/services."""

from __future__ import annotations

from pathlib import Path

import dask
import pytest
from certificates import Authority, proxy, write

from af_kit.cluster.batch.htcondor import submit
from af_kit.cluster.batch.htcondor.submit import Settings
from af_kit.errors import InputError


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "absent"))


def described(settings: Settings, *files: Path) -> list[str]:
    job = submit.Job("run-1", Path("/shared/a/w.sh"), Path("/shared/a/logs"), cores=2, memory=3 * 2**30, files=files)
    return submit.describe(job, settings).splitlines()


def test_a_description():
    lines = described(Settings.from_options({"disk": "1 GiB", "rank": "Mips", "requirements": "(A == 1)"}))
    for line in (
        "batch_name = run-1", "request_cpus = 2", "request_memory = 3072", "request_disk = 1048576",
        "rank = Mips", "requirements = (A == 1)", "output = /shared/a/logs/run-1-$(ClusterId).$(ProcId).log",
        "executable = /shared/a/w.sh", "queue",
    ):  # fmt: skip
        assert line in lines
    assert lines[-1] == "queue"
    assert not any(line.startswith(("x509userproxy", "universe", "transfer_input_files")) for line in lines)


def test_a_users_line_comes_last_and_files_are_joined():
    settings = Settings.from_options(
        {"submit": ["request_disk = 5", "Transfer_Input_Files = a, b", '+JobFlavour = "longlunch"']}
    )
    lines = described(settings, Path("/shared/a/key.pem"))
    assert lines[-3:] == ["request_disk = 5", '+JobFlavour = "longlunch"', "queue"]
    assert "transfer_input_files = /shared/a/key.pem,a,b" in lines
    assert "encrypt_input_files = key.pem" in lines


@pytest.mark.parametrize(
    ("how", "image", "expected"),
    [
        ("container", "docker://kit:1", ["universe = container", "container_image = docker://kit:1"]),
        (
            "container",
            "/cvmfs/kit",
            ["universe = container", "container_image = /cvmfs/kit", "transfer_container = False"],
        ),
        ("docker", "docker://kit:1", ["universe = docker", "docker_image = kit:1"]),
        ("singularity", "/cvmfs/kit", ['+SingularityImage = "/cvmfs/kit"']),
    ],
)
def test_how_the_pool_expects_an_image(how, image, expected):
    with dask.config.set({"af_kit.cluster.htcondor.container": how}):
        lines = described(Settings.from_options({"container_image": image, "shared_filesystem": False}))
    assert [line for line in lines if "ontainer" in line or "universe" in line or "mage" in line] == expected


def test_how_the_pool_expects_a_time_limit():
    assert "+MaxRuntime = 7200" in described(Settings.from_options({}, 7200))
    with dask.config.set(
        {"af_kit.cluster.htcondor": {"walltime": "1h", "walltime_lines": ["+RequestRuntime = {seconds}"]}}
    ):
        assert "+RequestRuntime = 3600" in described(Settings.from_options({}))
        assert "+RequestRuntime = 60" in described(Settings.from_options({}, 60))


def test_the_users_proxy_travels_with_the_job_unless_it_has_expired(tmp_path, monkeypatch):
    user = Authority().user()
    good = write(tmp_path / "good", proxy(user).pem())
    old = write(tmp_path / "old", proxy(user, seconds=-60).pem())
    monkeypatch.setenv("X509_USER_PROXY", str(good))
    assert f"x509userproxy = {good}" in described(Settings.from_options({}))
    assert Settings.from_options({"proxy": False}).proxy is None
    monkeypatch.setenv("X509_USER_PROXY", str(old))
    assert Settings.from_options({}).proxy is None
    assert Settings.from_options({"proxy": str(good)}).proxy == str(good)
    with pytest.raises(InputError, match="has expired"):
        Settings.from_options({"proxy": str(old)})
    with pytest.raises(InputError, match="does not exist"):
        Settings.from_options({"proxy": str(tmp_path / "absent")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"disk": "much"}, "disk='much' is not a size"),
        ({"submit": "no line"}, "'no line' is not a line of a submit description"),
        ({"submit": ["a = 1\nqueue"]}, "is not a line of a submit description"),
        ({"requirements": "a\nqueue"}, "give one line"),
        ({"shared_filesystem": "no"}, "give True or False"),
    ],
)
def test_wrong_values_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Settings.from_options(options)


def test_an_unknown_container_type_is_refused():
    with dask.config.set({"af_kit.cluster.htcondor.container": "dokcer"}), pytest.raises(InputError, match="'docker'"):
        Settings.from_options({})
