"""An HTCondor pool: its service, and the kit's Dask clusters on it.

HTCondor accepts no jobs from root. So tests marked `as_user` run in a process of the pool's user on the pool's machine,
like a notebook on a submit node.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from cluster_tools import eventually
from distributed import Security
from lab_tools import Visitor
from run_tools import scheduler_address
from temporary import temporary_service

import af_kit as af
from af_kit.errors import ConnectError
from af_kit.simulate import write_files
from services.htcondor import system
from services.htcondor.pool import USER, HTCondor
from services.xrootd.authority import Authority

TUNED = ("net/ipv4/ip_local_port_range", "fs/pipe-user-pages-soft", "net/core/rmem_max")
ON_THE_POOL = "AF_KIT_TEST_POOL"


@pytest.fixture(scope="module")
def pool(require) -> Iterator[HTCondor]:
    require("htcondor", system.PROGRAMS)
    if reason := system.missing():
        pytest.skip(f"htcondor cannot run here: {reason}")
    with temporary_service(HTCondor, "htcondor") as pool:
        yield pool.start()


def as_user(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in another pytest process, of the pool's user on the pool's machine."""
    if ON_THE_POOL in os.environ:
        return test
    name = test.__name__

    def outside(pool: HTCondor) -> None:
        scratch = pool.home / "tests" / name
        command = ["env", f"{ON_THE_POOL}={pool.folder}", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-m", "pytest"]
        options = ["-q", "-p", "no:cacheprovider", f"--basetemp={scratch}", f"{__file__}::{name}"]
        pool.run(["mkdir", "--parents", str(scratch.parent)])
        done = pool.run([*command, *options], within_s=280)
        assert done.returncode == 0, f"As {USER}:\n{done.stdout}{done.stderr}"

    outside.__name__, outside.__doc__ = name, test.__doc__
    return outside


# ------------------------------------------------------------------------------------------------------ the service


def test_the_pools_commands_work_on_this_machine(pool, tmp_path):
    job = f"executable = /usr/bin/id\narguments = -un\noutput = {pool.home}/who\nlog = {pool.home}/log\nqueue\n"
    submitted = subprocess.run([pool.bin / "condor_submit"], input=job, capture_output=True, text=True, check=True)
    assert "1 job(s) submitted" in submitted.stdout
    subprocess.run([pool.bin / "condor_wait", "-wait", "60", pool.home / "log"], check=True, capture_output=True)
    assert (pool.home / "who").read_text() == f"{USER}\n"


def test_a_second_start_finds_the_first(pool):
    before = pool.running()
    assert before
    command = [Path(__file__).parents[2] / "services" / "htcondor" / "start", "--folder", pool.folder]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"export PATH={pool.bin}:$PATH" in printed
    assert pool.running() == before


def test_it_listens_on_this_machine_only(pool):
    master = psutil.Process(pool.running()["master"])
    processes = [master, *master.children(recursive=True)]
    assert {"condor_collector", "condor_schedd", "condor_startd"} <= {process.name()[:16] for process in processes}
    bound = {connection.laddr.ip for process in processes for connection in process.net_connections(kind="inet")}
    assert bound == {"127.0.0.1"}


def test_stop_leaves_nothing(pool):
    state = pool.running()
    inside = [process.pid for process in psutil.Process(state["master"]).children(recursive=True)]
    kernel = [Path("/proc/sys", name).read_text() for name in TUNED]
    pool.stop()
    assert pool.running() == {}
    assert not any(psutil.pid_exists(pid) for pid in (*state.values(), *inside))
    assert str(pool.folder) not in Path("/proc/self/mountinfo").read_text()
    pool.start()
    assert [Path("/proc/sys", name).read_text() for name in TUNED] == kernel


# ------------------------------------------------------------------------------------------------- the kit's clusters


@pytest.fixture
def settings(tmp_path) -> Iterator[dict[str, str]]:
    """The environment of a session on the pool, set for this process too. The queue must be empty afterwards."""
    variables = {"XDG_STATE_HOME": str(tmp_path / "state")}
    variables |= {
        f"DASK_AF_KIT__CLUSTER__{name}": value
        for name, value in {
            "BATCH__SCHEDULER_HOST": "127.0.0.1",
            "BATCH__INTERFACE": "lo",
            "BATCH__POLL_S": "1",
            "BATCH__MEMORY": "1 GiB",
            "BATCH__PRELOAD": "['af_kit.plugins.xrootd_preload']",
            "HTCONDOR__DISK": "100 MiB",
        }.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DASK_SCHEDULER_ADDRESS", "X509_USER_PROXY", "X509_CERT_DIR"):
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        with dask.config.set(dask.config.collect(paths=[], env=variables)):
            yield variables
    assert eventually(lambda: not queue(), within_s=60), queue()


def queue() -> list[str]:
    """Return the ids of the jobs in the queue."""
    listed = subprocess.run(["condor_q", "-af:j", "JobStatus"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listed.splitlines()]


def write_sample(folder: Path) -> list[str]:
    return [str(path) for path in write_files("dimuon", folder, 20_000, 4, 7)]


def bits(result: Any) -> dict[str, Any]:
    """Return a dimuon result in a form that == compares bit for bit."""
    return {name: value.values(flow=True).tolist() for name, value in result.items() if hasattr(value, "values")}


@as_user
def test_dimuon_equals_the_local_result_and_a_late_worker_has_its_files(settings, tmp_path):
    sample = write_sample(tmp_path / "sample")
    (tmp_path / "note.txt").write_text("for all")
    with af.connect("htcondor", n_workers=1, quiet=True) as client:
        af.send_files(client, {"note": str(tmp_path / "note.txt")})
        client.cluster.scale(2)
        client.wait_for_workers(2, timeout=120)
        assert set(client.run(lambda: Path(af.file("note")).read_text()).values()) == {"for all"}
        assert set(client.run(os.getuid).values()) == {os.getuid()}
        result = af.process(af.analysis.dimuon.analyse, sample, client, chunk_entries=1500)
        jobs = client.cluster.jobs()
    result.report.check()
    here = af.process(af.analysis.dimuon.analyse, sample)
    assert bits(result) == bits(here)
    assert len(bits(here)) >= 2
    assert [job.state for job in jobs] == ["running", "running"]
    for job in jobs:
        assert "Registered to" in Path(job.log).read_text()


@as_user
def test_an_adaptive_cluster_follows_its_load_and_loses_nothing(settings, tmp_path):
    seen, ran = tmp_path / "workers", tmp_path / "ran"
    seen.mkdir()

    def work(number: int) -> int:
        from distributed import get_worker

        (seen / get_worker().name).touch()
        deadline = time.monotonic() + 120
        while len(list(seen.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        with ran.open("a") as file:
            file.write(f"{number}\n")
        return number

    with af.connect("htcondor", adapt=(0, 2), quiet=True) as client:
        client.cluster.adapt(minimum=0, maximum=2, interval="200ms", wait_count=5)
        futures = client.map(work, range(40))
        assert eventually(lambda: len(client.scheduler_info()["workers"]) == 2, within_s=120)
        assert client.gather(futures) == list(range(40))
        assert eventually(lambda: len(client.scheduler_info()["workers"]) == 1, within_s=120)
        assert client.gather(futures) == list(range(40))
        assert sorted(map(int, ran.read_text().split())) == list(range(40)), "a task ran twice: its result was lost"
        del futures
        assert eventually(lambda: not client.scheduler_info()["workers"], within_s=120)
        assert eventually(lambda: not queue(), within_s=60)


@as_user
def test_a_run_survives_removed_and_held_jobs(settings, tmp_path):
    sample = write_sample(tmp_path / "sample")
    started, done = tmp_path / "started", tmp_path / "done"

    def analyse(events: Any) -> dict[str, int]:
        started.touch()
        deadline = time.monotonic() + 200
        while not done.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return {"entries": len(events)}

    def disturb() -> None:
        assert eventually(started.exists, within_s=100)
        first, second = queue()[:2]
        subprocess.run(["condor_rm", first], check=True)
        assert eventually(lambda: first not in queue() and len(queue()) == 2, within_s=60)
        subprocess.run(["condor_hold", second], check=True)
        assert eventually(lambda: len(queue()) == 3, within_s=60)
        done.touch()

    with af.connect("htcondor", n_workers=2, quiet=True) as client, ThreadPoolExecutor(1) as thread:
        client.wait_for_workers(2, timeout=120)
        disturbed = thread.submit(disturb)
        result = af.process(analyse, sample, client, chunk_entries=1000)
        disturbed.result()
        reasons = {job.reason for job in client.cluster.jobs() if job.state == "ended"}
    result.report.check()
    assert result["entries"] == result.report.entries["processed"] == 20_000
    assert reasons == {f"removed: via condor_rm (by user {USER})", f"held: via condor_hold (by user {USER})"}


@as_user
def test_unmatched_requirements_are_reported(settings):
    cases = [
        (
            {"memory": "976 GiB", "requirements": '(OpSysAndVer == "Plan9")'},
            'OpSysAndVer == "Plan9" or TARGET.Memory >= RequestMemory (RequestMemory = 999424 (mb))',
        ),
        ({"container_image": "docker://registry/kit"}, "TARGET.HasContainer"),
    ]
    for options, requirement in cases:
        with pytest.raises(ConnectError) as error:
            af.connect("htcondor", timeout_s=15, quiet=True, **options)
        assert "1 of 1 jobs pending (idle)" in str(error.value)
        assert "1 are rejected by your job's requirements" in str(error.value)
        assert f"no machine has {requirement}" in str(error.value)


@as_user
def test_a_job_that_cannot_run_is_reported_at_once(settings, tmp_path):
    cases = {
        f"held: Transfer input files failure .*{tmp_path}/absent": {
            "submit": f"transfer_input_files = {tmp_path}/absent"
        },
        "exit code 127.*Does python= exist on the workers.*/nowhere/python: not found": {"python": "/nowhere/python"},
        "refused a job: .*The group closed takes no jobs": {"submit": ["accounting_group = closed"]},
        "refused a job: .*Parse error in expression": {"requirements": "Memory >"},
    }
    for reason, options in cases.items():
        with pytest.raises(ConnectError, match=f"(?s)No worker will come.*{reason}"):
            af.connect("htcondor", timeout_s=200, quiet=True, **options)


@as_user
def test_a_killed_session_leaves_no_jobs(settings):
    with session("client = af.connect('htcondor', quiet=True)") as process:
        assert len(queue()) == 1
        process.kill()
        process.wait()
        assert eventually(lambda: not queue(), within_s=60)


@as_user
def test_a_detached_cluster_outlives_its_session(settings):
    with session("client = af.connect('htcondor', quiet=True, name='detached', detach=True)") as process:
        process.kill()
        process.wait()
    before = queue()
    assert len(before) == 1
    with af.connect(name="detached", n_workers=1, quiet=True) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    assert queue() == before
    af.connect(name="detached", quiet=True).cluster.shutdown()
    assert eventually(lambda: not queue(), within_s=60)


@contextmanager
def session(lines: str) -> Iterator[subprocess.Popen[str]]:
    """Start another session, which has run these lines."""
    script = f"import sys, af_kit as af\n{lines}\nprint('ready', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@as_user
def test_without_a_shared_file_system(settings, tmp_path, monkeypatch):
    authority = Authority(tmp_path / "ca")
    authority.create()
    proxy = authority.write_proxy(tmp_path / "proxy.pem", "alice", lifetime_s=3600)
    monkeypatch.setenv("X509_USER_PROXY", str(proxy))
    home = Path.home()
    assert proxy.is_relative_to(home)

    def inspect() -> tuple[list[str], str, int]:
        proxy = Path(os.environ["X509_USER_PROXY"])
        return [path.name for path in home.iterdir()], proxy.read_text(), proxy.stat().st_mode & 0o777

    options = {"shared_filesystem": False, "submit": ["+SharedFilesystem = False"]}
    with af.connect("htcondor", quiet=True, **options) as client:
        assert client.scheduler.address.startswith("tls://")
        found, sent, mode = client.submit(inspect).result()
        (job,) = client.cluster.jobs()
        assert "Registered to" in Path(job.log).read_text()
    assert found == [], "the job sees its user's home"
    assert (sent, mode) == (proxy.read_text(), 0o600)


@as_user
def test_the_documented_submit_file_for_workers(settings, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```\n(# worker\.sub\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    # This pool has no containers.
    used = [line for line in text.splitlines() if not line.startswith(("universe ", "container_image "))]
    assert len(used) == len(text.splitlines()) - 2
    (tmp_path / "worker.sub").write_text("\n".join(used) + "\n")
    security = Security.temporary()
    for name, content in (
        ("ca", security.tls_ca_file), ("cert", security.tls_client_cert), ("key", security.tls_client_key)
    ):  # fmt: skip
        (tmp_path / f"{name}.pem").write_text(content)
    authority = Authority(tmp_path / "authority")
    authority.create()
    proxy = authority.write_proxy(tmp_path / "proxy.pem", "alice", lifetime_s=3600)
    tls = [f"--tls-{name}={tmp_path / name.replace('-file', '')}.pem" for name in ("ca-file", "cert", "key")]
    listen = ["--host=127.0.0.1", "--port=0", "--no-dashboard", f"--scheduler-file={tmp_path}/scheduler.json"]
    scheduler = subprocess.Popen([sys.executable, "-m", "dask", "scheduler", "--protocol=tls", *listen, *tls])
    try:
        address = scheduler_address(tmp_path / "scheduler.json")
        own = [f"address = {address}", f"afkit = {Path(sys.executable).parent}/af-kit", "memory = 1024"]
        subprocess.run(
            ["condor_submit", *[word for line in own for word in ("-append", line)], "worker.sub"],
            cwd=tmp_path,
            env={**os.environ, "X509_USER_PROXY": str(proxy)},
            check=True,
            timeout=60,
        )
        with af.connect(address, security=security, n_workers=2, timeout_s=150, quiet=True) as client:
            sent = client.run(lambda: Path(os.environ["X509_USER_PROXY"]).read_text())
        assert list(sent.values()) == [proxy.read_text()] * 2
    finally:
        subprocess.run(["condor_rm", "-all"], check=True)
        scheduler.terminate()
        scheduler.wait(60)


@as_user
def test_a_lab_without_a_shared_file_system_receives_its_token_and_ends_with_its_command(settings, tmp_path):
    command = [str(Path(sys.executable).with_name("af-kit")), "lab", "--htcondor", "--login", "127.0.0.1"]
    command += ["--cores", "1", "--memory", "1 GiB", "--directive", "+SharedFilesystem = False"]
    output, errors = tmp_path / "output", tmp_path / "errors"
    with output.open("w") as out, errors.open("w") as err:
        lab = subprocess.Popen(command, stdout=out, stderr=err)
    try:
        assert eventually(lambda: "token=" in output.read_text() or lab.poll() is not None, within_s=120)
        assert lab.poll() is None, errors.read_text()
        address, token = re.search(r"(http://127\.0\.0\.1:\d+)/lab\?token=(\S+)", output.read_text()).groups()
        assert Visitor(address, token).get("/api/contents")[0] == 200  # laptop, login node and worker are one machine
        assert Visitor(address).get("/api/contents")[0] == 403
        with Visitor(address, token).kernel() as run:
            assert run("from af_kit.cluster.workers.resource_limits import cores; print(cores())") == "1\n"
        assert len(queue()) == 1
        described = subprocess.run(["condor_q", "-long"], capture_output=True, text=True, check=True).stdout
        assert token not in described
        (folder,) = tmp_path.glob("state/af_kit/labs/*")
        assert token not in (folder / "log").read_text()
    finally:
        lab.send_signal(signal.SIGINT)
        code = lab.wait(timeout=60)
    assert code == 130, errors.read_text()
    assert not (folder / "token").exists()
