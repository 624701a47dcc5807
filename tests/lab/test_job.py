"""What a lab's job asks for."""

from __future__ import annotations

import dask.config

from af_kit.cluster import request
from af_kit.lab import htcondor, labs, slurm


def script(options=None, **words):
    lab = labs.create("slurm", name=None, settings={}, login="login")
    asked = request.check(**{"cores": 2, "memory": "1 GiB", "walltime": None, **words})
    return lab, slurm.script(lab, asked, options or {})


def test_the_job_holds_what_was_asked_for_and_no_secret():
    lab, text = script({"partition": "short", "directives": ["--exclusive"]}, walltime="90m")
    lines = text.splitlines()
    assert lines[0].startswith("#!")
    wanted = ["--job-name=lab-1", "--cpus-per-task=2", "--mem=1024M", "--time=0-01:30:00", "--partition=short"]
    assert {f"#SBATCH {line}" for line in [*wanted, "--exclusive", f"--output={lab.log}"]} <= set(lines)
    assert lines[-1].endswith(f"-m af_kit.lab.serve {lab.folder}")
    assert lab.token() not in text


def test_the_sites_words_are_those_of_its_clusters_and_an_argument_comes_first():
    site = {"partition": "all", "account": "atlas", "walltime": "2h", "directives": ["--comment=site"]}
    with dask.config.set({"af_kit.cluster.slurm": site, "af_kit.cluster.batch.prologue": ["module load x"]}):
        _, text = script({"partition": "short"})
    lines = set(text.splitlines())
    assert "#SBATCH --partition=short" in lines
    assert "#SBATCH --partition=all" not in lines
    assert {"#SBATCH --account=atlas", "#SBATCH --time=0-02:00:00", "#SBATCH --comment=site", "module load x"} <= lines


def test_what_nobody_said_is_left_to_slurm():
    _, text = script()
    assert "--partition" not in text
    assert "--time" not in text


def test_an_htcondor_job_takes_its_token_along_as_a_file():
    lab = labs.create("htcondor", name=None, settings={}, login="login")
    asked = request.check(cores=2, memory="1 GiB", walltime="1h")
    lines = htcondor.description(lab, asked, {"submit": ['+Group = "x"'], "proxy": False}).splitlines()
    script = (lab.folder / "job.sh").read_text()
    wanted = ["request_cpus = 2", "request_memory = 1024", "encrypt_input_files = token,settings.json", '+Group = "x"']
    assert {*wanted, "+MaxRuntime = 3600", "stream_output = True"} <= set(lines)
    assert [line for line in lines if line.startswith("output = ")][-1] == f"output = {lab.log}"
    assert script.rstrip().endswith("-m af_kit.lab.serve .")
    assert lab.token() not in script + "".join(lines)
