"""A real Dask Gateway: the service, and the kit's clusters on it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import psutil
import pytest
from certificates import Authority, proxy, write
from cluster_tools import is_alive
from dask_gateway import BasicAuth, GatewayCluster
from dask_gateway import Gateway as GatewayClient
from distributed import Client
from run_tools import once
from temporary import temporary_service
from waiting import until

import af_kit as af
from af_kit.analysis import dimuon
from af_kit.cli import main
from af_kit.cluster import backends, logs
from af_kit.cluster.detached import registry
from af_kit.errors import ConnectError, InputError
from af_kit.simulate import write_files
from services.common import free_ports
from services.gateway.server import PROGRAMS, Gateway

# These tests must not depend on variables of this machine or its user.
VARIABLES = ("DASK_SCHEDULER_ADDRESS", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_API_TOKEN", "X509_USER_PROXY")
CHUNK = 1000
# Workers do not have this file, so functions are pickled by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def service(require) -> Iterator[Gateway]:
    require("gateway", PROGRAMS)
    with temporary_service(Gateway, "gateway") as service:
        yield service.start()


@pytest.fixture(scope="module")
def user(service) -> BasicAuth:
    return BasicAuth("alice", service.password)


@pytest.fixture(scope="module", autouse=True)
def configured(service, user, tmp_path_factory) -> Iterator[None]:
    """Dask's own configuration names the gateway, as on a site."""
    settings = {
        "gateway.address": service.address,
        "gateway.proxy-address": service.proxy_address,
        "af_kit.cluster.folder": str(tmp_path_factory.mktemp("registry")),
        "gateway.auth.kwargs": {"username": user.username, "password": user.password},
    }
    with pytest.MonkeyPatch.context() as patch, dask.config.set(settings):
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def client(service) -> Iterator[Client]:
    """A cluster with two workers; tests leave it unchanged."""
    with af.connect("gateway", n_workers=2, memory="0.75 GiB", quiet=True) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("dimuon")
    return [str(path) for path in write_files("dimuon", folder, 12_000, 3, 5, cluster_entries=CHUNK)]


@pytest.fixture(scope="module")
def here(sample) -> Any:
    """The result of the analysis on this machine."""
    return dimuon.process(sample, chunk_entries=CHUNK, progress=False)


def clusters(user: BasicAuth) -> set[str]:
    """Return the names of the user's clusters from the gateway."""
    return {report.name for report in ask(user, lambda gateway: gateway.list_clusters())}


def ask(user: BasicAuth, question: Callable[[GatewayClient], Any]) -> Any:
    """Return the gateway's answer to Dask's own client."""

    async def answer() -> Any:
        async with GatewayClient(auth=user, asynchronous=True) as gateway:
            return await question(gateway)

    return asyncio.run(answer())


def assert_same(result: Any, here: Any) -> None:
    result.report.check()
    assert result["mass"] == here["mass"]
    assert result["multiplicity"] == here["multiplicity"]
    assert result["candidates"].num_rows == here["candidates"].num_rows > 0


# ------------------------------------------------------------------------------------------------------ the service


def test_a_second_start_finds_the_first(service):
    state = service.folder / "state.json"
    before = state.read_text()
    command = [Path(__file__).parents[2] / "services" / "gateway" / "start", "--folder", service.folder]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert service.address in printed
    assert service.password not in printed
    assert state.read_text() == before
    assert stat.S_IMODE(service.password_file.stat().st_mode) == 0o600


