"""What a lab's job asks for, and the job itself."""

from __future__ import annotations

import dask.config
import pytest

from af_kit.errors import InputError
from af_kit.lab import labs, slurm
from af_kit.lab.words import words


def test_the_argument_comes_before_the_configuration():
    with dask.config.set({"af_kit.lab.cores": 3, "af_kit.lab.memory": "2 GiB", "af_kit.lab.walltime": "1-00:00:00"}):
        asked = words("slurm")
        assert (asked.cores, asked.memory, asked.walltime_s) == (3, 2 << 30, 86400)
        asked = words("slurm", cores=1, memory="1 GiB", walltime="0:30:00")
        assert (asked.cores, asked.memory, asked.walltime_s) == (1, 1 << 30, 1800)


@pytest.mark.parametrize("wrong", [{"memory": "much"}, {"walltime": "soon"}])
def test_a_value_that_cannot_be_used(wrong):
    with pytest.raises(InputError, match="give"):
        words("slurm", **wrong)


def test_the_script_holds_what_was_asked_for_and_no_secret():
    lab = labs.create("slurm", name="mine", settings={}, login="login")
    asked = words("slurm", cores=2, memory="1 GiB", walltime="0:30:00", partition="short", directives=["--exclusive"])
    lines = slurm.script(lab, asked).splitlines()
    assert lines[0].startswith("#!")
    wanted = [
        "--job-name=mine",
        "--cpus-per-task=2",
        "--mem=1024M",
        "--partition=short",
        "--exclusive",
        f"--output={lab.log}",
    ]
    assert {f"#SBATCH {directive}" for directive in wanted} <= set(lines)
    assert lines[-1].endswith(f"-m af_kit.lab.serve {lab.folder}")
    assert lab.token() not in slurm.script(lab, asked)
