"""A cluster that loses all its workers: they are started again, or the run ends with an account."""

import asyncio
import gc
import os
import signal
import threading
import time

import dask
import pytest
from distributed import Client, LocalCluster
from run_tools import wait_for

from af_kit.data.fileset.load import load_fileset
from af_kit.errors import ConnectError
from af_kit.run.engines.absence import Absence
from af_kit.run.engines.dask import _Run
from af_kit.run.live import LiveView
from af_kit.run.plan import make_plan, plan
from af_kit.run.process import process
from af_kit.run.task import Context


def count(events):
    return {"n": len(events)}


class Gate:
    """A function whose tasks wait until a file exists."""

    def __init__(self, folder):
        self.opened, self.started = str(folder / "opened"), str(folder / "started")

    def __call__(self, events):
        open(self.started, "w").close()  # noqa: PTH123
        while not os.path.exists(self.opened):  # noqa: PTH110
            time.sleep(0.02)
        return count(events)

    def once_started(self, action):
        """Call ``action`` in a thread as soon as a task runs."""

        def wait():
            while not os.path.exists(self.started):  # noqa: PTH110
                time.sleep(0.02)
            action()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("af_kit.run.engines.absence._SAY_S", 0.5)
    monkeypatch.setattr("af_kit.run.engines.absence._CHECK_S", 0.1)
    with dask.config.set({"af_kit.run.workers_timeout_s": 60, "distributed.deploy.lost-worker-timeout": "500ms"}):
        yield


def test_workers_of_the_own_cluster_are_started_again(fileset, cluster_of, tmp_path, capfd):
    gate = Gate(tmp_path)
    with cluster_of(2) as client:

        def end_all():
            client.cluster.scale(0)
            open(gate.opened, "w").close()  # noqa: PTH123

        gate.once_started(end_all)
        result = process(gate, fileset, client, chunk_entries=1000, progress=True)
        assert result["n"] == 20_000
        result.report.check()
        assert len(client.nthreads()) == 2
    assert "All 2 workers of this cluster are gone: starting them again." in capfd.readouterr().err


@pytest.mark.parametrize("checkpoint", [False, True])
def test_without_them_the_run_ends_with_an_account(files, cluster_of, tmp_path, checkpoint):
    """Another cluster is not scaled: what was done before is lost with its workers, unless it was saved."""
    calls = tmp_path / "calls"
    calls.mkdir()
    options = {"chunk_entries": 1000, "checkpoint": tmp_path / "checkpoint" if checkpoint else None, "progress": False}

    def some_then_wait(events):
        (calls / str(events.metadata["entry_start"])).touch()
        while events.metadata["entry_start"] >= 2000 and not (tmp_path / "opened").exists():
            time.sleep(0.02)
        return count(events)

    with cluster_of(1) as owner:
        with Client(owner.cluster.scheduler_address) as client, dask.config.set({"af_kit.run.workers_timeout_s": 2}):

            def end_all():
                while not (calls / "2000").exists():
                    time.sleep(0.02)
                owner.cluster.scale(0)

            thread = threading.Thread(target=end_all, daemon=True)
            thread.start()
            with pytest.warns(UserWarning, match="all workers of the cluster are gone"):
                result = process(some_then_wait, [str(files[0])], client, **options)
            thread.join()
            assert result.report.entries["failed"] == 6000
            assert {failure.kind for failure in result.report.failures} == {"worker"}
            (tmp_path / "opened").touch()
            owner.cluster.scale(1)
            client.wait_for_workers(1, timeout=60)
            again = process(some_then_wait, [str(files[0])], client, **options) if checkpoint else result.retry()
        assert again["n"] == 6000
        again.report.check()


@pytest.mark.parametrize("news", ["reset", "lose"])
def test_a_result_that_is_lost_while_it_is_fetched(cluster_of, monkeypatch, news):
    """The client makes the task wait again; if the scheduler's news comes after its answer, the task is "lost"."""
    with cluster_of(1) as owner, Client(owner.cluster.scheduler_address) as client:
        future = client.submit(sum, [1, 2])
        assert future.result() == 3

        async def gather(futures, **_):
            owner.cluster.scale(0)
            getattr(client.futures[future.key], news)()
            await asyncio.Event().wait()

        monkeypatch.setattr(client, "gather", gather)
        with dask.config.set({"af_kit.run.workers_timeout_s": 1}):
            found, reason = Absence(client).fetch([future])
        assert (found, "none came within 1 s" in reason) == ([], True)


