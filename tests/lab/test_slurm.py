"""The job of a lab in a Slurm queue."""

from __future__ import annotations

import dask.config

from af_kit.cluster import request
from af_kit.lab import labs, slurm


def script(options=None, **resources):
    lab = labs.create("slurm", name=None, settings={}, login="login")
    asked = request.check(**{"cores": 2, "memory": "1 GiB", "walltime": None, **resources})
    return lab, slurm.QUEUE.description(lab, asked, options or {})


def test_the_job_has_the_requested_options_and_no_secret():
    lab, text = script({"partition": "short", "directives": ["--exclusive"]}, walltime="90m")
    lines = text.splitlines()
    assert lines[0].startswith("#!")
    wanted = ["--job-name=lab-1", "--cpus-per-task=2", "--mem=1024M", "--time=0-01:30:00", "--partition=short"]
    assert {f"#SBATCH {line}" for line in [*wanted, "--exclusive", f"--output={lab.log}"]} <= set(lines)
    assert lines[-1].endswith(f"-m af_kit.lab.serve {lab.folder}")
    assert lab.token() not in text


def test_the_configuration_of_clusters_applies_and_an_argument_overrides_it():
    site = {"partition": "all", "account": "atlas", "walltime": "2h", "directives": ["--comment=site"]}
    with dask.config.set({"af_kit.cluster.slurm": site, "af_kit.cluster.batch.prologue": ["module load x"]}):
        _, text = script({"partition": "short"})
    lines = set(text.splitlines())
    assert "#SBATCH --partition=short" in lines
    assert "#SBATCH --partition=all" not in lines
    assert {"#SBATCH --account=atlas", "#SBATCH --time=0-02:00:00", "#SBATCH --comment=site", "module load x"} <= lines


def test_options_that_nobody_set_are_left_to_slurm():
    _, text = script()
    assert "--partition" not in text
    assert "--time" not in text
