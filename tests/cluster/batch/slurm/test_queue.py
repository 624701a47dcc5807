"""The output of squeue, and the advice on Slurm's reasons."""

from __future__ import annotations

import pytest

from af_kit.cluster.batch.slurm import queue

SQUEUE = """\
11|RUNNING|None
12|PENDING|Resources
13|PENDING|(ReqNodeNotAvail, UnavailableNodes:n1)
14|TIMEOUT|TimeLimit
15|COMPLETED|None
16|FAILED|NonZeroExitCode
17|CONFIGURING|None
"""


def test_the_output_of_squeue():
    found = queue.parse(SQUEUE)
    assert {job.id: (job.state, job.reason) for job in found.values()} == {
        "11": ("running", ""),
        "12": ("pending", "Resources"),
        "13": ("pending", "(ReqNodeNotAvail, UnavailableNodes:n1)"),
        "14": ("ended", "TIMEOUT, TimeLimit"),
        "15": ("ended", "COMPLETED"),
        "16": ("ended", "FAILED, NonZeroExitCode"),
        "17": ("running", ""),
    }
    assert queue.parse("") == {}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("Resources", "request less"),
        ("Priority", "other jobs come first"),
        ("PartitionTimeLimit", "walltime="),
        ("(ReqNodeNotAvail, UnavailableNodes:n1)", "maintenance"),
        ("AssocGrpCpuLimit", "limit of your account"),
        ("QOSMaxCpuPerUserLimit", "limit of the quality of service"),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination", "account="),
        ("sbatch: error: invalid partition specified: nowhere", "partition="),
        ("TIMEOUT, TimeLimit", "longer walltime="),
        ("OUT_OF_MEMORY, OutOfMemory", "more memory="),
        ("a reason of another version", ""),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "choose one with qos="),
    ],
)
def test_what_to_do_about_a_reason(reason: str, expected: str):
    advice = queue.advice(reason)
    assert expected in advice if expected else advice == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(60, "0-00:01:00"), (7200, "0-02:00:00"), (129_600, "1-12:00:00"), (90, "0-00:01:30")]
)
def test_a_time_limit_as_sbatch_takes_it(seconds: int, text: str):
    assert queue.time_limit(seconds) == text
