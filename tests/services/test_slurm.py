"""A Slurm farm: its service, and the kit's clusters on it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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
