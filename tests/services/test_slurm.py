"""A Slurm farm: its service, and the kit's clusters on it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from cluster_tools import eventually

import af_kit as af
from af_kit.data.simulate import write_files
from services.slurm.farm import DAEMONS, PROGRAMS, Slurm


@pytest.fixture(scope="session")
def farm(require) -> Iterator[Slurm]:
    require("slurm", PROGRAMS)
    folder = Path(tempfile.mkdtemp(prefix="af-kit-slurm-"))  # munge's user must come here: not below pytest's own
    farm = Slurm(folder)
    try:
        yield farm.start()
    finally:
        farm.stop()
        shutil.rmtree(folder)


# ------------------------------------------------------------------------------------------------------ the service


def test_a_job_runs(farm):
    assert farm.command("srun", "--ntasks=1", "--partition=long", "echo", "done") == "done"


def test_a_second_start_finds_the_first(farm):
    before = farm.running()
    assert set(before) == set(DAEMONS)
    command = [Path(__file__).parents[2] / "services" / "slurm" / "start", "--folder", farm.folder]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"export SLURM_CONF={farm.folder}/slurm.conf" in printed
    assert farm.running() == before


def test_it_listens_on_this_machine_only(farm):
    listening = {
        connection.laddr.ip
        for pid in farm.running().values()
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_stop_and_start_again(farm):
    farm.stop()
    assert farm.running() == {}
    farm.start()
    assert farm.command("srun", "--ntasks=1", "echo", "again") == "again"


# ------------------------------------------------------------------------------------------------- the kit's clusters


@pytest.fixture(scope="session")
def settings(farm, tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a session that uses the farm; in force here, too."""
    variables = {**farm.environment(), "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    variables |= {
        f"DASK_AF_KIT__CLUSTER__{name}": value
        for name, value in {
            "BATCH__SCHEDULER_HOST": "127.0.0.1",
            "BATCH__INTERFACE": "lo",
            "BATCH__POLL_S": "1",
            "BATCH__CORES": "1",
            "BATCH__MEMORY": "1 GiB",
            "BATCH__PRELOAD": "['af_kit.plugins.reserve']",
        }.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        with dask.config.set(dask.config.collect(paths=[], env=variables)):
            yield variables


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("sample")
    return [str(path) for path in write_files("dimuon", folder, 20_000, 4, 7)]


def queue(farm: Slurm) -> str:
    return farm.command("squeue", "--noheader", "--format=%i %T %r")


def bits(result: Any) -> dict[str, Any]:
    """A dimuon result in a form that == compares to the last bit."""
    return {name: value.values(flow=True).tolist() for name, value in result.items() if hasattr(value, "values")}


def test_the_dimuon_run_gives_the_local_result(farm, settings, sample):
    with af.connect("slurm", n_workers=2, walltime="10m", quiet=True) as client:
        client.wait_for_workers(2, timeout=120)
        result = af.process(af.analysis.dimuon.analyse, sample, client, chunk_entries=1500)
    result.report.check()
    here = af.process(af.analysis.dimuon.analyse, sample)
    assert bits(result) == bits(here)
    assert len(bits(here)) >= 2
    assert result["candidates"] is not None
    assert eventually(lambda: not queue(farm))
