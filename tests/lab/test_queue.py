"""What labs share of the batch systems, here with a Slurm of shell scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_labs import create

from af_kit.cluster import request
from af_kit.errors import ConnectError
from af_kit.lab import queue


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Defines a command of the batch system by its shell script."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def command(name: str, script: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return command


RESOURCES = request.check(cores=1, memory="1 GiB")


def test_a_job_is_submitted_by_its_description(command, tmp_path):
    command("sbatch", f"cat > {tmp_path}/job; echo '42;cluster'")
    assert queue.get("slurm").submit(create("mine"), RESOURCES, {}) == "42"
    assert "#SBATCH --job-name=mine" in (tmp_path / "job").read_text()


def test_a_refusal_has_its_reason_and_advice(command):
    command("sbatch", "echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1")
    with pytest.raises(ConnectError, match=r"Slurm refuses the job: .*specified: nowhere See `sinfo`"):
        queue.get("slurm").submit(create(), RESOURCES, {})


def test_a_machine_without_the_batch_system(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConnectError, match="There is no sbatch on this machine"):
        queue.get("slurm").submit(create(), RESOURCES, {})


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("echo '7|RUNNING|None|n1|12:00|11:00'", "running (on n1, until 12:00)"),
        ("echo '7|PENDING|Priority||N/A|12:00'", "pending (Priority, to start at 12:00)"),
        ("echo '7|PENDING|Resources||N/A|N/A'", "pending (Resources)"),
        ("true", "ended (no longer in the queue)"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "ended (no longer in the queue)"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "pending (Unable to contact slurm controller)"),
    ],
)
def test_the_state_of_a_job(command, script, state):
    command("squeue", script)
    assert queue.state(queue.get("slurm").job(create().submitted("7"))) == state
