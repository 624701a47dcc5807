"""A Slurm cluster: its service, and the kit's Dask clusters on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import awkward as ak
import dask
import psutil
import pytest
from certificates import Authority, proxy, write
from cluster_tools import eventually
from distributed import Client, Security, wait
from temporary import temporary_service

import af_kit as af
from af_kit.cluster import logs
from af_kit.cluster.processes import birth
from af_kit.cluster.versions import check as check_versions
from af_kit.cluster.workers.environment import initial_environment
from af_kit.errors import ConnectError, InputError
from af_kit.simulate import write_files
from services.slurm.cluster import DAEMONS, PROGRAMS, Slurm


@pytest.fixture(scope="module")
def slurm(require) -> Iterator[Slurm]:
    require("slurm", PROGRAMS)
    with temporary_service(Slurm, "slurm") as slurm:
        yield slurm.start()


# ------------------------------------------------------------------------------------------------------ the service


def test_a_job_runs(slurm):
    assert slurm.command("srun", "--ntasks=1", "--partition=long", "echo", "done") == "done"


def test_a_second_start_finds_the_first(slurm):
    before = slurm.running()
    assert set(before) == set(DAEMONS)
    command = [Path(__file__).parents[2] / "services" / "slurm" / "start", "--folder", slurm.folder]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"export SLURM_CONF={slurm.folder}/slurm.conf" in printed
    assert slurm.running() == before


def test_it_listens_on_this_machine_only(slurm):
    listening = {
        connection.laddr.ip
        for pid in slurm.running().values()
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_stop_and_start_again(slurm):
    slurm.stop()
    assert slurm.running() == {}
    slurm.start()
    assert slurm.command("srun", "--ntasks=1", "echo", "again") == "again"


# ------------------------------------------------------------------------------------------------- the kit's clusters


@pytest.fixture(scope="module")
def settings(slurm, tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a session that uses the Slurm cluster, set for this process too."""
    variables = {**slurm.environment(), "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    variables |= {
        f"DASK_AF_KIT__CLUSTER__{name}": value
        for name, value in {
            "BATCH__SCHEDULER_HOST": "127.0.0.1",
            "BATCH__INTERFACE": "lo",
            "BATCH__POLL_S": "1",
            "BATCH__TIMEOUT_S": "120",
            "BATCH__CORES": "1",
            "BATCH__MEMORY": "1 GiB",
            "BATCH__PRELOAD": "['af_kit.plugins.xrootd_preload']",
        }.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        with dask.config.set(dask.config.collect(paths=[], env=variables)):
            yield variables


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("sample")
    return [str(path) for path in write_files("dimuon", folder, 20_000, 4, 7)]


@pytest.fixture(scope="module")
def client(settings) -> Iterator[Client]:
    """Two workers, each in a job; a test that changes their number restores it."""
    with af.connect("slurm", n_workers=2, name="shared", walltime="1h", quiet=True) as client:
        client.wait_for_workers(2, timeout=120)
        yield client


def queue(slurm: Slurm) -> list[str]:
    """Return a line of squeue for each pending or running job."""
    return slurm.command("squeue", "--noheader", "--format=%j %T %r").splitlines()


def jobs_of(slurm: Slurm, name: str) -> list[str]:
    return [line for line in queue(slurm) if line.startswith(name)]


def workers(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def bits(result: Any) -> dict[str, Any]:
    """Return a dimuon result in a form that == compares bit for bit."""
    return {
        "mass": result["mass"].values(flow=True).tolist(),
        "multiplicity": result["multiplicity"].values(flow=True).tolist(),
        "candidates": result["candidates"].to_pydict(),
    }


def slow_count(events: Any) -> dict[str, Any]:
    time.sleep(0.3)
    return {"n": len(events), "muons": int(ak.sum(ak.num(events.Muon)))}


def session(code: str, **options: Any) -> subprocess.Popen[str]:
    """Start another session: a process that has imported `af`."""
    text = f"import af_kit as af\nif __name__ == '__main__':\n{textwrap.indent(textwrap.dedent(code), '    ')}"
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, **options)


def af_kit(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("af-kit")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_dimuon_on_slurm_equals_the_local_result(client, sample):
    result = af.process(af.analysis.dimuon.analyse, sample, client, chunk_entries=1500)
    result.report.check()
    assert bits(result) == bits(af.process(af.analysis.dimuon.analyse, sample))


def test_workers_have_this_environment(client, monkeypatch):
    for worker in client.run(lambda: (sys.executable, dict(os.environ))).values():
        executable, variables = worker
        assert executable == sys.executable
        assert variables["MALLOC_MMAP_THRESHOLD_"] == "33554432"
        assert variables["OMP_NUM_THREADS"] == "1"
        assert "SLURM_JOB_ID" in variables
    for variables in client.run(initial_environment).values():  # the allocator only reads the initial environment
        assert variables["MALLOC_TRIM_THRESHOLD_"] == "536870912"
    check_versions(client)


def test_connecting_needs_the_certificates(client):
    address = client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    with pytest.raises(ConnectError, match="certificate"):
        # without security=, connect() would find the certificates in the registry
        af.connect(address, security=Security.temporary(), timeout_s=5, quiet=True)
    folder = Path(client.cluster.entry.folder)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    script = client.cluster.entry.job_name
    assert "PRIVATE KEY" not in (repr(client.cluster) + script)


def test_late_workers_have_the_files_and_the_proxy(client, tmp_path):
    (tmp_path / "sf.json").write_text("{}")
    af.send_files(client, {"slurm_sf": tmp_path / "sf.json"})
    authority = Authority()
    source = write(tmp_path / "x509up", proxy(authority.user()).pem())
    af.send_proxy(client, source, cert_dir=authority.folder(tmp_path / "certificates"))
    early = set(client.scheduler_info(n_workers=-1)["workers"])
    client.cluster.scale(3)
    client.wait_for_workers(3, timeout=120)
    (late,) = set(client.scheduler_info(n_workers=-1)["workers"]) - early
    found = client.submit(
        lambda: (Path(af.file("slurm_sf")).read_text(), Path(os.environ["X509_USER_PROXY"]).read_bytes()),
        workers=[late],
        pure=False,
    )
    assert found.result(timeout=60) == ("{}", source.read_bytes())
    client.cluster.scale(2)
    assert eventually(lambda: workers(client) == 2, within_s=60)


def test_scaling_down_loses_no_result(client):
    scattered = client.scatter(list(range(20)), broadcast=False)
    futures = client.map(lambda x: x + 100, range(40), pure=False)
    wait(futures)
    client.cluster.scale(1)
    assert eventually(lambda: workers(client) == 1, within_s=60)
    assert client.gather(scattered) == list(range(20))
    assert client.gather(futures) == list(range(100, 140))
    client.cluster.scale(2)
    client.wait_for_workers(2, timeout=120)


@pytest.mark.parametrize("how", ["scancel", "time limit"])
def test_a_run_survives_a_killed_job(client, slurm, sample, how):
    client.wait_for_workers(2, timeout=120)
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(af.process, slow_count, sample, client, chunk_entries=250, progress=False)
        assert eventually(lambda: any(client.processing().values()), within_s=60)
        job = next(job for job in client.cluster.jobs() if job.state == "running")
        if how == "scancel":
            slurm.command("scancel", job.id)
        else:
            slurm.command("scontrol", "update", f"JobId={job.id}", "EndTime=now+1")
        result = run.result(timeout=300)
    result.report.check()
    assert result["n"] == 20_000
    ended = [found for found in client.cluster.jobs() if found.id == job.id]
    assert not ended or ended[0].state in ("running", "ended")
    assert eventually(lambda: jobs_in(client, "ended", job.id), within_s=60)
    assert eventually(lambda: workers(client) == 2, within_s=120)  # a new job replaces it
    assert job.id in "".join(path.name for path in logs(client))
    if how == "time limit":
        assert "DUE TO TIME LIMIT" in Path(job.log).read_text()


def jobs_in(client: Client, state: str, job_id: str) -> bool:
    return any(job.id == job_id and job.state == state for job in client.cluster.jobs())


def test_logs_returns_the_logs_of_scheduler_and_jobs(client):
    found = logs(client)
    assert found == logs("shared")
    assert [path for path in found if path.name == "scheduler.log"]
    registered = [path for path in found if path.name != "scheduler.log" and "Registered to" in path.read_text()]
    assert len(registered) >= 2


def test_adapt_up_and_down_loses_no_result(slurm, settings):
    with af.connect("slurm", adapt=(0, 3), quiet=True) as client:
        assert workers(client) == 0
        limits = client.cluster.adapt(minimum=0, maximum=3, interval="200ms", target_duration="500ms")
        assert (limits.minimum, limits.maximum) == (0, 3)
        futures = client.map(lambda x: time.sleep(0.25) or x * x, range(120), pure=False)
        most = 0
        while not all(future.done() for future in futures):
            most = max(most, workers(client))
            wait(futures, return_when="FIRST_COMPLETED", timeout=300)
            time.sleep(0.05)
        assert most == 3
        assert eventually(lambda: workers(client) == 1, within_s=120)  # one worker has the results
        ran = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        assert ran == 120
        assert client.gather(futures) == [x * x for x in range(120)]
        del futures
        assert eventually(lambda: workers(client) == 0, within_s=120)
        assert eventually(lambda: not jobs_of(slurm, "slurm-"), within_s=60)


# -------------------------------------------------------------------------------------------- what Slurm refuses


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"partition": "nowhere"}, r"refused a job: .*invalid partition specified: nowhere.*partition="),
        ({"cores": 64}, r"pending \(PartitionConfig\).*no node of the partition has enough CPUs.*cores="),
        ({"memory": "900 GiB"}, r"refused a job: .*Memory specification|Requested node configuration"),
        ({"reservation": "mine"}, r"refused a job: .*[Rr]eservation"),
        ({"constraint": "gpu"}, r"refused a job: .*Invalid feature.*constraint="),
        ({"walltime": "5h"}, r"pending \(PartitionTimeLimit\).*walltime= is longer than the partition allows"),
        ({"directives": ["--no-such-option"]}, r"refused a job: .*no-such-option"),
        ({"python": "/no/such/python"}, r"started and ended \(FAILED.*before its worker joined.*\n.*no/such/python"),
        ({"partition": "closed", "timeout_s": 6}, r"0 of 1 workers joined within 6 s.*PartitionDown.*closed for now"),
        ({"account": "nobody", "prologue": ["exit 3"]}, r"started and ended \(FAILED"),
    ],
)
def test_an_impossible_request_ends_with_slurms_reason(slurm, settings, options, reason):
    with pytest.raises(ConnectError, match=f"(?s){reason}"):
        af.connect("slurm", n_workers=1, quiet=True, **options)
    assert not jobs_of(slurm, "slurm-")
    assert not list((Path(settings["XDG_STATE_HOME"]) / "af_kit" / "clusters").glob("slurm-*"))


