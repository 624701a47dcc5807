"""The cores and memory of a session: inside a batch job, the share that Slurm or HTCondor announces."""

from __future__ import annotations

from pathlib import Path

import pytest

from af_kit.cluster.workers import resource_limits
from af_kit.cluster.workers.resource_limits import cgroup_memory_limits, cores, memory

GIB = 1 << 30


def test_without_a_job_the_machine_is_the_limit():
    assert cores({}) >= 1
    assert memory({}) > GIB
    assert cores({"SLURM_CPUS_PER_TASK": "1"}) == cores({})  # an option of srun, not a job


@pytest.mark.parametrize(
    ("variables", "share"),
    [
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "8"}, 1),
        ({"SLURM_CPUS_ON_NODE": "1"}, 1),
        ({"SLURM_CPUS_PER_TASK": "1000"}, cores({})),  # no more than there are
        ({}, cores({})),
    ],
)
def test_cores_of_a_slurm_job(variables, share):
    assert cores({"SLURM_JOB_ID": "1", **variables}) == share


@pytest.mark.parametrize(
    ("variables", "share"),
    [
        ({"SLURM_MEM_PER_NODE": "1024"}, GIB),
        ({"SLURM_MEM_PER_CPU": "256", "SLURM_CPUS_ON_NODE": "4"}, GIB),
        ({"SLURM_MEM_PER_NODE": "0"}, memory({})),  # all of the node
        ({"SLURM_MEM_PER_NODE": "999999999"}, memory({})),
    ],
)
def test_memory_of_a_slurm_job(variables, share):
    assert memory({"SLURM_JOB_ID": "1", **variables}) == share


def test_the_slot_of_an_htcondor_job(tmp_path):
    slot = tmp_path / ".machine.ad"
    slot.write_text("TotalCpus = 64.0\nCpus = 1\nDetectedMemory = 64000\nMemory = 1024\n")
    environment = {"_CONDOR_MACHINE_AD": str(slot)}
    assert cores(environment) == 1
    assert memory(environment) == GIB


def test_the_limits_of_the_control_group_and_those_above_it(tmp_path, monkeypatch):
    (line,) = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    own = tmp_path / line.removeprefix("0::/")
    own.mkdir(parents=True, exist_ok=True)
    (own / "memory.max").write_text(str(2 * GIB))
    (tmp_path / "memory.limit_in_bytes").write_text(str(3 * GIB))
    monkeypatch.setattr(resource_limits, "_CGROUPS", tmp_path)
    assert cgroup_memory_limits() == [2 * GIB, 3 * GIB]
    assert memory({}) <= 2 * GIB
    (own / "memory.max").write_text("max")
    (tmp_path / "memory.limit_in_bytes").write_text(str(2**63 - 4096))  # no limit, in version 1
    assert cgroup_memory_limits() == []
