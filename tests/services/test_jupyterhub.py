"""A real JupyterHub: logins, and dashboards on other machines through a user's server.

The other machine is a network namespace with a scheduler.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from hub_session import PATIENCE_S, Kernel, Session, check_dashboard
from temporary import temporary_service

from services.common import ServiceError, is_running, processes_below, wait_until
from services.jupyterhub.server import PROGRAMS, JupyterHub, missing
from services.oidc.server import GROUP

pytestmark = pytest.mark.timeout(900)


class Member(Session):
    """A user with an account at the provider."""

    def __init__(self, hub: JupyterHub, user: str) -> None:
        super().__init__(hub.url, user, hub.log("hub"))
        self.hub = hub

    def log_in(self) -> requests.Response:
        page = self.http.get(f"{self.url}/hub/oauth_login", timeout=60)
        form = {"name": self.user, "password": self.hub.oidc.password(self.user)}
        return self.http.post(page.url, data=form, timeout=60)


@pytest.fixture(scope="module")
def hub(require) -> Iterator[JupyterHub]:
    require("jupyterhub", [*PROGRAMS, "ip"])
    if reason := missing():
        pytest.skip(f"jupyterhub is not installed: {reason}")
    with temporary_service(JupyterHub, "hub") as hub:
        hub.start({"DASK_AF_KIT__CLUSTER__TIMEOUT_S": str(PATIENCE_S)})
        yield hub


@pytest.fixture(scope="module")
def alice(hub) -> Member:
    session = Member(hub, "alice")
    session.log_in()
    session.start_server()
    return session


# ------------------------------------------------------------------------------------------------------------- logins


def test_a_member_of_the_group_can_log_in(hub, alice):
    me = alice.http.get(f"{hub.url}/hub/api/user", headers={"Referer": hub.url}, timeout=60).json()
    assert me["name"] == "alice"
    assert GROUP in me["groups"]
    assert "JupyterLab" in alice.get("lab").text


def test_the_first_start_copies_the_notebooks_to_a_private_home(hub, alice):
    notebooks = hub.home("alice") / "notebooks"
    assert (notebooks / "01-dimuon-exploration.ipynb").is_file()
    assert hub.home("alice").stat().st_mode & 0o077 == 0


def test_a_user_who_is_not_in_the_group_is_refused_with_a_reason(hub):
    mallory = Member(hub, "mallory")
    answer = mallory.log_in()
    assert answer.status_code == 403
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", answer.text)).replace("&#39;", "'")
    assert f"this hub is for the members of its group '{GROUP}'" in text
    assert mallory.http.get(f"{hub.url}/hub/home", timeout=60).url.startswith(f"{hub.url}/hub/login")
    assert not hub.home("mallory").exists()


def test_a_server_needs_a_login(hub, alice):
    stranger = requests.Session()
    answer = stranger.get(alice.at("lab"), timeout=60)
    assert answer.url.startswith(f"{hub.url}/hub/login")
    assert stranger.get(alice.at("dask/clusters"), timeout=60).status_code in (401, 403) or "/hub/login" in answer.url


# -------------------------------------------------------------------------- dashboards of schedulers on other machines

AS_ROOT = [] if os.getuid() == 0 else ["sudo", "--non-interactive"]


class Machine:
    """Another machine: a network namespace with a link to this machine."""

    def __init__(self) -> None:
        self.name = f"afkit{secrets.token_hex(3)}"
        number = secrets.randbelow(250)
        self.ours, self.host = f"10.203.{number}.1", f"10.203.{number}.2"
        self._processes: list[subprocess.Popen] = []

    def start(self) -> None:
        inner, outer = f"{self.name}i", f"{self.name}o"
        self._ip("netns", "add", self.name)
        self._ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self.name)
        self._ip("addr", "add", f"{self.ours}/30", "dev", outer)
        self._ip("link", "set", outer, "up")
        for command in (f"addr add {self.host}/30 dev {inner}", f"link set {inner} up", "link set lo up"):
            self._ip("-n", self.name, *command.split())

    def run(self, *command: str, log: Path) -> None:
        with log.open("wb") as output:
            inside = [*AS_ROOT, "ip", "netns", "exec", self.name, *command]
            self._processes.append(subprocess.Popen(inside, stdout=output, stderr=output))

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(60)
        subprocess.run([*AS_ROOT, "ip", "netns", "delete", self.name], check=False)

    def _ip(self, *arguments: str) -> None:
        subprocess.run([*AS_ROOT, "ip", *arguments], check=True)


@pytest.fixture(scope="module")
def machine(hub, tmp_path_factory) -> Iterator[Machine]:
    """A machine with a scheduler, its dashboard, a worker, and a web server that does not belong to Dask."""
    logs = tmp_path_factory.mktemp("machine")
    machine = Machine()
    try:
        machine.start()
        python = (sys.executable, "-m")
        address = ("--host", machine.host, "--port", "8786", "--dashboard-address", f"{machine.host}:8787")
        machine.run(*python, "distributed.cli.dask_scheduler", *address, log=logs / "scheduler")
        options = ("--no-dashboard", "--nthreads", "1", "--local-directory", str(logs))
        machine.run(*python, "distributed.cli.dask_worker", f"tcp://{machine.host}:8786", *options, log=logs / "worker")
        machine.run(*python, "http.server", "8000", "--bind", machine.host, log=logs / "web")
        for port in (8787, 8000):
            url = f"http://{machine.host}:{port}/"
            wait_until(lambda url=url: _answers(url), f"{url} does not answer", within_s=PATIENCE_S)
        yield machine
    finally:
        machine.stop()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def kernel(alice) -> Iterator[Kernel]:
    kernel = Kernel(alice)
    yield kernel
    kernel.stop()


def test_a_dashboard_on_another_machine_is_visible_through_the_hub(hub, alice, machine, kernel):
    page = f"proxy/{machine.host}:8787/individual-task-stream"
    assert alice.get(page).status_code == 403  # a scheduler, but not one of hers
    address = f"tcp://{machine.host}:8786"
    printed = kernel.run(f"import af_kit\nclient = af_kit.connect({address!r})\nprint(client.dashboard_link)")
    link = printed.splitlines()[-1]
    assert link == f"/user/alice/proxy/{machine.host}:8787/status"

    check_dashboard(alice, f"proxy/{machine.host}:8787")

    for pasted in (link, f"http://{machine.host}:8787/status", address):
        found = alice.get(f"dask/dashboard-check/{quote(quote(pasted, safe=''), safe='')}").json()
        assert found["isActive"], pasted
        assert found["effectiveUrl"] == link.removesuffix("status")

    diagnosis = "print(*((one.state, one.seen) for one in af_kit.doctor({}).findings if one.check == 'dashboard'))"
    kernel.run("import dask; dask.config.set({'af_kit.doctor.check_s': 60})")
    assert f"('ok', '{link} answers (200) through your server')" in kernel.run(diagnosis.format("client"))

    kernel.run("client.close()")
    assert alice.get(page).status_code == 403
    kernel.run(f"from distributed import Client\nunknown = Client({address!r})")
    assert f"('warning', '{link} is refused by your server')" in kernel.run(diagnosis.format("unknown"))
    kernel.run("unknown.close()")


def test_other_servers_than_schedulers_are_refused(alice, machine, kernel):
    kernel.run(f"import af_kit\nclient = af_kit.connect('tcp://{machine.host}:8786', quiet=True)")
    assert _answers(f"http://{machine.host}:8000/")  # it answers this machine
    for target in (f"{machine.host}:8000/", f"{machine.host}:8786/", f"{machine.ours}:8787/status"):
        answer = alice.get(f"proxy/{target}")
        assert answer.status_code == 403, target
        assert "is not allowed" in answer.text
    found = alice.get(f"dask/dashboard-check/{quote(quote(f'http://{machine.host}:8000/', safe=''), safe='')}").json()
    assert found["isActive"] is False
    kernel.run("client.close()")


def test_the_panel_of_a_user_is_closed_to_others(hub, alice):
    mallory = Member(hub, "mallory")
    mallory.log_in()
    assert mallory.http.get(alice.at("dask/clusters"), timeout=60).status_code in (401, 403)


# ---------------------------------------------------------------------------------------------------------------- end


def test_the_panel_starts_a_cluster_on_the_hub(alice):
    model = alice.ask("PUT", "dask/clusters").json()
    assert model["dashboard_link"].startswith("/user/alice/proxy/127.0.0.1:")
    page = model["dashboard_link"].removeprefix("/user/alice/").replace("status", "individual-task-stream")
    assert alice.get(page).status_code == 200
    assert alice.ask("DELETE", f"dask/clusters/{model['id']}").status_code == 204


def test_stop_ends_all_processes(require, tmp_path):
    require("jupyterhub", PROGRAMS)
    if reason := missing():
        pytest.skip(f"jupyterhub is not installed: {reason}")
    hub = JupyterHub(tmp_path / "hub").start()
    assert hub.start().url == hub.url  # a second start finds it
    processes = [hub.process("hub"), hub.oidc.process("provider")]
    below = processes_below(processes[0])
    assert below  # the proxy
    hub.stop()
    assert not [process for process in [*processes, *below] if is_running(process)]
    with pytest.raises(ServiceError, match="was not started"):
        print(JupyterHub(tmp_path / "another").url)