def test_the_wait_for_pending_jobs_is_explained(slurm, settings, capsys):
    blocker = slurm.command(
        "sbatch", "--parsable", "--exclusive", "--job-name=blocker", "--wrap=sleep 600", "-o/dev/null"
    )
    assert slurm.command("scontrol", "show", "job", blocker)
    try:
        with pytest.raises(ConnectError, match=r"(?s)2 of 2 jobs pending \((Resources|Priority).*Wait \(timeout_s=\)"):
            af.connect("slurm", n_workers=2, cores=8, timeout_s=20)
    finally:
        slurm.command("scancel", blocker)
    assert "Waiting for workers: 0 of 1; 2 of 2 jobs pending (" in capsys.readouterr().out
    assert eventually(lambda: not jobs_of(slurm, "slurm-"), within_s=30)


# ---------------------------------------------------------------------------------------------------------- lifetimes


@pytest.mark.parametrize("victim", ["client", "scheduler"])
def test_a_killed_session_leaves_nothing(slurm, settings, victim):
    # more than Slurm can run: some jobs are pending
    process = session("""
        client = af.connect("slurm", n_workers=9, name="killed", quiet=True)
        print(client.cluster.entry.pid, flush=True)
        import signal
        signal.pause()
    """)
    scheduler = int(process.stdout.readline())
    try:
        assert len(jobs_of(slurm, "killed")) == 9
        assert any("PENDING" in line for line in jobs_of(slurm, "killed"))
        os.kill(process.pid if victim == "client" else scheduler, signal.SIGKILL)
        assert eventually(lambda: not jobs_of(slurm, "killed"), within_s=60)
        assert eventually(lambda: birth(scheduler) is None, within_s=60)  # or a zombie
        assert eventually(lambda: not (Path(settings["XDG_STATE_HOME"]) / "af_kit/clusters/killed").exists())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_closing_ends_the_jobs_and_ctrl_c_does_not(slurm, settings):
    client = af.connect("slurm", n_workers=1, name="mine", quiet=True)
    os.kill(client.cluster.entry.pid, 0)
    assert os.getsid(client.cluster.entry.pid) != os.getsid(0)  # Ctrl-C in a terminal does not reach it
    with pytest.raises(InputError, match=r"named 'mine' exists already: connect\(name='mine'\)"):
        af.connect("slurm", name="mine", detach=True, quiet=True)
    client.close()
    assert eventually(lambda: not jobs_of(slurm, "mine"), within_s=30)
    with pytest.raises(ConnectError, match="No cluster named 'mine' runs"):
        af.connect(name="mine")