def test_it_listens_on_this_machine_only(service, client):
    ours = [psutil.Process(service.running()["gateway"])]
    ours += [child for process in ours for child in process.children(recursive=True)]
    listening = [
        connection.laddr.ip
        for process in ours
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3 + 3 + 2  # the gateway and its proxy, the scheduler, two workers
    assert set(listening) == {"127.0.0.1"}


# ---------------------------------------------------------------------------------------------------- an owned cluster


def test_the_analysis_has_the_same_result_as_here(client, sample, here):
    assert_same(dimuon.process(sample, client, chunk_entries=CHUNK, progress=False), here)


def test_common_arguments_become_options_of_the_gateway(client, user):
    options = ask(user, lambda gateway: gateway.get_cluster(client.cluster.name)).options
    assert options["worker_memory"] == 0.75
    assert {worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()} == {0.75 * 2**30}
    wanted = af.config.get("cluster.environment")["MALLOC_MMAP_THRESHOLD_"]
    found = client.run(lambda: os.environ["MALLOC_MMAP_THRESHOLD_"])
    assert set(found.values()) == {str(wanted)}


def test_environment_variables_and_the_sites_options(user):
    with (
        dask.config.set({"gateway.cluster.options": {"worker_cores": 2, "idle_timeout": 900}}),
        af.connect("gateway", environment={"ONE": 1, "MALLOC_ARENA_MAX": None}, quiet=True) as client,
    ):
        assert [worker["nthreads"] for worker in client.scheduler_info()["workers"].values()] == [2]
        variables = client.run(lambda: dict(os.environ)).popitem()[1]
        assert ask(user, lambda gateway: gateway.get_cluster(client.cluster.name)).options["idle_timeout"] == 900
    assert variables["ONE"] == "1"
    assert "MALLOC_ARENA_MAX" not in variables


def test_nothing_remains_when_the_client_is_closed(service, user):
    before = clusters(user)
    client = af.connect("gateway", quiet=True)
    (name,) = clusters(user) - before
    pids = [*client.run(os.getpid).values(), client.run_on_scheduler(os.getpid)]
    client.close()
    until(lambda: name not in clusters(user), "the gateway forgets the cluster")
    until(lambda: not any(map(is_alive, pids)), "its processes end")
    until(lambda: not (service.folder / "clusters" / name).exists(), "its folder is removed")


def test_nothing_remains_when_a_script_ends(service, user, tmp_path):
    """An exception ends a process that does not close its client."""
    before = clusters(user)
    session = script(service, "c = af.connect('gateway', quiet=True); print(c.cluster.name); 1 / 0", tmp_path)
    out, error = session.communicate(timeout=120)
    assert "ZeroDivisionError" in error
    assert out.strip() not in {"", *before}
    until(lambda: clusters(user) == before, "the gateway forgets the cluster")


def script(service: Gateway, code: str, tmp_path: Path, **more: Any) -> subprocess.Popen[str]:
    """Start a second session of the same user, with the gateway in Dask's configuration."""
    settings = {
        "DASK_GATEWAY__ADDRESS": service.address,
        "DASK_GATEWAY__PROXY_ADDRESS": service.proxy_address,
        "DASK_GATEWAY__AUTH__KWARGS__USERNAME": "alice",
        "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": service.password,
        "DASK_AF_KIT__CLUSTER__FOLDER": str(tmp_path / "registry"),
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"import af_kit as af\n{code}"],
        env={**os.environ, **settings, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_detached_cluster_is_found_again_by_another_session(service, user, tmp_path):
    client = af.connect("gateway", name="mine", detach=True, idle_timeout_s=600, quiet=True)
    name, address = client.cluster.name, client.scheduler.address
    client.publish_dataset(answer=42)
    assert ask(user, lambda gateway: gateway.get_cluster(name)).options["idle_timeout"] == 600
    client.close()
    assert name in clusters(user)
    with pytest.raises(InputError, match="mine"):
        af.connect("gateway", name="mine", detach=True, quiet=True)
    (entry,) = registry.entries()
    assert (entry.name, entry.backend, entry.detached, entry.more["cluster"]) == ("mine", "gateway", True, name)
    readable = [path for path in Path(entry.folder).iterdir() if stat.S_IMODE(path.stat().st_mode) != 0o600]
    assert not readable
    with af.connect(name="mine", quiet=True) as again:
        assert again.get_dataset("answer") == 42
        assert again.cluster.name == name
    assert name in clusters(user)  # a cluster that was found again outlives its client

    # A session without the registry entry finds it by either name.
    code = f"c = af.connect(name={{!r}}, quiet=True); print(c.get_dataset('answer')); assert c.cluster.name == {name!r}"
    for either in ("mine", name):
        session = script(service, code.format(either), tmp_path)
        out, error = session.communicate(timeout=120)
        assert (session.returncode, out.strip()) == (0, "42"), error

    again = af.connect(name="mine", quiet=True)
    assert again.scheduler.address == address
    again.cluster.shutdown()
    until(lambda: name not in clusters(user), "the gateway forgets the cluster")
    assert backends.running() == []
    with pytest.raises(ConnectError, match="No cluster named 'mine'"):
        af.connect(name="mine", quiet=True)


def test_an_idle_detached_cluster_ends(user):
    client = af.connect("gateway", detach=True, idle_timeout_s=15, quiet=True)
    name = client.cluster.name
    assert registry.find(name).idle_timeout_s == 15
    client.close()
    until(lambda: name not in clusters(user), "its idle timeout ends it")
    assert backends.running() == []


def test_the_idle_timeout_ends_the_cluster_of_a_killed_session(service, user, tmp_path):
    """The gateway does not notice that a session was killed."""
    code = (
        "import time\nc = af.connect('gateway', idle_timeout_s=10, quiet=True)\n"
        "print(c.cluster.name, flush=True); c.submit(time.sleep, 1).result(); time.sleep(300)"
    )
    session = script(service, code, tmp_path)
    name = session.stdout.readline().strip()
    session.kill()
    session.communicate(timeout=60)
    until(lambda: name not in clusters(user), "its idle timeout ends it")


def test_from_the_shell(user, capsys):
    assert main(["cluster", "start", "gateway", "--detach", "--name", "shell", "--idle-timeout", "600"]) == 0
    assert 'connect(name="shell")' in capsys.readouterr().out
    assert main(["cluster", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["backend"], row["detached"]) == ("shell", "gateway", True)
    assert row["workers"] is not None  # its scheduler accepts the certificates in the registry
    assert main(["cluster", "stop", "shell"]) == 0
    assert backends.running() == []


def test_logs_of_scheduler_and_workers(client):
    files = {path.name: path.read_text() for path in logs(client)}
    assert len(files) == 3
    assert "Scheduler at:" in files["scheduler.log"]
    assert sum("Registered to:" in text for text in files.values()) == 2


def test_a_cluster_object_of_dask_gateway(client, user):
    theirs = GatewayCluster.from_name(client.cluster.name, auth=user)
    with af.connect(theirs, quiet=True) as again:
        assert again.scheduler.address == client.scheduler.address
    theirs.close()
    theirs.gateway._asynchronous = True  # see gateway/cluster.py


def test_the_doctor_asks_the_gateway(service, client):
    with dask.config.set({"af_kit.doctor.check_s": 60}):  # a busy machine is slow
        found = af.doctor(client)
    (line,) = [finding for finding in found.findings if finding.check == "gateway"]
    assert line.state == "ok"
    assert "worker_cores" in line.seen
    assert service.password not in found.to_json()
    (dashboard,) = [finding for finding in found.findings if finding.check == "dashboard"]
    assert dashboard.state == "ok", dashboard


# ---------------------------------------------------------------------------------------- files and proxies on workers


def read_files() -> dict[str, Any]:
    path = Path(os.environ["X509_USER_PROXY"])
    return {
        "proxy": path.read_bytes(),
        "mode": stat.S_IMODE(path.stat().st_mode),
        "file": Path(af.file("sf")).read_text(),
    }


def test_late_workers_have_proxy_and_files_and_connections_are_encrypted(tmp_path):
    authority = Authority()
    secret = proxy(authority.user()).pem()
    source = write(tmp_path / "x509up", secret)
    (tmp_path / "sf.json").write_text("{}")
    with af.connect("gateway", n_workers=1, quiet=True) as client:
        af.send_proxy(client, source, cert_dir=authority.folder(tmp_path / "certificates"), watch=False)
        af.send_files(client, {"sf": tmp_path / "sf.json"})
        client.cluster.scale(3)
        client.wait_for_workers(3, timeout=60)
        assert list(client.run(read_files).values()) == [{"proxy": secret, "mode": 0o600, "file": "{}"}] * 3
        info = client.scheduler_info(n_workers=-1)
        assert all(address.startswith("tls://") for address in [info["address"], *info["workers"]])


# ------------------------------------------------------------------------------------------ scaling, and killed workers


def test_adapting_loses_no_result_and_repeats_no_task(tmp_path):
    def note_and_square(number: int) -> int:
        deadline = time.monotonic() + 120
        while not (tmp_path / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)  # long enough for the cluster to grow
        (tmp_path / "done" / f"{number}-{time.monotonic_ns()}").touch()
        return number**2

    (tmp_path / "done").mkdir()
    with af.connect("gateway", adapt=(0, 3), quiet=True) as client:
        assert not client.scheduler_info()["workers"]
        futures = client.map(note_and_square, range(100), pure=False)
        until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 3, "it grows")
        (tmp_path / "go").touch()
        until(lambda: all(future.done() for future in futures), "the work is done")
        until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) <= 1, "it shrinks")
        assert client.gather(futures) == [number**2 for number in range(100)]
    assert sorted(int(path.name.partition("-")[0]) for path in (tmp_path / "done").iterdir()) == list(range(100))


