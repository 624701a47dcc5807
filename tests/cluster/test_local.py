"""The local cluster: its processes, their environment, its dashboard, its end, and TLS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import dask.config
import numpy as np
import psutil
import pytest
from cluster_tools import eventually, is_alive
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Security, wait
from distributed.core import Status
from distributed.system import MEMORY_LIMIT

from af_kit.cluster import connect
from af_kit.cluster.workers.environment import initial_environment
from af_kit.cluster.workers.nanny import LocalNanny
from af_kit.errors import ConnectError, InputError


def pids(client: Client) -> list[int]:
    return list(client.run(os.getpid).values())


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def run_script(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(text)
    return subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)


def test_it_is_a_plain_client_of_a_local_cluster(client: Client):
    assert type(client) is Client
    assert isinstance(client.cluster, LocalCluster)
    assert client.cluster.dashboard_link == client.dashboard_link
    workers = client.scheduler_info()["workers"].values()
    assert [worker["nthreads"] for worker in workers] == [1, 1]
    assert sum(worker["memory_limit"] for worker in workers) == pytest.approx(MEMORY_LIMIT, rel=0.01)
    assert os.getpid() not in pids(client)
    assert len(set(pids(client))) == 2


def test_it_listens_on_this_machine_only(client: Client):
    processes = [psutil.Process(pid) for pid in [os.getpid(), *pids(client)]]
    ports = {int(address.rpartition(":")[2]) for address in client.scheduler_info()["workers"]}
    ports |= {int(client.scheduler.address.rpartition(":")[2])}
    listening = {
        connection.laddr.port: connection.laddr.ip
        for process in processes
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ports <= set(listening)
    assert set(listening.values()) == {"127.0.0.1"}


def test_the_workers_environment(client: Client):
    for variables in client.run(initial_environment).values():  # as the allocator has seen it
        assert variables["MALLOC_MMAP_THRESHOLD_"] == "33554432"
        assert variables["MALLOC_TRIM_THRESHOLD_"] == "536870912"
        assert variables["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("failures", [0, 2])
def test_a_worker_that_dask_gives_up_is_replaced(failures: int, monkeypatch: pytest.MonkeyPatch):
    """It takes longer to start again than Dask waits; the start of the replacement may fail, too."""
    original, calls = LocalNanny.instantiate, []

    async def instantiate(nanny: LocalNanny) -> Status:
        calls.append(nanny)
        if 2 < len(calls) <= 2 + failures:
            raise RuntimeError("no process")
        return await original(nanny)

    monkeypatch.setattr(LocalNanny, "instantiate", instantiate)
    monkeypatch.setattr("af_kit.cluster.local._AGAIN_S", 0.5)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        connect("local", n_workers=2, quiet=True) as client,
    ):
        first, second = pids(client)
        os.kill(first, signal.SIGKILL)

        def alive() -> list[int]:
            return list(client.run(os.getpid, on_error="ignore").values())

        client.gather(client.map(time.sleep, [3.0, 3.1]))  # the first replacement joins and is ended by then
        assert eventually(lambda: first not in alive() and len(alive()) == 2, within_s=60)
        assert second in alive()
        client.cluster.scale(1)  # no workers that nobody wants
        assert eventually(lambda: len(client.nthreads()) == 1)


def test_workers_outlive_an_interrupt_of_the_session(client: Client):
    """Jupyter's stop button and Ctrl-C signal the session's children, too."""
    before = pids(client)
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert set(client.run(signal.getsignal, signal.SIGINT).values()) == {signal.SIG_IGN}
    assert client.submit(sum, [1, 2], pure=False).result(timeout=30) == 3
    assert pids(client) == before


def test_the_first_task_finds_the_packages(client: Client):
    for loaded in client.run(lambda: set(sys.modules)).values():
        assert {"awkward", "uproot", "vector", "hist"} <= loaded


def test_results_have_their_real_size(client: Client):
    future = client.submit(lambda: ak.Array(np.zeros(300_000)), pure=False)
    wait(future)
    nbytes = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.tasks[future.key].nbytes)
    assert nbytes == pytest.approx(2_400_000, abs=2_000)


def test_the_scheduler_keeps_few_messages(client: Client):
    """Each holds a task, however long it is done."""
    for stream in client.cluster.scheduler.stream_comms.values():
        assert stream.recent_message_log.maxlen == 20


def test_the_dashboard_is_loaded_when_it_is_opened(tmp_path: Path):
    done = run_script(
        tmp_path,
        "import json, sys, urllib.request\n"
        "from af_kit.cluster import connect\n"
        "with connect('local', n_workers=1, processes=False, quiet=True) as client:\n"
        "    link = client.dashboard_link\n"
        "    before = 'bokeh' in sys.modules\n"
        "    plots = json.load(urllib.request.urlopen(link.replace('status', 'individual-plots.json')))\n"
        "    page = urllib.request.urlopen(link)\n"
        "    print(json.dumps([before, len(plots), page.status, b'bokeh' in page.read().lower()]))\n",
    )
    before, plots, status, bokeh = json.loads(done.stdout)
    assert not before
    assert plots > 10
    assert (status, bokeh) == (200, True)


def test_the_dashboards_pages(client: Client):
    root = client.dashboard_link.removesuffix("/status")
    assert get(f"{root}/health") == b"ok"
    assert b"Dask" in get(f"{root}/status")
    assert "Individual Task Stream" in json.loads(get(f"{root}/individual-plots.json"))
    assert b"Dask" in get(f"{root}/")


@pytest.mark.filterwarnings("error:Port")
def test_a_cluster_of_threads_without_dashboard():
    with connect("local", n_workers=1, cores=2, processes=False, dashboard=False, quiet=True) as client:
        assert pids(client) == [os.getpid()]
        assert list(client.nthreads().values()) == [2]
        with pytest.raises(urllib.error.HTTPError):
            get(client.dashboard_link)


def test_arguments_reach_the_workers(tmp_path: Path):
    with connect(
        "local",
        n_workers=1,
        cores=2,
        memory="600 MiB",
        environment={"X509_CERT_DIR": "/certificates", "MALLOC_ARENA_MAX": None},
        local_directory=str(tmp_path),
        quiet=True,
    ) as client:
        (worker,) = client.scheduler_info()["workers"].values()
        assert worker["nthreads"] == 2
        assert worker["memory_limit"] == 600 * 2**20
        assert worker["local_directory"].startswith(str(tmp_path))
        (variables,) = client.run(initial_environment).values()
        assert variables["X509_CERT_DIR"] == "/certificates"
        assert "MALLOC_ARENA_MAX" not in variables
        # a worker that comes later starts with the same
        client.cluster.scale(2)
        client.wait_for_workers(2, timeout=30)
        assert {variables["X509_CERT_DIR"] for variables in client.run(initial_environment).values()} == {
            "/certificates"
        }
        (first, second) = pids(client)
    assert eventually(lambda: not is_alive(first) and not is_alive(second))


def test_one_worker_per_core_by_default():
    with connect("local", processes=False, dashboard=False, quiet=True) as client:
        assert len(client.nthreads()) == CPU_COUNT
    with (
        dask.config.set({"af_kit.cluster.local.n_workers": 3, "af_kit.cluster.local.cores": 4}),
        connect(processes=False, dashboard=False, quiet=True) as client,
    ):
        assert list(client.nthreads().values()) == [4, 4, 4]


def test_adapt():
    before = set(threading.enumerate())
    with connect("local", adapt=(0, 1), processes=False, dashboard=False, quiet=True) as client:
        assert client.nthreads() == {}
        assert client.submit(sum, [1, 2]).result(timeout=20) == 3
    assert client.cluster.status.name == "closed"
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_the_end_of_the_block_ends_the_cluster_and_its_threads():
    before = set(threading.enumerate())
    with connect("local", n_workers=1, processes=False, dashboard=False, quiet=True) as client:
        assert client.submit(sum, [1, 2]).result() == 3
    assert (client.status, client.cluster.status.name) == ("closed", "closed")
    assert eventually(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize("end", [Client.shutdown, Client.close, lambda client: client.cluster.close()])
def test_every_end_ends_the_cluster(end: Any):
    with connect("local", n_workers=1, processes=False, dashboard=False, quiet=True) as client:
        end(client)
    assert (client.status, client.cluster.status.name) == ("closed", "closed")


def test_an_error_in_the_block_ends_the_cluster():
    with (
        pytest.raises(ZeroDivisionError),
        connect("local", n_workers=1, processes=False, dashboard=False, quiet=True) as client,
    ):
        client.submit(divmod, 1, 0).result()
    assert client.cluster.status.name == "closed"


def test_the_end_of_the_session_leaves_no_process(tmp_path: Path):
    done = run_script(
        tmp_path,
        "import os\nfrom af_kit.cluster import connect\n"
        "if __name__ == '__main__':\n"
        "    client = connect('local', n_workers=2, quiet=True)\n"
        "    print(*client.run(os.getpid).values())\n",
    )
    assert done.returncode == 0
    assert done.stderr == ""
    left = list(map(int, done.stdout.split()))
    assert len(left) == 2
    assert eventually(lambda: not any(map(is_alive, left)))


def test_a_session_that_is_killed_leaves_no_process(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\nfrom af_kit.cluster import connect\n"
        "if __name__ == '__main__':\n"
        "    client = connect('local', n_workers=1, quiet=True)\n"
        "    print(*client.run(os.getpid).values(), flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (worker,) = map(int, process.stdout.readline().split())
        process.send_signal(signal.SIGKILL)
        assert eventually(lambda: not is_alive(worker))


def test_a_script_without_the_guard(tmp_path: Path):
    done = run_script(tmp_path, "from af_kit.cluster import connect\nconnect('local', n_workers=2, quiet=True)\n")
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("af_kit.errors.ConnectError: The local cluster did not start: the worker processes ended")
    assert "script.py: in a script, call connect() below `if __name__ == '__main__':`" in message
    assert "bootstrapping" not in done.stderr


def test_a_worker_that_cannot_start():
    before = set(threading.enumerate())
    with (
        dask.config.set({"af_kit.cluster.local.preload": ["no_such_module"]}),
        pytest.raises(ConnectError, match="ModuleNotFoundError: No module named 'no_such_module'"),
    ):
        connect("local", n_workers=1, quiet=True)
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_workers_that_are_late_are_ended():
    children = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ConnectError, match=r"not all workers ran within 0\.1 s.*timeout_s="):
        connect("local", n_workers=1, timeout_s=0.1, quiet=True)
    assert eventually(lambda: {child.pid for child in psutil.Process().children()} <= children)


def test_temporary_certificates():
    with connect("local", n_workers=1, security=True, processes=False, dashboard=False, quiet=True) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        assert client.submit(sum, [1, 2]).result() == 3
    with pytest.raises(InputError, match="security='yes'"):
        connect("local", security="yes", quiet=True)


def test_memory_configured_wrongly():
    with dask.config.set({"af_kit.cluster.local.memory": "much"}), pytest.raises(InputError, match="'much'"):
        connect("local", n_workers=1, quiet=True)


# ---------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Client]:
    with connect("local", n_workers=2, security=True, dashboard=False, quiet=True) as client:
        yield client


def test_all_connections_are_encrypted(encrypted: Client) -> None:
    assert encrypted.scheduler.address.startswith("tls://")
    workers = encrypted.scheduler_info()["workers"]
    assert len(workers) == 2
    assert all(address.startswith("tls://") for address in workers)
    assert encrypted.submit(sum, [1, 2, 3]).result() == 6


def test_results_pass_from_worker_to_worker(encrypted: Client) -> None:
    first, second = encrypted.scheduler_info()["workers"]
    number = encrypted.submit(pow, 2, 10, workers=[first])
    assert encrypted.submit(pow, number, 2, workers=[second]).result() == 2**20


def test_a_worker_that_was_killed_comes_back_with_its_certificate(encrypted: Client) -> None:
    address, pid = next(iter(encrypted.run(os.getpid).items()))
    os.kill(pid, signal.SIGKILL)
    encrypted.wait_for_workers(2, timeout=30)
    found = encrypted.submit(os.getpid, pure=False).result()
    assert found != pid
    assert address.startswith("tls://")


def test_a_client_without_a_certificate_is_refused(encrypted: Client) -> None:
    port = encrypted.scheduler.address.rpartition(":")[2]
    with pytest.raises(ConnectError, match="TLS"):
        connect(f"tcp://127.0.0.1:{port}", timeout_s=5, quiet=True)
    with pytest.raises(InputError, match="needs certificates"):
        connect(f"tls://127.0.0.1:{port}", timeout_s=5, quiet=True)


def test_a_certificate_of_another_authority_is_refused(encrypted: Client) -> None:
    with pytest.raises(ConnectError, match=r"authority|certificate"):
        connect(encrypted.scheduler.address, security=Security.temporary(), timeout_s=5, quiet=True)


def test_a_second_client_with_the_clusters_certificate_is_accepted(encrypted: Client) -> None:
    with connect(encrypted.scheduler.address, security=encrypted.security, timeout_s=20, quiet=True) as second:
        assert second.submit(sum, [4, 5]).result() == 9


def test_the_keys_show_in_no_repr(encrypted: Client) -> None:
    key = encrypted.security.tls_client_key
    assert "PRIVATE KEY" in key
    body = key.splitlines()[1]
    shown = f"{encrypted!r} {encrypted.cluster!r} {encrypted.security!r} {encrypted._repr_html_()}"
    shown += str(encrypted.scheduler_info())
    assert body not in shown
