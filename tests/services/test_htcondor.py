"""A pool of HTCondor: its service, and the kit's clusters on it.

HTCondor takes no jobs from root, and what a user's files may be seen by is part of what is tested. So tests marked
`as_user` run in a process of the pool's user, on the pool's machine, as a notebook would on a submit node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.htcondor import system
from services.htcondor.pool import USER, HTCondor

TUNED = ("net/ipv4/ip_local_port_range", "fs/pipe-user-pages-soft", "net/core/rmem_max")
ON_THE_POOL = "AF_KIT_TEST_POOL"


@pytest.fixture(scope="session")
def pool(require) -> Iterator[HTCondor]:
    require("htcondor", system.PROGRAMS)
    if reason := system.missing():
        pytest.skip(f"htcondor cannot run here: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="af-kit-htcondor-"))  # the pool's user must come here: not below pytest's own
    pool = HTCondor(folder)
    try:
        yield pool.start()
    finally:
        pool.stop()
        shutil.rmtree(folder)


def as_user(test: Callable[..., None]) -> Callable[..., None]:
    """Let a test run by a pytest of its own: a process of the pool's user, on the pool's machine."""
    if ON_THE_POOL in os.environ:
        return test
    name = test.__name__

    def outside(pool: HTCondor) -> None:
        scratch = pool.home / "tests" / name
        command = ["env", f"{ON_THE_POOL}={pool.folder}", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-m", "pytest"]
        options = ["-q", "-p", "no:cacheprovider", f"--basetemp={scratch}", f"{__file__}::{name}"]
        pool.run(["mkdir", "--parents", str(scratch.parent)])
        done = pool.run([*command, *options], within_s=280)
        assert done.returncode == 0, f"As {USER}:\n{done.stdout}{done.stderr}"

    outside.__name__, outside.__doc__ = name, test.__doc__
    return outside


# ------------------------------------------------------------------------------------------------------ the service


def test_commands_from_outside(pool, tmp_path):
    job = f"executable = /usr/bin/id\narguments = -un\noutput = {pool.home}/who\nlog = {pool.home}/log\nqueue\n"
    submitted = subprocess.run([pool.bin / "condor_submit"], input=job, capture_output=True, text=True, check=True)
    assert "1 job(s) submitted" in submitted.stdout
    subprocess.run([pool.bin / "condor_wait", "-wait", "60", pool.home / "log"], check=True, capture_output=True)
    assert (pool.home / "who").read_text() == f"{USER}\n"


def test_a_second_start_finds_the_first(pool):
    before = pool.running()
    assert before
    command = [Path(__file__).parents[2] / "services" / "htcondor" / "start", "--folder", pool.folder]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"export PATH={pool.bin}:$PATH" in printed
    assert pool.running() == before


def test_it_listens_on_this_machine_only(pool):
    master = psutil.Process(pool.running()["master"])
    processes = [master, *master.children(recursive=True)]
    assert {"condor_collector", "condor_schedd", "condor_startd"} <= {process.name()[:16] for process in processes}
    bound = {connection.laddr.ip for process in processes for connection in process.net_connections(kind="inet")}
    assert bound == {"127.0.0.1"}


def test_stop_leaves_nothing(pool):
    state = pool.running()
    inside = [process.pid for process in psutil.Process(state["master"]).children(recursive=True)]
    kernel = [Path("/proc/sys", name).read_text() for name in TUNED]
    pool.stop()
    assert pool.running() == {}
    assert not any(psutil.pid_exists(pid) for pid in (*state.values(), *inside))
    assert str(pool.folder) not in Path("/proc/self/mountinfo").read_text()
    pool.start()
    assert [Path("/proc/sys", name).read_text() for name in TUNED] == kernel


# ------------------------------------------------------------------------------------------------- the kit's clusters


@as_user
def test_the_user_has_this_session_s_python(tmp_path):
    import af_kit

    assert os.getuid() != 0
    assert Path(af_kit.__file__).is_relative_to(Path(__file__).parents[2])
    assert (tmp_path / "mine").write_text("") == 0
