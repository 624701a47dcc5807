"""``af-kit lab`` in a real Slurm job: through a real login node, with the ssh line that it prints.

The login node is a network namespace with an sshd. This machine is both the worker, with its address on that network,
and the user's laptop, where the tunnel starts.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from lab_tools import Visitor
from temporary import temporary_service

from services.common import free_ports
from services.login.node import PROGRAMS as LOGIN_PROGRAMS
from services.login.node import LoginNode
from services.slurm.cluster import PROGRAMS as SLURM_PROGRAMS
from services.slurm.cluster import Slurm

AF_KIT = Path(sys.executable).with_name("af-kit")
PATIENCE_S = 90


@pytest.fixture(scope="module")
def slurm(require) -> Iterator[Slurm]:
    require("lab", SLURM_PROGRAMS)
    with temporary_service(Slurm, "slurm") as slurm:
        yield slurm.start()


@pytest.fixture(scope="module")
def node(require, tmp_path_factory) -> Iterator[LoginNode]:
    require("lab", LOGIN_PROGRAMS)
    node = LoginNode(tmp_path_factory.mktemp("login"))
    try:
        yield node.start()
    finally:
        node.stop()


@dataclass
class Command:
    """``af-kit lab`` in a process, and its output."""

    process: subprocess.Popen[str]
    output: Path
    errors: Path

    def printed(self, pattern: str) -> str:
        """Wait for a line that matches, and return it."""
        return until(lambda: self._find(pattern), self.both)

    def end(self, number: int | None = None) -> int:
        """Send a signal, if one is given, and wait for the exit code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_S)

    def both(self) -> str:
        return self.output.read_text() + self.errors.read_text()

    def _find(self, pattern: str) -> str | None:
        ended = self.process.poll() is not None  # checked first, so that the output is complete if it has ended
        found = re.search(pattern, self.both(), re.MULTILINE)
        assert found or not ended, f"The command ended with {self.process.returncode}: {self.both()}"
        return found[0].strip() if found else None


