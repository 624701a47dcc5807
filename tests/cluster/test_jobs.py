"""What a user is told about jobs, from what the queue tells."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from af_kit.cluster.batch.base import BatchCluster, QueueError, ask
from af_kit.cluster.batch.job import Ledger
from af_kit.cluster.batch.slurm import jobs
from af_kit.cluster.batch.status import Job, diagnose, fatal_reason, pending_summary

SQUEUE = """\
11|RUNNING|None
12|PENDING|Resources
13|PENDING|(ReqNodeNotAvail, UnavailableNodes:n1)
14|TIMEOUT|TimeLimit
15|COMPLETED|None
16|FAILED|NonZeroExitCode
17|CONFIGURING|None
"""


def test_squeues_words():
    found = jobs.parse(SQUEUE)
    assert {job.id: (job.state, job.reason) for job in found.values()} == {
        "11": ("running", ""),
        "12": ("pending", "Resources"),
        "13": ("pending", "(ReqNodeNotAvail, UnavailableNodes:n1)"),
        "14": ("ended", "TIMEOUT, TimeLimit"),
        "15": ("ended", "COMPLETED"),
        "16": ("ended", "FAILED, NonZeroExitCode"),
        "17": ("running", ""),
    }
    assert jobs.parse("") == {}


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Resources", "ask for less"),
        ("Priority", "other jobs come first"),
        ("PartitionTimeLimit", "walltime="),
        ("(ReqNodeNotAvail, UnavailableNodes:n1)", "maintenance"),
        ("AssocGrpCpuLimit", "limit of your account"),
        ("QOSMaxCpuPerUserLimit", "limit of the quality of service"),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination", "account="),
        ("sbatch: error: invalid partition specified: nowhere", "partition="),
        ("TIMEOUT, TimeLimit", "longer walltime="),
        ("OUT_OF_MEMORY, OutOfMemory", "more memory="),
        ("a word of another version", ""),
    ],
)
def test_what_to_do_about_a_reason(reason: str, told: str):
    advice = jobs.advice(reason)
    assert told in advice if told else advice == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "0-00:01:00"), (7200, "0-02:00:00"), (129_600, "1-12:00:00"), (90, "0-00:01:30")]
)
def test_a_time_limit_as_sbatch_takes_it(seconds: int, text: str):
    assert jobs.limit(seconds) == text


def test_what_is_waited_for():
    pending = Job("1", "pending", "Resources"), Job("2", "pending", "Priority")
    running = Job("3", "running"), Job("4", "running", joined=True)
    assert pending_summary([]) == ""
    assert pending_summary([*pending, *running]) == "2 of 4 jobs pending (Priority, Resources), 2 running"
    assert pending_summary(running) == "2 of 2 jobs running"


def test_a_job_that_died_has_the_last_word(tmp_path: Path):
    log = tmp_path / "big-7.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    job = Job("7", "ended", "FAILED, NonZeroExitCode", log=str(log))
    told = diagnose([job], "", jobs.advice)
    assert "Job 7 started and ended (FAILED, NonZeroExitCode) before its worker joined" in told
    assert f"The end of its log {log}:\nline 88\n" in told
    assert "line 99" in told
    assert fatal_reason([job], "", jobs.advice, lambda _: False) == told


def test_there_is_hope_while_a_job_may_run():
    def lasting(reason: str) -> bool:
        return reason == "never"

    never, busy, running = Job("1", "pending", "never"), Job("2", "pending", "busy"), Job("3", "running")
    assert fatal_reason([], "", jobs.advice, lasting) == ""
    assert fatal_reason([never, busy], "", jobs.advice, lasting) == ""
    assert fatal_reason([never, running], "refused", jobs.advice, lasting) == ""
    assert "1 of 1 jobs pending (never)" in fatal_reason([never], "", jobs.advice, lasting)
    assert "The queue refused a job: no." in fatal_reason([], "no", jobs.advice, lasting)
    assert fatal_reason([Job("4", "ended", joined=True)], "", jobs.advice, lasting) == ""


class Late(BatchCluster):
    """A cluster of two jobs whose queue has not heard of any start yet; one worker is here already."""

    def __init__(self, folder: Path):
        self.planned = SimpleNamespace(logs=folder, job_name="late")
        self.ledger = Ledger(folder, submitted={"1": 0.0, "2": 0.0})
        self.workers = {"w1": SimpleNamespace(job_id="1"), "w2": SimpleNamespace(job_id="2")}
        self._asked_at = -float("inf")

    async def queue(self) -> dict[str, Job]:
        return {"1": Job("1", "pending", "Priority"), "2": Job("2", "pending", "Priority")}

    def _here(self) -> set[str]:
        return {"w1"}


def test_a_job_runs_when_its_worker_is_here_whatever_the_queue_says(tmp_path: Path):
    first, second = asyncio.run(Late(tmp_path).jobs())
    assert (first.state, first.reason, first.joined) == ("running", "", True)
    assert (second.state, second.reason, second.joined) == ("pending", "Priority", False)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sh", "-c", "echo no; echo so >&2; exit 3"], "so"),
        (["sh", "-c", "echo no; exit 3"], "no"),
        (["sh", "-c", "exit 3"], r"sh failed \(exit code 3\)"),
        (["no-such-program"], "no-such-program cannot be run: No such file"),
        (["sleep", "60"], r"sleep did not answer within 0\.5 s"),
    ],
)
def test_a_command_of_the_queue_that_fails(command: list[str], said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("af_kit.cluster.batch.job._ANSWERS_WITHIN_S", 0.5)
    with pytest.raises(QueueError, match=said):
        asyncio.run(ask(*command))


def test_what_a_command_of_the_queue_prints():
    assert asyncio.run(ask("echo", "7")) == "7\n"


@pytest.mark.parametrize("kind", ["slurm", "htcondor"])
def test_a_batch_kind_leaves_ctrl_c_to_the_user(kind):
    code = f"""
from signal import SIGINT, getsignal
before = getsignal(SIGINT)
import af_kit.cluster.{kind}_jobs
print(getsignal(SIGINT) == before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
