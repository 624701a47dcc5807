"""The job of a lab in an HTCondor queue."""

from __future__ import annotations

from af_kit.cluster import request
from af_kit.lab import htcondor, labs


def test_the_token_travels_with_the_job_as_a_file():
    lab = labs.create("htcondor", name=None, settings={}, login="login")
    asked = request.check(cores=2, memory="1 GiB", walltime="1h")
    lines = htcondor.QUEUE.description(lab, asked, {"submit": ['+Group = "x"'], "proxy": False}).splitlines()
    script = (lab.folder / "job.sh").read_text()
    wanted = ["request_cpus = 2", "request_memory = 1024", "encrypt_input_files = token,settings.json", '+Group = "x"']
    assert {*wanted, "+MaxRuntime = 3600", "stream_output = True"} <= set(lines)
    assert [line for line in lines if line.startswith("output = ")][-1] == f"output = {lab.log}"
    assert script.rstrip().endswith("-m af_kit.lab.serve .")
    assert lab.token() not in script + "".join(lines)
