"""HTCondor's words: its analysis, its events, its queue, and what a job is told. The pool itself: tests/services."""

from __future__ import annotations

from pathlib import Path

import dask
import pytest
from certificates import Authority, proxy, write

from af_kit.cluster.batch.htcondor import submit
from af_kit.cluster.batch.htcondor.analysis import digest
from af_kit.cluster.batch.htcondor.events import Events
from af_kit.cluster.batch.htcondor.jobs import advice, parse
from af_kit.cluster.batch.htcondor.submit import Settings
from af_kit.errors import InputError

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


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "absent"))


def described(settings: Settings, *files: Path) -> list[str]:
    job = submit.Job("run-1", Path("/shared/a/w.sh"), Path("/shared/a/logs"), cores=2, memory=3 * 2**30, files=files)
    return submit.describe(job, settings).splitlines()


# -------------------------------------------------------------------------------------------------------- its words


def test_an_analysis_comes_down_to_what_no_machine_has():
    told = digest(ANALYSIS)
    assert told == (
        "condor_q -better-analyze says: of 3 machines, 3 are rejected by your job's requirements; no machine has "
        "TARGET.Memory >= RequestMemory (RequestMemory = 65536 (mb)); no match found. What to do: ask for less memory=."
    )


def test_an_analysis_tells_of_machines_that_are_busy():
    busy = ANALYSIS.replace("      0 match but", "      3 match but").replace(
        "      3 are rejected", "      0 are rejected"
    )
    busy = busy.replace("[5]           0", "[5]           3").replace("[6]           0", "[6]           3")
    told = digest(busy.replace("no match found", "insufficient user priority"))
    assert told == (
        "condor_q -better-analyze says: of 3 machines, 3 match but are serving other users; insufficient user priority."
    )


@pytest.mark.parametrize("text", ["", "-- Schedd: somewhere\n"])
def test_an_analysis_that_tells_nothing(text):
    assert digest(text) == ""


def test_events_tell_how_jobs_ended(tmp_path):
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


def test_events_tell_why_a_job_does_not_stay(tmp_path):
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


def test_the_queue_is_read():
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


# ------------------------------------------------------------------------------------------------ what a job is told


def test_a_description():
    lines = described(Settings.of({"disk": "1 GiB", "rank": "Mips", "requirements": "(A == 1)"}))
    for line in (
        "batch_name = run-1", "request_cpus = 2", "request_memory = 3072", "request_disk = 1048576",
        "rank = Mips", "requirements = (A == 1)", "output = /shared/a/logs/run-1-$(ClusterId).$(ProcId).log",
        "executable = /shared/a/w.sh", "queue",
    ):  # fmt: skip
        assert line in lines
    assert lines[-1] == "queue"
    assert not any(line.startswith(("x509userproxy", "universe", "transfer_input_files")) for line in lines)


def test_a_users_line_comes_last_and_files_are_joined():
    settings = Settings.of({"submit": ["request_disk = 5", "Transfer_Input_Files = a, b", '+JobFlavour = "longlunch"']})
    lines = described(settings, Path("/shared/a/key.pem"))
    assert lines[-3:] == ["request_disk = 5", '+JobFlavour = "longlunch"', "queue"]
    assert "transfer_input_files = /shared/a/key.pem,a,b" in lines
    assert "encrypt_input_files = key.pem" in lines


@pytest.mark.parametrize(
    ("how", "image", "expected"),
    [
        ("container", "docker://kit:1", ["universe = container", "container_image = docker://kit:1"]),
        (
            "container",
            "/cvmfs/kit",
            ["universe = container", "container_image = /cvmfs/kit", "transfer_container = False"],
        ),
        ("docker", "docker://kit:1", ["universe = docker", "docker_image = kit:1"]),
        ("singularity", "/cvmfs/kit", ['+SingularityImage = "/cvmfs/kit"']),
    ],
)
def test_an_image_as_the_pool_wants_to_be_told(how, image, expected):
    with dask.config.set({"af_kit.cluster.htcondor.container": how}):
        lines = described(Settings.of({"container_image": image, "shared_filesystem": False}))
    assert [line for line in lines if "ontainer" in line or "universe" in line or "mage" in line] == expected


def test_the_time_limit_is_told_as_the_pool_wants():
    assert "+MaxRuntime = 7200" in described(Settings.of({}, 7200))
    with dask.config.set(
        {"af_kit.cluster.htcondor": {"walltime": "1h", "walltime_lines": ["+RequestRuntime = {seconds}"]}}
    ):
        assert "+RequestRuntime = 3600" in described(Settings.of({}))
        assert "+RequestRuntime = 60" in described(Settings.of({}, 60))


def test_the_users_proxy_goes_along_unless_it_has_expired(tmp_path, monkeypatch):
    user = Authority().user()
    good = write(tmp_path / "good", proxy(user).pem())
    old = write(tmp_path / "old", proxy(user, seconds=-60).pem())
    monkeypatch.setenv("X509_USER_PROXY", str(good))
    assert f"x509userproxy = {good}" in described(Settings.of({}))
    assert Settings.of({"proxy": False}).proxy is None
    monkeypatch.setenv("X509_USER_PROXY", str(old))
    assert Settings.of({}).proxy is None
    assert Settings.of({"proxy": str(good)}).proxy == str(good)
    with pytest.raises(InputError, match="has expired"):
        Settings.of({"proxy": str(old)})
    with pytest.raises(InputError, match="does not exist"):
        Settings.of({"proxy": str(tmp_path / "absent")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"disk": "much"}, "disk='much': give what a job may write"),
        ({"submit": "no line"}, "'no line' is no line of a submit description"),
        ({"submit": ["a = 1\nqueue"]}, "is no line of a submit description"),
        ({"requirements": "a\nqueue"}, "give one line"),
        ({"shared_filesystem": "no"}, "give True or False"),
    ],
)
def test_wrong_values_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Settings.of(options)


def test_an_unknown_kind_of_container_is_refused():
    with dask.config.set({"af_kit.cluster.htcondor.container": "dokcer"}), pytest.raises(InputError, match="'docker'"):
        Settings.of({})