def test_a_detached_cluster(slurm, settings):
    first = session("""
        client = af.connect("slurm", n_workers=1, name="big", detach=True, idle_timeout_s=600, quiet=True)
        client.submit(lambda: 41, key="result")
        print(client.scheduler.address)
    """)
    address = first.communicate(timeout=300)[0].strip()
    assert first.returncode == 0
    assert len(jobs_of(slurm, "big")) == 1
    second = session("""
        client = af.connect("big", quiet=True)
        print(client.scheduler.address, client.submit(sum, [1, 2]).result())
        client.cluster.scale(2)
        client.wait_for_workers(2, timeout=120)
        print(len(client.scheduler_info()["workers"]))
        af.send_files(client, {"notes": __file__}) if "__file__" in globals() else None
        client.close()
    """)
    assert second.communicate(timeout=300)[0].split() == [address, "3", "2"]
    with af.connect(address, quiet=True) as client:  # connect() finds the certificates
        assert workers(client) == 2
        client.cluster.adapt(minimum=1, maximum=1)
        assert eventually(lambda: workers(client) == 1, within_s=60)
    listed = json.loads(af_kit("cluster", "list", "--json").stdout)
    (big,) = [entry for entry in listed if entry["name"] == "big"]
    assert (big["address"], big["workers"], big["detached"]) == (address, 1, True)
    assert "PRIVATE KEY" not in json.dumps(listed)
    stopped = af_kit("cluster", "stop", "big")
    assert stopped.returncode == 0, stopped.stderr
    assert eventually(lambda: not jobs_of(slurm, "big"), within_s=30)
    assert "Registered to" in af_kit("cluster", "logs", "big", "--lines", "500").stdout
    again = af_kit("cluster", "stop", "big")
    assert (again.returncode, again.stdout) == (2, "")
    assert "No cluster named 'big' runs" in again.stderr