def test_a_plan_without_workers_ends_with_the_reason(files, cluster_of):
    with cluster_of(1) as owner, Client(owner.cluster.scheduler_address) as client:
        owner.cluster.scale(0)
        wait_for(lambda: not client.nthreads())
        with dask.config.set({"af_kit.run.workers_timeout_s": 1}):
            with pytest.raises(ConnectError, match=r"No worker says .*: the cluster has no workers"):
                plan([str(files[0])], client=client)
            with pytest.raises(ConnectError, match="the cluster has no workers, and none came within 1 s"):
                process(count, [str(files[0])], client)


def test_a_function_that_kills_every_worker_ends(files, cluster_of):
    """With or without workers in between: the run ends, and says why."""

    def kill(events):
        os.kill(os.getpid(), signal.SIGKILL)

    with cluster_of(2) as client, pytest.warns(UserWarning, match="died|gone|lost"):
        result = process(kill, [str(files[0])], client, chunk_entries=3000)
    assert result.report.entries["failed"] == 6000


class _Client:
    """A client without workers, of a cluster whose batch queue answers."""

    status, cluster = "running", None

    def __init__(self, **hooks):
        self._af_kit_hooks = {name: lambda text=text: text for name, text in hooks.items()}

    def nthreads(self):
        return {}


def test_pending_jobs_are_waited_for(capsys):
    with dask.config.set({"af_kit.run.workers_timeout_s": 0}):
        absence = Absence(_Client(pending_summary="2 of 4 jobs pending (Resources)", fatal_reason=""), shown=True)
        for _ in range(3):
            assert absence.end_reason() == ""
            absence._since, absence._next_check = time.monotonic() - 1000, 0
        assert capsys.readouterr().err == (
            "The cluster has no workers now; waiting: 2 of 4 jobs pending (Resources).\n"
        )


def test_jobs_that_will_never_run_end_it():
    absence = Absence(_Client(fatal_reason="the partition is down"))
    assert absence.end_reason() == ""
    absence._since, absence._next_check = time.monotonic() - 10, 0
    assert absence.end_reason() == "no worker will come: the partition is down"


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held(client):
    return client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))


def test_a_wait_does_not_keep_results_on_the_cluster(client, monkeypatch, no_collection):
    """Each time-out of Dask's is an error in a cycle with the frames that hold the futures."""
    monkeypatch.setattr("af_kit.run.engines.absence._POLL_S", 0.05)
    future = client.submit(time.sleep, 0.5, pure=False)
    assert Absence(client).wait([future]) == ""
    del future
    wait_for(lambda: not held(client))


def test_a_task_whose_result_cannot_be_fetched_is_forgotten(client, no_collection):
    """Its error is kept with the task, and must not refer to it."""

    def fail():
        raise RuntimeError("killed")

    def fetch():
        future = client.submit(fail, pure=False)
        wait_for(lambda: future.status == "error")
        with pytest.raises(ConnectError, match="killed"):
            _Run(Context(count), [], lambda *_: None, client, [], False, LiveView())._fetched(future)

    fetch()
    wait_for(lambda: not held(client))


def test_a_plan_that_ends_with_an_error_is_forgotten_by_the_cluster(files, cluster_of):
    with cluster_of(1) as owner, Client(owner.cluster.scheduler_address) as client:
        owner.cluster.scale(0)
        wait_for(lambda: not client.nthreads())
        with (
            dask.config.set({"af_kit.run.workers_timeout_s": 1, "af_kit.data.upload_limit": 0}),
            pytest.raises(ConnectError) as caught,
        ):
            make_plan(load_fileset([str(files[0])], treename="Events"), client=client)
        wait_for(lambda: not held(client))
        assert "none came within 1 s" in str(caught.value)  # whose traceback lives till here


def test_a_run_inside_a_task_of_its_own_cluster(files):
    """The only thread of the only worker runs the outer task: it is given back meanwhile."""
    path = str(files[0])

    def outer(path):
        from distributed import get_client

        from af_kit import process

        return process(count, [path], get_client())["n"], len(process(count, [path]).report.failures)

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        assert client.submit(outer, path).result(timeout=120) == (6000, 0)