@dataclass
class Site:
    """A user's command line and ssh, at a site with Slurm."""

    slurm: Slurm
    node: LoginNode
    folder: Path
    started: list[Command] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.slurm.environment(),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "DASK_AF_KIT__LAB__LOGIN": self.node.host,
            "DASK_AF_KIT__CLUSTER__BATCH__SCHEDULER_HOST": "127.0.0.1",
            "DASK_AF_KIT__CLUSTER__BATCH__INTERFACE": "lo",
            "DASK_AF_KIT__CLUSTER__BATCH__POLL_S": "1",
        }

    def lab(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run ``af-kit lab ...`` to its end."""
        command = [AF_KIT, "lab", *map(str, arguments)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_S
        )

    def start(self, *arguments: object) -> Command:
        """Start ``af-kit lab --slurm ...``, which keeps running."""
        number = len(self.started)
        output, errors = (self.folder / f"{number}.{name}" for name in ("out", "err"))
        command = [AF_KIT, "lab", "--slurm", "--walltime", "0:30:00", "--memory", "2 GiB", *map(str, arguments)]
        with output.open("w") as out, errors.open("w") as err:
            process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=err, text=True)
        self.started.append(Command(process, output, errors))
        return self.started[-1]

    @contextmanager
    def tunnel(self, line: str) -> Iterator[None]:
        """Run the printed ssh line with the keys of this test."""
        program, *arguments = shlex.split(line)
        port = int(line.split("-L 127.0.0.1:")[1].split(":")[0])
        assert not answers(port)
        ssh = subprocess.Popen([program, *self.node.ssh_options(), *arguments], stderr=subprocess.PIPE, text=True)
        try:
            until(lambda: answers(port) or ssh.poll() is not None)
            assert ssh.poll() is None, ssh.communicate()[1]
            yield
        finally:
            ssh.terminate()
            ssh.communicate(timeout=PATIENCE_S)

    def jobs(self) -> list[str]:
        """Return the names of the jobs in the queue."""
        return self.slurm.command("squeue", "--noheader", "--format=%j").split()

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the processes of a lab's job."""
        job = self.slurm.command("squeue", "--noheader", f"--name={name}", "--format=%A")
        pids = [int(line.split()[0]) for line in self.slurm.command("scontrol", "listpids", job).splitlines()[1:]]
        found = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        return [*found, *(child for process in found for child in process.children(recursive=True))]


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def until(condition: Callable[[], object], what: Callable[[], object] = str) -> object:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
    return found


SSH, ADDRESS = r"^ +ssh .*$", r"^ +http://.*$"


def visitors(address: str) -> tuple[Visitor, Visitor]:
    """Return a visitor with the token of the printed address, and one without a token."""
    address, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/lab\?token=(\S{40,})", address).groups()
    return Visitor(address, token), Visitor(address)


@pytest.fixture(scope="module")
def site(slurm: Slurm, node: LoginNode, tmp_path_factory) -> Iterator[Site]:
    site = Site(slurm, node, tmp_path_factory.mktemp("site"))
    try:
        yield site
    finally:
        for command in site.started:
            if command.process.poll() is None:
                command.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def running(site: Site) -> Iterator[tuple[Command, str]]:
    """A running lab with two cores, and its printed address; the tunnel is open."""
    command = site.start("--cores", 2, "--name", "shared")
    line = command.printed(SSH)
    with site.tunnel(line):
        yield command, command.printed(ADDRESS)


def test_jupyterlab_answers_through_the_tunnel_with_the_token_only(running):
    member, stranger = visitors(running[1])
    status, page = stranger.get(running[1].removeprefix(stranger.address))  # as a browser, without a header
    assert status == 200
    assert "jupyter-config-data" in page
    assert member.get("/api/contents")[0] == 200
    assert stranger.get("/lab")[0] == 302  # to the login form
    assert stranger.get("/api/contents")[0] == 403
    assert Visitor(stranger.address, "x" * 43).get("/api/contents")[0] == 403


def test_requests_under_another_host_name_are_refused(running):
    member, _ = visitors(running[1])
    assert member.get("/api/contents", Host="somewhere.else")[0] == 403


LOCAL = """
import af_kit as af
client = af.connect("local", quiet=True)
workers = client.scheduler_info()["workers"].values()
print(len(workers), sum(worker["memory_limit"] for worker in workers), client.dashboard_link)
"""


def test_a_local_cluster_has_the_resources_of_the_job_and_a_dashboard_through_the_lab(running):
    member, stranger = visitors(running[1])
    with member.kernel() as run:
        workers, memory, dashboard = run(LOCAL).split()
        assert int(workers) == 2
        assert int(memory) == pytest.approx(2 * 2**30, rel=0.01)
        assert dashboard.startswith(f"{member.address}/proxy/")
        path = dashboard.removeprefix(member.address)
        status, page = member.get(path)
        assert status == 200
        assert "Dask Diagnostic UI" in page
        assert stranger.get(path)[0] in (302, 403)


SLURM = """
import af_kit as af
client = af.connect("slurm", n_workers=1, memory="1 GiB", walltime="10m", quiet=True)
print(client.submit(sum, [1, 2]).result(), client.dashboard_link)
"""


def test_a_slurm_cluster_started_in_the_job_ends_with_its_kernel(site, running):
    member, _ = visitors(running[1])
    before = site.jobs()
    with member.kernel() as run:
        three, dashboard = run(SLURM).split()
        assert three == "3"
        assert len(site.jobs()) == len(before) + 1
        status, page = member.get(dashboard.removeprefix(member.address))
        assert status == 200
        assert "Dask Diagnostic UI" in page
    until(lambda: site.jobs() == before, site.jobs)


TRANSPORT = """
from ipykernel.connect import get_connection_info
print("transport", get_connection_info(unpack=True)["transport"])
"""


def test_the_lab_listens_on_one_port_of_the_address_towards_the_login_node(site, running):
    member, _ = visitors(running[1])
    with member.kernel() as run:
        assert "transport ipc" in run(TRANSPORT)
        listening = {
            (connection.laddr.ip, connection.laddr.port)
            for process in site.processes("shared")
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN and not connection.laddr.ip.startswith("127.")
        }
    assert listening == {(site.node.worker, int(member.address.rpartition(":")[2]))}


def test_the_token_is_private(site, running):
    token = visitors(running[1])[0].token
    (folder,) = site.folder.glob("state/af_kit/labs/shared")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "token").read_text() == token
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir() if token in path.read_text()] == ["token"]
    job = site.slurm.command("squeue", "--noheader", "--name=shared", "--format=%A")
    assert token not in site.slurm.command("scontrol", "write", "batch_script", job, "-")
    processes = [*site.processes("shared"), psutil.Process(running[0].process.pid)]
    assert len(processes) > 1
    for process in processes:
        assert token not in " ".join(process.cmdline())
        assert token not in " ".join(process.environ().values())


