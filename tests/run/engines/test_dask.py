"""`process` on a Dask cluster: the same bits as on threads, the user's code as it is now, workers that come and go."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hist import Hist
from run_tools import bits, call_noted, calls, everything, once, scheduler_address, wait_for

from af_kit.errors import ConnectError, FunctionError, InputError, MergeError
from af_kit.run import live
from af_kit.run.pickling import dumps
from af_kit.run.process import process


@pytest.fixture(scope="module")
def whole(fileset) -> dict[str, Any]:
    """The bits of the same run on threads."""
    with dask.config.set({"af_kit.data.chunk_bytes": 1}):
        return bits(process(everything, fileset, chunk_entries=250))


def count(events: Any) -> dict[str, Any]:
    return {"n": len(events), "event": np.asarray(events.event)}


# ---------------------------------------------------------------- the same result


def test_two_workers_give_the_bits_of_threads(whole, fileset, client):
    result = process(everything, fileset, client, chunk_entries=250)
    assert bits(result) == whole
    report = result.report.check()
    assert report.entries == {"planned": 20_000, "processed": 20_000, "failed": 0}
    assert len(report.workers) == 2
    assert sum(worker["entries"] for worker in report.workers.values()) == 20_000


def test_a_live_view_changes_nothing(whole, fileset, client, monkeypatch):
    """Workers send histograms and numbers only, while the run goes on, and forget them after it."""
    seen: list[tuple[int, float]] = []

    def look(output: dict[str, Any]) -> None:
        assert output.keys() <= {"entries", "weight", "pt", "weighted", "found", "signal", "background"}
        seen.append((output["entries"], output["pt"].sum()))
        output["pt"] *= 0

    monkeypatch.setattr(live, "_SHARE", 1e9)
    monkeypatch.setattr(live, "_PICTURE_S", 0)
    result = process(everything, fileset, client, chunk_entries=250, live=look)
    assert bits(result) == whole
    assert result.report.notes == ()
    assert seen == sorted(seen)
    assert 0 < seen[0][0] < 20_000
    assert seen[-1] == (20_000, result["pt"].sum())
    wait_for(lambda: not client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.tasks]))


def test_one_worker_gives_the_bits_of_threads(whole, fileset):
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        assert bits(process(everything, fileset, client, chunk_entries=250)) == whole


@pytest.mark.parametrize("window", [1, 6])
def test_a_window_smaller_than_the_run(whole, fileset, client, window):
    with dask.config.set({"af_kit.run.window": window}):
        assert bits(process(everything, fileset, client, chunk_entries=250)) == whole


def test_the_first_chunks_of_each_dataset(fileset, client):
    result = process(everything, fileset, client, chunk_entries=250, max_chunks=6)
    assert bits(result) == bits(process(everything, fileset, chunk_entries=250, max_chunks=6))
    assert result.report.check().entries == {"planned": 3000, "processed": 3000, "failed": 0}
    assert result.report.notes == ("max_chunks=6: 69 of 81 chunks are left out.",)


def test_nothing_stays_on_the_cluster(fileset, client):
    process(count, fileset, client, chunk_entries=250)
    wait_for(lambda: not client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)))


def test_two_runs_at_a_time_on_one_client(whole, fileset, client):
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(process, everything, fileset, client, chunk_entries=250) for _ in range(2)]
    assert [bits(run.result()) for run in runs] == [whole, whole]


def test_the_client_need_not_be_the_default_one(whole, fileset, client, monkeypatch):
    def none(client: Any = None) -> Any:
        raise ValueError("no default client")

    monkeypatch.setattr("distributed.client.default_client", none)
    assert bits(process(everything, fileset, client, chunk_entries=250)) == whole


def test_two_functions_are_sent_at_a_time():
    """The modules registered for one must not be unregistered while the other is still being pickled."""
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(dumps, [everything] * 40))
    assert len(set(sent)) == 1
    assert len(sent[0]) > 1000  # the code itself, not only its name


# ---------------------------------------------------------------- errors of the function


def fails_at_1500(events: Any) -> dict[str, Any]:
    if events.metadata["entry_start"] == 1500:
        raise ValueError("no such muon")
    return count(events)


def test_an_error_of_the_function_comes_at_once(fileset, client):
    with pytest.raises(
        FunctionError, match=r"entries 1500 to 1750 of .*file\d.root.*ValueError: no such muon"
    ) as caught:
        process(fails_at_1500, fileset, client, chunk_entries=250)
    assert 'raise ValueError("no such muon")' in str(caught.value)
    report = caught.value.result.report
    assert report.entries["processed"] + report.entries["failed"] == 20_000
    assert len(caught.value.result.get("event", [])) == report.entries["processed"]


def test_an_error_of_the_function_is_collected(fileset, client):
    with pytest.warns(UserWarning, match="no such muon"):
        result = process(fails_at_1500, fileset, client, chunk_entries=250, on_error="collect")
    assert [(f.kind, Path(f.file).name, f.entry_start) for f in result.report.failures] == [
        ("function", "file0.root", 1500),
        ("function", "file2.root", 1500),
        ("function", "file4.root", 1500),
        ("function", "file5.root", 1500),
    ]
    assert result["n"] == 19_000


def test_a_long_message_stays_a_function_error(fileset, client):
    def wordy(events: Any) -> dict[str, Any]:
        raise ValueError("x" * 100_000)

    with pytest.raises(FunctionError, match=r"entries \d+ to \d+ of") as caught:
        process(wordy, fileset, client)
    assert len(str(caught.value)) < 10_000


def test_an_exception_that_cannot_be_pickled(fileset, client):
    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__("odd")
            self.lock = threading.Lock()

    def fails(events: Any) -> dict[str, Any]:
        raise Odd(1, 2)

    with pytest.raises(FunctionError, match="Odd: odd"):
        process(fails, fileset, client)


def fails_with(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("3"), GeneratorExit("3"), BaseException("3")])
def test_a_function_that_exits_does_not_take_the_worker_with_it(fileset, client, error):
    before = set(client.scheduler_info(n_workers=-1)["workers"])
    for where in (client, None):
        with pytest.raises(FunctionError, match=f"{type(error).__name__}: 3"):
            process(lambda events: fails_with(error), fileset, where)
    assert set(client.scheduler_info(n_workers=-1)["workers"]) == before


def test_outputs_that_cannot_be_merged_are_named(fileset, client):
    def wrong(events: Any) -> dict[str, Any]:
        edge = 1.0 + (events.metadata["dataset"] == "background")
        return {"mass": Hist.new.Reg(3, 0, edge, name="x").Int64()}

    with pytest.raises(MergeError, match=r"result\['mass'\].*same axes"):
        process(wrong, fileset, client, chunk_entries=250)


def test_a_function_that_cannot_be_sent(fileset, client):
    lock = threading.Lock()

    def locked(events: Any) -> dict[str, Any]:
        with lock:
            return count(events)

    with pytest.raises(InputError, match=r"cannot be sent to workers.*lock.*inside the function"):
        process(locked, fileset, client)


def test_an_output_that_cannot_be_sent(fileset, client):
    def returns_generators(events: Any) -> dict[str, Any]:
        return {"n": len(events), "list": [(x for x in "ab")]}

    with pytest.raises(FunctionError, match=r"entries \d+ to \d+ of .*generator"):
        process(returns_generators, fileset, client)


def test_a_result_of_the_users_own_class_is_that_class(fileset, client):
    class Cutflow:
        def __init__(self, n: int) -> None:
            self.n = n

        def __add__(self, other: Cutflow) -> Cutflow:
            return Cutflow(self.n + other.n)

    result = process(lambda events: {"cutflow": Cutflow(len(events))}, fileset, client, chunk_entries=250)
    assert type(result["cutflow"]) is Cutflow
    assert result["cutflow"].n == 20_000


KEPT = Hist.new.Reg(1, 0, 1, name="x").Int64()


def test_a_histogram_shared_between_chunks_is_refused(fileset, client):
    with pytest.raises(FunctionError, match="The function changes the global 'KEPT', which exists outside it"):
        process(lambda events: {"h": KEPT.fill(np.zeros(len(events)))}, fileset, client, chunk_entries=1000)


def test_a_client_that_is_closed(fileset, client):
    with Client(client.scheduler.address) as other, pytest.warns(UserWarning, match="no such muon"):
        result = process(fails_at_1500, fileset, other, chunk_entries=250, on_error="collect")
    with pytest.raises(ConnectError, match=r"client is closed.*retry\(\) takes another client, too"):
        result.retry()
    with pytest.raises(ConnectError, match=r"client is closed. Connect again"):
        process(count, fileset, other)
    with pytest.warns(UserWarning, match="no such muon"):
        assert result.retry(client).report.entries["failed"] == 1000


# ---------------------------------------------------------------- the user's modules


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``module(name, source)`` writes or overwrites a module that only this process can find, and (re)loads it."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits in one second look the same to a .pyc
    made: list[str] = []

    def module(name: str, source: str) -> Any:
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        made.append(name)
        if name in sys.modules:
            return importlib.reload(sys.modules[name])
        return importlib.import_module(name)

    yield module
    for name in made:
        for part in (name, name.partition(".")[0]):
            sys.modules.pop(part, None)


def test_a_module_that_only_the_client_has(files, client, module):
    module("my_constants", "CUT = 20")
    module("my_helper", "import my_constants\ndef cut(pt):\n    return pt > my_constants.CUT")
    mine = module(
        "my_analysis",
        """
        import awkward as ak
        import my_helper
        def analyse(events):
            return {"n": int(ak.sum(my_helper.cut(events.Muon.pt)))}
        """,
    )
    first = process(mine.analyse, [str(path) for path in files], client)["n"]
    assert first == process(mine.analyse, [str(path) for path in files])["n"] > 0

    module("my_constants", "CUT = 40")  # two levels below the function
    second = process(mine.analyse, [str(path) for path in files], client)["n"]
    assert second == process(mine.analyse, [str(path) for path in files])["n"]
    assert 0 < second < first

    sys.modules["my_constants"].CUT = 60  # changed in the session, in no file
    third = process(mine.analyse, [str(path) for path in files], client)["n"]
    assert third == process(mine.analyse, [str(path) for path in files])["n"]
    assert 0 < third < second


def test_a_module_in_a_folder_without_init(files, client, module):
    module("my_folder.values", "CUT = 0")
    module("my_folder.cuts", "import my_folder.values\ndef cut(pt):\n    return pt > my_folder.values.CUT")
    import my_folder.cuts  # type: ignore[import-not-found]

    def analyse(events: Any) -> dict[str, Any]:
        return {"n": int(np.sum(my_folder.cuts.cut(np.asarray(events.genWeight))))}

    counts = []
    for value in (0.5, 1.5):
        module("my_folder.values", f"CUT = {value}")
        counts.append(process(analyse, str(files[0]), client)["n"])
        assert counts[-1] == process(analyse, str(files[0]))["n"]
    assert counts[0] > counts[1] > 0


def test_a_module_that_the_function_imports_inside_itself(files, client, module):
    module("my_inner", "LEVEL = 1\ndef level():\n    return LEVEL")
    module("my_package.deep", "LEVEL = 10")

    def analyse(events: Any) -> dict[str, Any]:
        import my_package.deep  # type: ignore[import-not-found]
        from my_inner import level  # type: ignore[import-not-found]

        return {"levels": {level() + my_package.deep.LEVEL}}

    assert process(analyse, str(files[0]), client)["levels"] == {11}
    module("my_inner", "LEVEL = 2\ndef level():\n    return LEVEL")
    module("my_package.deep", "LEVEL = 20")
    assert process(analyse, str(files[0]), client)["levels"] == {22}


def test_a_module_that_cannot_be_pickled_is_named(files, client, module):
    module("my_locked", "import threading\nLOCK = threading.Lock()\ndef number():\n    with LOCK:\n        return 1")
    import my_locked  # type: ignore[import-not-found]

    def by_function(events: Any, number: Any = my_locked.number) -> dict[str, Any]:
        return {"n": number()}

    with (
        pytest.warns(UserWarning, match=r"module my_locked cannot be sent.*lock.*restart them"),
        pytest.raises(InputError, match=r"cannot load the function: ModuleNotFoundError: .*my_locked"),
    ):
        process(by_function, str(files[0]), client)


def test_only_what_is_used_of_a_module_must_travel(files, client, module):
    module("my_plots", "import threading\nLOCK = threading.Lock()\ndef number():\n    return 1")
    from my_plots import number  # type: ignore[import-not-found]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert process(lambda events: {"n": number()}, str(files[0]), client, chunk_entries=1000)["n"] == 6


def test_a_numba_kernel_of_the_users_module(files, client, module):
    def count_with(value: int) -> int:
        mine = module(
            "my_kernel",
            f"""
            import numba
            @numba.njit
            def add(x):
                return x + {value}
            def analyse(events):
                return {{"n": add(0)}}
            """,
        )
        return int(process(mine.analyse, str(files[0]), client)["n"])

    assert count_with(1) == 6
    assert count_with(2) == 12


def test_two_functions_of_one_name(files, client):
    def make(value: int) -> Any:
        def analyse(events: Any) -> dict[str, Any]:
            return {"n": value}

        return analyse

    assert process(make(1), str(files[1]), client)["n"] == 1
    assert process(make(2), str(files[1]), client)["n"] == 2


# ---------------------------------------------------------------- workers that come and go


def test_a_worker_that_joins_late_takes_part(fileset, cluster_of, tmp_path):
    with cluster_of(1) as client:

        def slow(events: Any) -> dict[str, Any]:
            if once(tmp_path / "begun"):
                wait_for(lambda: (tmp_path / "joined").exists())
            return count(events)

        def join() -> None:
            wait_for(lambda: (tmp_path / "begun").exists())
            client.cluster.scale(2)
            client.wait_for_workers(2, timeout=30)
            (tmp_path / "joined").touch()

        thread = threading.Thread(target=join)
        thread.start()
        result = process(slow, fileset, client, chunk_entries=250)
        thread.join()
        assert result["n"] == 20_000
        assert len(result.report.check().workers) == 2


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_chunk_that_always_kills_its_worker(fileset, cluster_of, tmp_path, n_workers):
    def dies(events: Any) -> dict[str, Any]:
        call_noted(tmp_path, events)
        about = events.metadata
        if (about["dataset"], about["entry_start"], Path(about["file"]).name) == ("signal", 2250, "file0.root"):
            os.kill(os.getpid(), signal.SIGKILL)
        return count(events)

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        cluster_of(n_workers) as client,
        pytest.warns(UserWarning, match=r"file0.root entries 2250 to 2500: the workers that ran it died"),
    ):
        result = process(dies, fileset, client, chunk_entries=250)
    failures = result.report.failures
    assert [(f.kind, Path(f.file).name, f.entry_start, f.entry_stop) for f in failures] == [
        ("worker", "file0.root", 2250, 2500)
    ]
    assert result.report.entries == {"planned": 20_000, "processed": 19_750, "failed": 250}
    assert result["n"] == 19_750
    expected = [i * 100_000 + e for i, n in enumerate([6000, 250, 5001, 0, 3749, 5000]) for e in range(n)]
    assert result["event"].tolist() == [e for e in expected if not 2250 <= e < 2500]


def test_a_worker_killed_after_many_merges(whole, fileset, cluster_of, tmp_path):
    """Its results are computed again, and counted once."""
    (tmp_path / "calls").mkdir()

    def dies_late(events: Any) -> dict[str, Any]:
        call_noted(tmp_path / "calls", events)
        if len(calls(tmp_path / "calls")) > 60 and once(tmp_path / "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return everything(events)

    with cluster_of(2) as client:
        result = process(dies_late, fileset, client, chunk_entries=250)
    assert (tmp_path / "killed").exists()
    assert bits(result) == whole
    assert result.report.check().entries == {"planned": 20_000, "processed": 20_000, "failed": 0}


@pytest.mark.parametrize("deaths", [1, 1000])
def test_a_merge_whose_worker_dies(fileset, cluster_of, tmp_path, deaths):
    """It is tried again when everything else is done, a few times."""

    class Sum:
        def __init__(self, n: int) -> None:
            self.n = n

        def __add__(self, other: Sum) -> Sum:
            if self.n < 5000 <= self.n + other.n and any(once(tmp_path / f"died{i}") for i in range(deaths)):
                os.kill(os.getpid(), signal.SIGKILL)
            return Sum(self.n + other.n)

    def analyse(events: Any) -> dict[str, Any]:
        return {"n": Sum(len(events))}

    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster_of(2) as client:
        if deaths < 1000:
            result = process(analyse, fileset, client, chunk_entries=250)
            assert result["n"].n == 20_000
            assert result.report.check().entries == {"planned": 20_000, "processed": 20_000, "failed": 0}
        else:
            with pytest.warns(UserWarning, match="merging failed: the workers that ran it died"):
                result = process(analyse, fileset, client, chunk_entries=250)
            assert result.report.entries == {"planned": 20_000, "processed": 0, "failed": 20_000}
    assert len(list(tmp_path.glob("died*"))) >= min(deaths, 4)


@pytest.fixture
def elsewhere(tmp_path) -> Iterator[tuple[str, int]]:
    """A scheduler with a worker, in separate processes: the file with its address, and its process id."""
    import subprocess

    address = tmp_path / "scheduler.json"
    common = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = subprocess.Popen(
        [*common, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address)],
        stderr=subprocess.DEVNULL,
    )
    worker = None
    try:
        scheduler_address(address)
        worker = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(address), "--no-nanny"],
            stderr=subprocess.DEVNULL,
        )
        yield str(address), scheduler.pid
    finally:
        for child in (scheduler, worker):
            if child is not None:
                child.kill()
                child.wait()


WENT_AWAY = r"connection to the scheduler at tcp://127.0.0.1:\d+ is lost.*Connect and run again"


def test_the_scheduler_goes_away(elsewhere, fileset, tmp_path):
    address, scheduler = elsewhere

    def ends_the_scheduler(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] >= 2000 and once(tmp_path / "killed"):
            os.kill(scheduler, signal.SIGKILL)
        return count(events)

    with Client(scheduler_file=address, timeout=20) as client:
        client.wait_for_workers(1, timeout=20)
        with pytest.raises(ConnectError, match=WENT_AWAY):
            process(ends_the_scheduler, fileset, client, chunk_entries=250)


@pytest.mark.parametrize("call", ["nthreads", "run_on_scheduler", "gather", "cancel"])
def test_a_call_finds_out_that_the_scheduler_is_gone(elsewhere, fileset, tmp_path, monkeypatch, call):
    """Any call may find out before the client does, and fail with an error of its own."""
    address, scheduler = elsewhere
    original = getattr(Client, call)

    def after_the_end(client: Client, *args: Any, **kwargs: Any) -> Any:
        if once(tmp_path / "killed"):
            os.kill(scheduler, signal.SIGKILL)
            wait_for(lambda: not _listens(client.scheduler.address))
        return original(client, *args, **kwargs)

    def fails(events: Any) -> dict[str, Any]:
        if call == "cancel":
            raise InputError("the run ends while tasks are waiting")
        return count(events)

    with Client(scheduler_file=address, timeout=2) as client:
        client.wait_for_workers(1, timeout=20)
        monkeypatch.setattr(Client, call, after_the_end)
        with pytest.raises(ConnectError, match=WENT_AWAY):
            process(fails, fileset, client, chunk_entries=250, checkpoint=tmp_path / "checkpoint", progress=False)
        assert (tmp_path / "killed").exists()


def _listens(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def test_the_scheduler_goes_away_without_notice_from_the_client(elsewhere, fileset, tmp_path):
    """Tasks submitted while the client reconnects are not among those that it cancels."""
    address, scheduler = elsewhere

    def waits(events: Any) -> dict[str, Any]:
        (tmp_path / "begun").touch()
        time.sleep(60)
        return count(events)

    with Client(scheduler_file=address, timeout=2) as client, ThreadPoolExecutor(1) as pool:
        client.wait_for_workers(1, timeout=20)
        run = pool.submit(process, waits, fileset, client, progress=False)
        wait_for((tmp_path / "begun").exists)
        client.futures.clear()
        os.kill(scheduler, signal.SIGKILL)
        with pytest.raises(ConnectError, match=WENT_AWAY):
            run.result(timeout=60)


def test_the_scheduler_goes_away_while_files_are_planned(elsewhere, tmp_path):
    """The client then cancels its tasks, which says nothing about the files."""
    address, scheduler = elsewhere
    os.mkfifo(tmp_path / "blocked.root")  # opening it waits for somebody who writes
    with Client(scheduler_file=address, timeout=2) as client, ThreadPoolExecutor(1) as pool:
        client.wait_for_workers(1, timeout=20)
        run = pool.submit(process, count, [str(tmp_path / "blocked.root")], client, treename="Events", progress=False)
        wait_for(lambda: any("af-plan" in key for keys in client.processing().values() for key in keys))
        os.kill(scheduler, signal.SIGKILL)
        with pytest.raises(ConnectError, match=WENT_AWAY):
            run.result(timeout=60)