def test_an_idle_detached_cluster_ends(slurm, settings):
    started = af_kit(
        "cluster", "start", "slurm", "--detach", "--name", "idle", "--n-workers", "1", "--idle-timeout", "3",
        "--option", "partition=long",
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    assert 'connect(name="idle")' in started.stdout
    assert eventually(lambda: not jobs_of(slurm, "idle"), within_s=60)
    assert eventually(lambda: "idle " not in af_kit("cluster", "list").stdout, within_s=60)


def test_af_kit_run_on_slurm(slurm, settings, sample, tmp_path):
    done = af_kit(
        "run", "dimuon", *sample, "--cluster", "slurm", "--n-workers", "1", "--walltime", "20m", "--no-plots",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "report.json").read_text())["entries"]
    assert entries == {"planned": 20_000, "processed": 20_000, "failed": 0}
    assert eventually(lambda: not jobs_of(slurm, "slurm-"), within_s=30)


def test_a_worker_started_by_hand(client, settings):
    before = workers(client)
    command = [str(Path(sys.executable).with_name("af-kit")), "worker", "shared", "--name", "by-hand"]
    with subprocess.Popen([*command, "--memory", "1 GiB"], stderr=subprocess.DEVNULL) as process:
        client.wait_for_workers(before + 1, timeout=120)
        names = {str(worker["name"]) for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
        assert "by-hand" in names
        process.terminate()
        process.wait(60)
    assert eventually(lambda: workers(client) == before, within_s=60)
