"""`process` on the executors of a standalone Spark cluster: a master and two workers, and pyspark's own session.

pyspark is in the environment of the benchmarks, not in the kit's: this process imports it from there.
"""

from __future__ import annotations

import gc
import os
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import dask
import numpy as np
import psutil
import pytest
from hist import Hist
from run_tools import call_noted, calls, once, wait_for, write_events
from temporary import temporary_service

import af_kit as af
from af_kit.analysis import dimuon
from af_kit.errors import ConnectError, FunctionError, InputError
from af_kit.plugins.files import remove_files
from af_kit.run.checkpoint import registered_on_spark
from services.spark.cluster import PROGRAMS, Spark, missing, packages
from services.xrootd.server import XRootD, installed

FILES, ENTRIES = 3, 6000


@pytest.fixture(scope="module")
def cluster(require) -> Iterator[Spark]:
    require("spark", PROGRAMS)
    if reason := missing():
        pytest.skip(f"spark is not installed: {reason}")
    with temporary_service(Spark, "spark") as cluster:
        yield cluster.start()


@pytest.fixture(scope="module")
def spark(cluster) -> Iterator[Any]:
    """A session with two executors of one core and 512 MiB each."""
    interrupt = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyspark's own, about the versions of pandas
        for name, value in cluster.environment().items():
            patch.setenv(name, value)
        for name in ("X509_USER_PROXY", "BEARER_TOKEN", "BEARER_TOKEN_FILE"):
            patch.delenv(name, raising=False)
        patch.syspath_prepend(packages())
        # Chunks and tasks of 1000 entries, and no wait before a retry
        patch.setattr(sys, "path", [*sys.path[1:], sys.path[0]])  # the kit's own packages come first
        with (
            dask.config.set({"af_kit.data.chunk_bytes": 1, "af_kit.run.backoff_s": 0}),
            cluster.session({"spark.executor.memory": "512m", "spark.task.maxFailures": 2}) as session,
        ):
            session.sparkContext.setLogLevel("OFF")
            yield session
    signal.signal(signal.SIGINT, interrupt)  # the session has replaced it


