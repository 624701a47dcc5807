"""What a session may use: its batch job's share, as Slurm and HTCondor tell it."""

from __future__ import annotations

import pytest

from af_kit.cluster.workers.resource_limits import cores, memory

GIB = 1 << 30


def test_without_a_job_it_is_what_the_machine_gives():
    assert cores({}) >= 1
    assert memory({}) > GIB
    assert cores({"SLURM_CPUS_PER_TASK": "1"}) == cores({})  # an option of srun's, not a job


@pytest.mark.parametrize(
    ("told", "share"),
    [
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "8"}, 1),
        ({"SLURM_CPUS_ON_NODE": "1"}, 1),
        ({"SLURM_CPUS_PER_TASK": "1000"}, cores({})),  # no more than there are
        ({}, cores({})),
    ],
)
def test_cores_of_a_slurm_job(told, share):
    assert cores({"SLURM_JOB_ID": "1", **told}) == share


@pytest.mark.parametrize(
    ("told", "share"),
    [
        ({"SLURM_MEM_PER_NODE": "1024"}, GIB),
        ({"SLURM_MEM_PER_CPU": "256", "SLURM_CPUS_ON_NODE": "4"}, GIB),
        ({"SLURM_MEM_PER_NODE": "0"}, memory({})),  # all of the node
        ({"SLURM_MEM_PER_NODE": "999999999"}, memory({})),
    ],
)
def test_memory_of_a_slurm_job(told, share):
    assert memory({"SLURM_JOB_ID": "1", **told}) == share


def test_the_slot_of_an_htcondor_job(tmp_path):
    slot = tmp_path / ".machine.ad"
    slot.write_text("TotalCpus = 64.0\nCpus = 1\nDetectedMemory = 64000\nMemory = 1024\n")
    environment = {"_CONDOR_MACHINE_AD": str(slot)}
    assert cores(environment) == 1
    assert memory(environment) == GIB