def test_no_entry_is_lost_with_a_killed_worker(client, sample, here, tmp_path):
    def analyse(events: Any) -> Any:
        if once(tmp_path / "first"):
            (tmp_path / "pid").write_text(str(os.getpid()))
            time.sleep(120)  # until it is killed
        return dimuon.analyse(events)

    results: list[Any] = []
    run = partial(af.process, analyse, sample, client, chunk_entries=CHUNK, progress=False)
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text(), "a worker has started a chunk")
    os.kill(int(pid.read_text()), signal.SIGKILL)
    thread.join(120)
    assert_same(results[0], here)


# ---------------------------------------------------------------------------------------------------------- refusals


def refused(*parts: str, error: type[Exception] = ConnectError, **arguments: Any) -> str:
    with pytest.raises(error) as caught:
        af.connect("gateway", quiet=True, **arguments)
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "limit"), [({"n_workers": 5}, "limit of 4 workers"), ({"n_workers": 3, "cores": 2}, "of 2 workers")]
)
def test_the_error_of_a_limit_is_the_gateways_and_nothing_remains(user, arguments, limit):
    before = clusters(user)
    refused(limit, **arguments)
    until(lambda: clusters(user) == before, "the cluster is cancelled")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"cores": 3}, ["cores=3", "worker_cores must be <= 2"]),
        ({"memory": "240 MiB"}, ["memory=240.00 MiB", "must be >= 0.25"]),
        ({"options": {"worker_core": 1}}, ["'worker_core'", "Did you mean 'worker_cores'?"]),
        ({"options": {"environment": 3}}, ["environment must be a dict"]),
        ({"image": "some/image"}, ["no option 'image'", "af_kit.cluster.gateway.names.image"]),
        ({"n_worker": 1}, ["n_worker", "n_workers"]),
        ({"security": True}, ["security="]),
        ({"auth": "basics"}, ["'basics'", "jupyterhub"]),
        ({"auth": ("alice", "a-password")}, ["auth=", "a tuple", "BasicAuth"]),
        ({"address": "http://alice:a-password@127.0.0.1/"}, ["contains a login", "auth="]),
        ({"address": "127.0.0.1:8000"}, ["https://gateway.site/", "127.0.0.1:8000"]),
        ({"address": "{NO_SUCH_VARIABLE_HERE}"}, ["looks like https://"]),
    ],
)
def test_invalid_arguments(user, arguments, parts):
    before = clusters(user)
    message = refused(*parts, error=InputError, **arguments)
    assert "a-password" not in message
    assert clusters(user) == before