@pytest.fixture(scope="module")
def fileset(tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("events")
    files = [str(write_events(folder / f"{seed}.root", ENTRIES, seed)) for seed in range(FILES)]
    return {"data": {"files": files}}


@pytest.fixture(scope="module")
def on_threads(spark, fileset) -> Mapping[str, Any]:
    return bits(af.process(everything, fileset))


def everything(events: Any) -> dict[str, Any]:
    """Return values that a lost, doubled or misplaced entry would change."""
    weights = np.asarray(events.genWeight, np.float64)
    counts = ak.num(events.Muon)
    return {
        "n": len(events),
        "event": np.asarray(events.event),
        "pt": Hist.new.Reg(50, 0, 100, name="pt")
        .Weight()
        .fill(ak.flatten(events.Muon.pt), weight=np.repeat(weights, counts)),
    }


def bits(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result in a form that == compares bit for bit."""
    return {
        "n": result["n"],
        "event": result["event"].tolist(),
        "pt": result["pt"].view(flow=True).tobytes(),
    }


def assert_complete(result: Any, expected: Mapping[str, Any]) -> None:
    """The groups of a retry are others, so the sums of weights may differ in their last bits."""
    result.report.check()
    found = bits(result)
    assert (found["n"], found["event"]) == (expected["n"], expected["event"])
    np.testing.assert_allclose(np.frombuffer(found["pt"]), np.frombuffer(expected["pt"]), rtol=1e-12)


def quietly(*arguments: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about failed entries, which the tests expect
        return af.process(*arguments, **options)


# ---------------------------------------------------------------------------------------------------------------- runs


def test_the_bits_are_those_of_threads(spark, fileset, on_threads):
    result = af.process(everything, fileset, spark=spark)
    assert bits(result) == on_threads
    assert result.report.check().entries["processed"] == FILES * ENTRIES
    assert result.report.times["function"] > 0
    assert len(result.report.workers) == 2  # the executors


def test_dimuon_has_the_same_bits(spark, tmp_path):
    files = af.write_files("dimuon", tmp_path, 10_000, files=2)
    here, there = dimuon.process(files), dimuon.process(files, spark=spark)
    for name in ("mass", "multiplicity"):
        assert here[name].view(flow=True).tobytes() == there[name].view(flow=True).tobytes()
    assert here["candidates"].equals(there["candidates"])
    there.report.check()


def test_a_failing_chunk_is_listed_and_runs_again(spark, fileset, on_threads, tmp_path):
    broken = tmp_path / "broken"
    broken.touch()

    def fails(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 3000 and broken.exists():
            raise ValueError("no such muon")
        return everything(events)

    with pytest.raises(FunctionError, match=r"entries 3000 to 4000 .*no such muon"):
        af.process(fails, fileset, spark=spark)
    result = quietly(fails, fileset, spark=spark, on_error="collect")
    assert [(f.entry_start, f.entry_stop, f.kind) for f in result.report.failures] == [(3000, 4000, "function")] * FILES
    broken.unlink()
    assert_complete(result.retry(), on_threads)


def test_only_the_chunk_that_kills_its_process_is_lost(spark, fileset):
    def kills(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 5000 and events.metadata["file"].endswith("1.root"):
            os.kill(os.getpid(), signal.SIGKILL)
        return everything(events)

    result = quietly(kills, fileset, spark=spark)
    (failure,) = result.report.failures
    assert (failure.entry_start, failure.entry_stop, failure.kind) == (5000, 6000, "worker")
    assert "the executors that ran it died" in failure.reason
    assert result["n"] == FILES * ENTRIES - 1000


def test_an_interrupt_keeps_what_is_done(spark, fileset, on_threads, tmp_path):
    here = os.getpid()

    def interrupts(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 3000 and once(tmp_path / "interrupted"):
            os.kill(here, signal.SIGINT)
        if (tmp_path / "interrupted").exists() and not (tmp_path / "over").exists():
            threading.Event().wait(60)
        return everything(events)

    result = quietly(interrupts, fileset, spark=spark)
    assert {failure.kind for failure in result.report.failures} == {"interrupted"}
    assert 0 < result.report.entries["processed"] < FILES * ENTRIES
    assert result["n"] == result.report.entries["processed"]
    (tmp_path / "over").touch()
    assert_complete(result.retry(spark), on_threads)


def test_a_checkpoint_continues(spark, fileset, on_threads, tmp_path):
    (tmp_path / "calls").mkdir()
    (tmp_path / "broken").touch()

    def noted(events: Any) -> dict[str, Any]:
        call_noted(tmp_path / "calls", events)
        if events.metadata["file"].endswith("2.root") and (tmp_path / "broken").exists():
            raise ValueError("no such muon")
        return everything(events)

    quietly(noted, fileset, spark=spark, checkpoint=tmp_path / "run", on_error="collect")
    first = len(calls(tmp_path / "calls"))
    (tmp_path / "broken").unlink()
    result = af.process(noted, fileset, spark=spark, checkpoint=tmp_path / "run")
    assert_complete(result, on_threads)
    assert (first, len(calls(tmp_path / "calls"))) == (FILES * 6, FILES * 6 + 6)  # tasks that succeeded are kept


def test_the_users_module_is_the_present_one(spark, fileset, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for factor in (2, 3):
        (tmp_path / "own_module.py").write_text(f"def count(events):\n    return {{'n': {factor} * len(events)}}\n")
        sys.modules.pop("own_module", None)
        import own_module

        result = af.process(own_module.count, fileset, spark=spark)
        assert result["n"] == factor * FILES * ENTRIES


# ------------------------------------------------------------------------------------------------- on every executor


def test_what_was_sent_is_on_a_new_executor_after_one_was_killed(spark, fileset, on_threads, tmp_path):
    (tmp_path / "sf.txt").write_text("1.5")
    (tmp_path / "token").write_text("a.secret-token")
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pathlib import Path\nNAME = (Path(__file__).parent / 'name.txt').read_text()\n"
    )
    (package / "name.txt").write_text("muon")
    af.send_files(spark, {"sf": tmp_path / "sf.txt"})
    af.send_package(spark, package)
    handle = af.send_token(spark, tmp_path / "token", watch=False)
    assert "a.secret-token" not in repr(handle)

    (tmp_path / "executors").mkdir()

    def uses(events: Any) -> dict[str, Any]:
        import own_package

        token = Path(os.environ["BEARER_TOKEN_FILE"])
        assert token.read_text() == "a.secret-token"
        assert (stat.S_IMODE(token.stat().st_mode), stat.S_IMODE(token.parent.stat().st_mode)) == (0o600, 0o700)
        assert (Path(af.file("sf")).read_text(), own_package.NAME) == ("1.5", "muon")
        java = psutil.Process().parent().parent()
        (tmp_path / "executors" / str(java.pid)).touch()
        if events.metadata["entry_start"] == 4000 and once(tmp_path / "killed"):
            java.kill()
        wait_for(
            lambda: not (tmp_path / "killed").exists() or len(list((tmp_path / "executors").iterdir())) == 3,
            within_s=60,
        )
        return everything(events)

    result = af.process(uses, fileset, spark=spark)
    result.report.check()
    assert bits(result) == on_threads
    assert len(list((tmp_path / "executors").iterdir())) == 3  # two, and the one that took the place of one of them

    # a second content under the same name
    before = registered_on_spark(spark)
    (tmp_path / "sf.txt").write_text("1.75")
    with pytest.raises(InputError, match="different content"):
        af.send_files(spark, {"sf": tmp_path / "sf.txt"})
    af.send_files(spark, {"sf": tmp_path / "sf.txt"}, replace=True)
    assert registered_on_spark(spark) != before
    assert af.process(lambda events: {Path(af.file("sf")).read_text(): 1}, fileset, spark=spark)["1.75"] == FILES * 6
    assert af.verify_files(spark).ok

    (tmp_path / "token").write_text("a.newer-token")
    handle.refresh()
    assert set(handle.check().values()) == {"ok"}
    handle.remove()
    remove_files(spark)

    def none_left(events: Any) -> dict[str, Any]:
        return {str(os.environ.get("BEARER_TOKEN_FILE")): 1}

    assert list(af.process(none_left, fileset, spark=spark)) == ["None"]
    assert not registered_on_spark(spark) or all("package" in name for name in registered_on_spark(spark))


def test_a_proxy_arrives_after_a_login_without_one(spark, tmp_path, monkeypatch):
    if not installed():
        pytest.skip("xrootd is not installed")
    with temporary_service(XRootD, "xrootd") as servers:
        servers.start(["gsi"])
        write_events(servers.data / "store" / "a.root", 2000, 1)
        proxy = servers.proxy(tmp_path / "proxy")
        monkeypatch.setenv("X509_CERT_DIR", servers.environment()["X509_CERT_DIR"])
        monkeypatch.setenv("X509_USER_PROXY", str(proxy))  # for this process, which plans
        result = quietly(everything, servers.url("gsi", "/store/a.root"), spark=spark, retries=0)
        assert result.report.entries["failed"] == 2000
        assert "No X.509 proxy was sent here" in result.report.failures[0].reason
        handle = af.send_proxy(spark, proxy)
        assert result.retry().report.check().entries["processed"] == 2000
        handle.remove()


def test_large_results_take_little_memory(spark, tmp_path):
    """The results are larger than the memory of both executors, and the session holds a few of them at a time."""
    size = 2_000_000  # bins: 16 MB for each task
    file = write_events(tmp_path / "many.root", 70_000, 5, cluster=1000)

    def large(events: Any) -> dict[str, Any]:
        return {"sum": Hist.new.Reg(size, 0, 1).Double().fill([0.5])}

    with Peak() as peak:
        result = af.process(large, file, spark=spark)
    assert result["sum"].sum() == 70
    total = 70 * size * 8
    assert total > 2 * 512 * 1024**2
    assert peak.bytes < total / 2  # five merged results of a block, and copies of two while they come


class Peak:
    """How much the memory of this process has grown at most."""

    def __enter__(self) -> Peak:
        gc.collect()
        self._begin = psutil.Process().memory_info().rss
        self.bytes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.bytes = max(self.bytes, psutil.Process().memory_info().rss - self._begin)

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


# ------------------------------------------------------------------------------------------------------------- errors


def test_arguments(spark, fileset):
    with pytest.raises(InputError, match="spark=session"):
        af.process(everything, fileset, spark)
    with pytest.raises(InputError, match="not a str"):
        af.process(everything, fileset, spark="spark://127.0.0.1:7077")
    lock = threading.Lock()
    with pytest.raises(InputError, match="cannot be pickled"):
        af.process(lambda events: {"n": bool(lock)}, fileset, spark=spark)


def test_a_session_that_has_ended(spark, fileset):
    """The last test: it stops the session."""
    stop: Callable[[], None] = spark.stop
    threading.Timer(2, stop).start()

    def waits(events: Any) -> dict[str, Any]:
        threading.Event().wait(0.5)
        return everything(events)

    with pytest.raises(ConnectError, match="has ended"):
        af.process(waits, fileset, spark=spark)
    with pytest.raises(ConnectError, match="is stopped"):
        af.process(everything, fileset, spark=spark)
