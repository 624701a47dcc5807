"""What HTCondor says about jobs: its analysis, its event log, its queue. A real pool: tests/services."""

from __future__ import annotations

import pytest

from af_kit.cluster.batch.htcondor.queue import Events, advice, digest, parse

# As HTCondor 23.9 prints it, shortened
ANALYSIS = """\
The Requirements expression for job 3.000 is

    (TARGET.Arch == "X86_64") && (TARGET.Memory >= RequestMemory)

Job 3.000 defines the following attributes:

    DiskUsage = 45
    RequestDisk = DiskUsage (kb)
    RequestMemory = 65536 (mb)

The Requirements expression for job 3.000 reduces to these conditions:

         Slots
Step    Matched  Condition
-----  --------  ---------
[0]           3  TARGET.Arch == "X86_64"
[5]           0  TARGET.Memory >= RequestMemory
[6]           0  [0] && [5]

No successful match recorded.
Last failed match: Wed Nov 25 18:11:50 2026

Reason for last match failure: no match found

003.000:  Run analysis summary ignoring user priority.  Of 3 machines,
      3 are rejected by your job's requirements
      0 reject your job because of their own requirements
      0 match and are already running your jobs
      0 match but are serving other users
      0 are able to run your job
"""
EVENTS = """\
000 (010.000.000) 2026-11-25 18:12:06 Job submitted from host: <127.0.0.1:40243>
...
001 (010.000.000) 2026-11-25 18:12:07 Job executing on host: <127.0.0.1:40243>
	SlotName: slot1_1@pool
...
005 (010.000.000) 2026-11-25 18:12:07 Job terminated.
	(1) Normal termination (return value 3)
		Usr 0 00:00:00, Sys 0 00:00:00  -  Run Remote Usage
...
005 (015.000.000) 2026-11-25 18:12:07 Job terminated.
	(0) Abnormal termination (signal 9)
	(0) No core file
...
009 (013.000.000) 2026-11-25 18:12:09 Job was aborted.
	via condor_rm (by user alice)
...
022 (018.000.000) 2026-11-25 18:16:52 Job disconnected, attempting to reconnect
    Socket between submit and execute hosts closed
...
007 (019.000.000) 2026-11-25 18:16:52 Shadow exception!
	Error from slot1@pool: no such file
	0  -  Run Bytes Sent By Job
...
"""


def test_the_analysis_of_a_job_that_no_machine_can_run():
    message = digest(ANALYSIS)
    assert message == (
        "condor_q -better-analyze says: of 3 machines, 3 are rejected by your job's requirements; no machine has "
        "TARGET.Memory >= RequestMemory (RequestMemory = 65536 (mb)); no match found. What to do: request less memory=."
    )


def test_the_analysis_of_a_job_whose_machines_are_busy():
    busy = ANALYSIS.replace("      0 match but", "      3 match but").replace(
        "      3 are rejected", "      0 are rejected"
    )
    busy = busy.replace("[5]           0", "[5]           3").replace("[6]           0", "[6]           3")
    message = digest(busy.replace("no match found", "insufficient user priority"))
    assert message == (
        "condor_q -better-analyze says: of 3 machines, 3 match but are serving other users; insufficient user priority."
    )


@pytest.mark.parametrize("text", ["", "-- Schedd: somewhere\n"])
def test_an_analysis_without_a_reason(text):
    assert digest(text) == ""


def test_how_jobs_ended(tmp_path):
    events = Events(tmp_path / "events.log")
    events.read()
    assert events.ends == {}
    half = EVENTS.index("via condor_rm")
    events_file = tmp_path / "events.log"
    events_file.write_text(EVENTS[:half])
    events.read()
    assert events.ends == {"10.0": "exit code 3", "15.0": "signal 9"}
    events_file.write_text(EVENTS)
    events.read()
    assert events.ends == {"10.0": "exit code 3", "15.0": "signal 9", "13.0": "removed: via condor_rm (by user alice)"}


def test_why_jobs_are_idle_again(tmp_path):
    events_file = tmp_path / "events.log"
    events_file.write_text(EVENTS)
    events = Events(events_file)
    events.read()
    assert events.troubles == {
        "18.0": "Job disconnected, attempting to reconnect: Socket between submit and execute hosts closed",
        "19.0": "Shadow exception: Error from slot1@pool: no such file",
    }
    with events_file.open("a") as file:
        file.write("001 (018.000.000) 2026-11-25 18:17:00 Job executing on host: <127.0.0.1:40243>\n...\n")
    events.read()
    assert set(events.troubles) == {"19.0"}


def test_the_output_of_condor_q():
    text = """[
        {"ClusterId": 1, "ProcId": 0, "JobStatus": 1}, {"ClusterId": 2, "ProcId": 0, "JobStatus": 2},
        {"ClusterId": 3, "ProcId": 1, "JobStatus": 5, "HoldReason": "via condor_hold"},
        {"ClusterId": 4, "ProcId": 0, "JobStatus": 3}, {"ClusterId": 5, "ProcId": 0, "JobStatus": 7}]"""
    assert {job.id: (job.state, job.reason) for job in parse(text).values()} == {
        "1.0": ("pending", "idle"),
        "2.0": ("running", ""),
        "3.1": ("ended", "held: via condor_hold"),
        "4.0": ("ended", "removed: no reason given"),
        "5.0": ("running", ""),
    }
    assert parse("") == {}


def test_advice():
    assert "more memory=" in advice("held: Error from slot1: memory usage exceeded request_memory")
    assert advice("idle") == ""