def test_list_and_show_find_a_running_lab(site, running):
    assert "shared" in site.lab("list").stdout
    shown = site.lab("show", "shared").stdout
    assert re.search(SSH, shown, re.MULTILINE)[0].strip() == running[0].printed(SSH)
    assert running[1] in shown


def test_a_killed_command_leaves_no_job(site):
    command = site.start("--name", "killed")
    command.printed(r"job \d+ is running")
    command.end(signal.SIGKILL)
    until(lambda: "killed" not in site.jobs(), site.jobs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "closed terminal"])
def test_the_job_ends_with_the_command(site, number):
    command = site.start("--name", f"ended-{number}")
    command.printed(r"job \d+ is running")
    assert command.end(number) == 130, command.both()
    assert "cancelled" in command.both()
    until(lambda: f"ended-{number}" not in site.jobs(), site.jobs)
    (folder,) = site.folder.glob(f"state/af_kit/labs/ended-{number}")
    assert not (folder / "token").exists()
    assert f"ended-{number}" not in site.lab("list").stdout
    assert str(folder / "log") in site.lab("list", "--all").stdout


def test_a_detached_lab_outlives_the_command_until_it_is_stopped(site):
    (local,) = free_ports(1)  # the lab's own port is in use here: laptop and worker are one machine
    done = site.lab(
        "--slurm",
        "--walltime",
        "0:30:00",
        "--detach",
        "--listen",
        "loopback",
        "--local-port",
        local,
        "--name",
        "detached",
    )
    assert done.returncode == 0, done.stderr
    line, address = (re.search(pattern, done.stdout, re.MULTILINE)[0].strip() for pattern in (SSH, ADDRESS))
    assert line.endswith(f"-J {getpass.getuser()}@{site.node.host} {getpass.getuser()}@{socket.gethostname()}")
    with site.tunnel(line):
        member, stranger = visitors(address)
        assert member.get("/api/contents")[0] == 200
        assert stranger.get("/api/contents")[0] == 403
    assert site.lab("stop", "detached").returncode == 0
    until(lambda: "detached" not in site.jobs(), site.jobs)
    again = site.lab("show", "detached")
    assert again.returncode == 2
    assert "ended" in again.stderr


def test_the_command_reports_a_cancelled_job(site):
    command = site.start("--name", "short")
    command.printed(ADDRESS)
    site.slurm.command("scancel", "--name=short")
    assert command.end() == 0
    assert "short has ended: CANCELLED" in command.both()


def test_a_pending_job_times_out_with_the_queues_reason(site):
    done = site.lab("--slurm", "--partition", "closed", "--timeout", 2, "--name", "waits")
    assert done.returncode == 2
    assert "PartitionDown" in done.stderr
    assert "another partition" in done.stderr
    until(lambda: "waits" not in site.jobs(), site.jobs)


def test_a_job_that_can_never_start_fails_at_once(site):
    done = site.lab("--slurm", "--walltime", "3h", "--name", "long")
    assert done.returncode == 2
    assert "PartitionTimeLimit" in done.stderr
    until(lambda: "long" not in site.jobs(), site.jobs)


def test_a_refused_job_shows_slurms_message_and_leaves_nothing(site):
    done = site.lab("--slurm", "--partition", "nowhere", "--name", "refused")
    assert done.returncode == 2
    assert "invalid partition" in done.stderr
    assert not (site.folder / "state" / "af_kit" / "labs" / "refused").exists()


def test_the_batch_notebook_runs_on_slurm(site, tmp_path):
    notebook = Path(__file__).parents[2] / "notebooks" / "08-batch-farm.ipynb"
    variables = {"AF_KIT_CLUSTER": "slurm", "AF_KIT_EVENTS": "20000", "AF_KIT_OUT": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", str(notebook)]
    environment = {**site.environment, **variables}
    before = set(site.jobs())
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, len(set(site.slurm.command("squeue", "--noheader", "--format=%i %j").splitlines())))
        time.sleep(0.2)
    assert process.returncode == 0, process.stdout.read()
    assert most >= len(before) + 3  # the workers of the notebook
    until(lambda: set(site.jobs()) == before, site.jobs)