def test_other_names_of_the_options():
    with dask.config.set({"af_kit.cluster.gateway.names": {"memory": "worker_cores", "cores": "cpus"}}):
        refused("no option 'cpus'", error=InputError, cores=1)
        refused("worker_cores must be <= 2", error=InputError, memory="2.5 GiB")


def test_a_wrong_password(service):
    message = refused("does not let you in", "'mallory'", "401", auth=BasicAuth("mallory", "not-the-password"))
    assert "not-the-password" not in message


def test_a_wrong_address(service, client):
    refused("connection refused", address=f"http://127.0.0.1:{free_ports(1)[0]}")
    refused("no host 'no-such-host.invalid'", address="http://no-such-host.invalid")
    dashboard = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.services["dashboard"].port)
    refused("a web server answers", "dashboard", address=f"http://127.0.0.1:{dashboard}")
    refused("does not speak https", address=service.address.replace("http:", "https:"))


def test_a_wrong_proxy_address(service, user):
    before = clusters(user)
    refused("connection refused", "proxy_address=", proxy_address=f"gateway://127.0.0.1:{free_ports(1)[0]}")
    refused("does not lead to its scheduler", proxy_address=service.address)
    until(lambda: clusters(user) == before, "the cluster is cancelled")


def test_a_cluster_that_does_not_start():
    message = refused("failed to start", "environment=", environment={"PYTHONHOME": "/nowhere"})
    assert "admin" in message


def test_on_a_hub_the_login_is_the_hubs_token(monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "the-hubs-token")
    with dask.config.set({"gateway.auth.kwargs": {}}):
        message = refused("JupyterHubAuth", "401")  # this gateway takes passwords only
    assert "the-hubs-token" not in message
