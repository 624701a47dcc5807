"""Faults: broken files, flaky disks, bugs, interrupts. Every entry is still accounted for."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import dask
import numpy as np
import pytest
from run_tools import assert_close, call_noted, calls, damage, everything, once, truncate, write_events

from af_kit.data.transport.source import _Local
from af_kit.errors import FunctionError, IncompleteError, ReadError
from af_kit.run.process import process
from af_kit.run.result import Result


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three files of 1000, 750 and 500 entries to break."""
    return [write_events(tmp_path / f"f{i}.root", 1000 - 250 * i, i) for i in range(3)]


@pytest.fixture(scope="module")
def whole(fileset) -> Result:
    """The undisturbed result of `everything`."""
    with dask.config.set({"af_kit.data.chunk_bytes": 1}):
        return process(everything, fileset, chunk_entries=250)


def paths(files: list[Path]) -> list[str]:
    return [str(path) for path in files]


def count(events: Any) -> dict[str, Any]:
    return {"event": np.asarray(events.event), "pt": float(ak.sum(events.Muon.pt, axis=None))}


def quietly(*args: Any, **options: Any) -> Result:
    """`process`, with an expected warning about failures."""
    with pytest.warns(UserWarning, match=r"result\.retry\(\) runs only these"):
        return process(*args, **options)


def failed(result: Result) -> list[tuple[str, str, int | None, int | None]]:
    return [(f.kind, Path(f.file).name, f.entry_start, f.entry_stop) for f in result.report.failures]


def assert_closed(result: Result) -> None:
    """Each planned entry is in the result, or listed."""
    entries = result.report.entries
    assert entries["processed"] + entries["failed"] == entries["planned"]
    assert sum(f.entries for f in result.report.failures) == entries["failed"]
    if "event" in result:
        assert len(result["event"]) == len(set(result["event"].tolist())) == entries["processed"]
    with pytest.raises(IncompleteError, match="were not processed"):
        result.report.check()


# ---------------------------------------------------------------- files that cannot be opened

RUIN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: path.unlink(), "does not exist"),
    "truncated": (truncate, "is truncated"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "not ROOT": (lambda path: path.write_text("<html>404</html>" * 99), "is not a ROOT file"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a directory"),
    "not permitted": (lambda path: path.chmod(0), "permission denied"),
}


@pytest.mark.parametrize("ruin", RUIN)
def test_a_bad_file_among_good_ones(three, ruin):
    act, reason = RUIN[ruin]
    act(three[1])
    with as_somebody_else(three) if ruin == "not permitted" else contextlib.nullcontext():
        result = quietly(count, paths(three), chunk_entries=250)
    assert failed(result) == [("io", "f1.root", None, None)]
    assert reason in result.report.failures[0].reason
    assert result["event"].tolist() == [*range(1000), *range(200_000, 200_500)]
    assert result.report.files == {"planned": 3, "failed": 1}
    assert result.report.entries == {"planned": 1500, "processed": 1500, "failed": 0}
    assert not result.report.complete
    with pytest.raises(IncompleteError, match=r"1 file could not be opened[^$]*f1.root \(entries unknown\)"):
        result.report.check()


@contextlib.contextmanager
def as_somebody_else(files: list[Path]) -> Iterator[None]:
    """root may read everything: become nobody for a while, with access to the folder."""
    if os.geteuid() != 0:
        yield
        return
    modes = {folder: folder.stat().st_mode for folder in files[0].parents}
    closed = {folder: mode for folder, mode in modes.items() if mode & 0o011 != 0o011}
    for folder, mode in closed.items():
        folder.chmod(mode | 0o011)
    for path in files:
        path.chmod(0o644 if path.stat().st_mode & 0o400 else 0)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for folder, mode in closed.items():
            folder.chmod(mode)


def test_all_files_bad(three):
    truncate(three[0])
    three[1].unlink()
    three[2].write_text("no")
    with pytest.raises(ReadError, match=r"3 of 3 files cannot be used: .*truncated.*does not exist.*not a ROOT file"):
        process(count, paths(three))


def test_a_file_that_appears_later_takes_its_place(three, tmp_path):
    whole = process(count, paths(three), chunk_entries=250)
    for absent in ([0], [1], [2], [0, 2], [0, 1]):
        for i in absent:
            three[i].rename(tmp_path / f"away{i}")
        result = quietly(count, paths(three), chunk_entries=250)
        for i in absent[:-1]:
            (tmp_path / f"away{i}").rename(three[i])
        if len(absent) > 1:
            result = _retried(result)
            assert [f.file for f in result.report.failures] == [str(three[absent[-1]])]
        (tmp_path / f"away{absent[-1]}").rename(three[absent[-1]])
        result = result.retry()
        assert result["event"].tolist() == whole["event"].tolist()
        assert result["pt"] == pytest.approx(whole["pt"], rel=1e-12)
        assert result.report.check().entries == whole.report.entries
        assert result.report.files == {"planned": 3, "failed": 0}


def _retried(result: Result) -> Result:
    with pytest.warns(UserWarning, match="retry"):
        return result.retry()


def test_a_file_that_is_empty_and_appears_later(three, tmp_path):
    empty = write_events(tmp_path / "empty.root", 0, 9)
    empty.rename(tmp_path / "away")
    result = quietly(count, paths([three[0], empty, three[1]]), chunk_entries=250)
    (tmp_path / "away").rename(empty)
    result = result.retry()
    assert len(result["event"]) == 1750
    result.report.check()


# ---------------------------------------------------------------- reading that fails


def test_a_damaged_basket_costs_the_chunks_that_touch_it(three):
    damage(three[0], "Muon_pt", 2)  # entries 500 to 750
    result = quietly(count, paths(three), chunk_entries=125)
    assert failed(result) == [("io", "f0.root", 500, 625), ("io", "f0.root", 625, 750)]
    assert "branch 'Muon_pt' is damaged in entries 500 to 750" in result.report.failures[0].reason
    assert result["event"].tolist() == [
        *range(500),
        *range(750, 1000),
        *range(100_000, 100_750),
        *range(200_000, 200_500),
    ]
    assert_closed(result)
    damaged = process(lambda events: {"event": np.asarray(events.event)}, paths(three), chunk_entries=125)
    damaged.report.check()  # whoever does not use the branch does not meet the damage


def test_a_function_that_swallows_a_read_error(three):
    """``except Exception`` around a column must not turn a broken file into no muons."""
    damage(three[0], "Muon_pt", 2)

    def careless(events: Any) -> dict[str, Any]:
        try:
            return count(events)
        except Exception:  # noqa: BLE001
            return {"event": np.asarray(events.event), "pt": 0.0}

    result = quietly(careless, paths(three), chunk_entries=250)
    assert failed(result) == [("io", "f0.root", 500, 750)]
    assert_closed(result)


class Flaky:
    """Makes the first ``times`` reads fail at each path that ends with ``name``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, name: str = ".root") -> None:
        self.left, self.failed = times, 0
        lock, read = threading.Lock(), _Local.read

        def flaky(source: Any, ranges: Any) -> Any:
            with lock:
                fails = source.path.endswith(name) and self.left > 0
                self.left -= fails
                self.failed += fails
            if fails:
                raise ReadError(f"{source.path}: the connection was reset", transient=True)
            return read(source, ranges)

        monkeypatch.setattr(_Local, "read", flaky)


@pytest.mark.parametrize("branches", [None, ["event", "Muon_pt"]], ids=["found", "declared"])
def test_a_transient_error_is_retried(three, monkeypatch, branches):
    whole = process(count, paths(three), branches=branches)
    flaky = Flaky(monkeypatch, 3, "f1.root")
    result = process(count, paths(three), branches=branches)
    assert flaky.failed == 3
    assert result["event"].tolist() == whole["event"].tolist()
    assert result["pt"] == whole["pt"]
    assert result.report.check().retries == 3


def test_retries_can_be_switched_off(three, monkeypatch):
    Flaky(monkeypatch, 1, "f1.root")
    result = quietly(count, paths(three), retries=0)
    assert failed(result) == [("io", "f1.root", 0, 750)]
    assert "the connection was reset" in result.report.failures[0].reason
    assert result.retry().report.check().entries["processed"] == 2250


def test_a_persistent_error_is_listed(three, monkeypatch):
    flaky = Flaky(monkeypatch, 10**9, "f1.root")
    result = quietly(count, paths(three), retries=2, chunk_entries=250)
    assert failed(result) == [("io", "f1.root", i, i + 250) for i in (0, 250, 500)]
    assert flaky.failed == 3 + 3 * 3  # as a group, then each chunk alone
    assert_closed(result)
    flaky.left = 0
    again = result.retry()
    assert again["event"].tolist() == [*range(1000), *range(100_000, 100_750), *range(200_000, 200_500)]
    again.report.check()


def test_back_off_grows(three, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("af_kit.run.task.time.sleep", waits.append)
    Flaky(monkeypatch, 3, "f2.root")
    with dask.config.set({"af_kit.run.backoff_s": 0.5}):
        process(count, paths(three)).report.check()
    assert waits == [0.5, 1.0, 2.0]


def test_the_next_replica_is_used_and_counted(three, monkeypatch, tmp_path):
    copy = tmp_path / "copy.root"
    shutil.copy(three[0], copy)
    fileset = {"data": {"files": [{"replicas": [str(three[0]), str(copy)]}], "metadata": {}}}
    whole = process(count, fileset, chunk_entries=250)
    Flaky(monkeypatch, 10**9, "f0.root")
    result = process(count, fileset, chunk_entries=250, retries=1)
    assert result["event"].tolist() == whole["event"].tolist()
    assert result["pt"] == whole["pt"]
    report = result.report.check()
    assert set(report.replicas) == {str(copy)}
    assert report.retries == 2
    assert "copy.root" in str(report)


def test_a_damaged_basket_is_read_from_the_next_replica(three, tmp_path):
    copy = tmp_path / "copy.root"
    shutil.copy(three[0], copy)
    damage(three[0], "Muon_pt", 1)
    fileset = {"data": {"files": [{"replicas": [str(three[0]), str(copy)]}], "metadata": {}}}
    result = process(count, fileset, chunk_entries=250)
    result.report.check()
    assert result["event"].tolist() == list(range(1000))


def test_a_replica_that_is_another_file_is_not_read(three, tmp_path):
    other = write_events(tmp_path / "other.root", 1000, 7)  # of the same shape
    damage(three[0], "event", 1)
    fileset = {"data": {"files": [{"replicas": [str(three[0]), str(other)]}], "metadata": {}}}
    result = quietly(count, fileset, chunk_entries=250)
    assert failed(result) == [("io", "f0.root", 250, 500)]
    assert result["event"].tolist() == [*range(250), *range(500, 1000)]


def test_a_file_that_vanishes_after_planning(three):
    def removes(events: Any) -> dict[str, Any]:
        if Path(events.metadata["file"]) == three[2]:
            three[2].unlink(missing_ok=True)  # nothing of it has been read yet
        return count(events)

    result = quietly(removes, paths(three), chunk_entries=250)
    assert failed(result) == [("io", "f2.root", 0, 250), ("io", "f2.root", 250, 500)]
    assert "does not exist" in result.report.failures[0].reason
    assert_closed(result)


# ---------------------------------------------------------------- errors of the function


def test_a_bug_is_shown_at_once(fileset, tmp_path):
    def buggy(events: Any) -> dict[str, Any]:
        call_noted(tmp_path, events)
        muons = events.Muon
        return {"n": muons.no_such_field}

    with pytest.raises(FunctionError) as caught:
        process(buggy, fileset, chunk_entries=250)
    message = str(caught.value)
    assert "The function failed on entries" in message
    assert ".root (dataset '" in message
    assert 'return {"n": muons.no_such_field}' in message  # the line
    assert "task.py" not in message  # the kit's own frames say nothing to the user
    assert len(calls(tmp_path)) < 40  # of 81
    result = caught.value.result
    assert result.report.entries["planned"] == 20_000
    assert_closed(result)


def test_an_oserror_of_the_function_is_not_a_read_error(three, tmp_path):
    def looks_up(events: Any) -> dict[str, Any]:
        np.asarray(events.event)
        with (tmp_path / "corrections.json").open() as file:
            return {"n": len(file.read())}

    with pytest.raises(FunctionError, match=r"FileNotFoundError.*corrections\.json"):
        process(looks_up, paths(three))


def test_a_missing_branch_is_named_with_the_nearest(three):
    with pytest.raises(FunctionError, match="Did you mean 'Muon_pt'"):
        process(lambda events: {"n": ak.sum(events["Muon_ptt"])}, paths(three))


def fails_unless(flag: Path) -> Callable[[Any], dict[str, Any]]:
    """`everything`, which needs a file for the fifth and sixth chunk of each long file."""

    def analyse(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] in (1000, 1250) and not flag.exists():
            raise RuntimeError("no calibration")
        return everything(events)

    return analyse


def test_collected_errors_and_a_retry(whole, fileset, tmp_path):
    analyse = fails_unless(tmp_path / "flag")
    result = quietly(analyse, fileset, chunk_entries=250, on_error="collect")
    names = ["file0.root", "file2.root", "file4.root", "file5.root"]
    assert failed(result) == [("function", name, i, i + 250) for name in names for i in (1000, 1250)]
    assert all("RuntimeError: no calibration" in f.reason for f in result.report.failures)
    assert all('raise RuntimeError("no calibration")' in f.traceback for f in result.report.failures)
    assert_closed(result)

    still = _retried(result)
    assert failed(still) == failed(result)
    (tmp_path / "flag").touch()
    for start in (result, still):
        again = start.retry()
        assert_close(again, whole)
        assert again.report.check().entries == whole.report.entries


def test_every_chunk_fails(three):
    result = quietly(lambda events: {"n": 1 / 0}, paths(three), on_error="collect")
    assert dict(result) == {}
    with pytest.raises(KeyError, match="empty: no chunk was processed"):
        result["n"]
    assert_closed(result)


# ---------------------------------------------------------------- interrupts


def test_an_interrupt_gives_what_was_done(whole, fileset, tmp_path):

    def interrupts(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 2000 and once(tmp_path / "interrupted"):
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: it reaches the main thread, which waits for results
        return everything(events)

    result = quietly(interrupts, fileset, chunk_entries=250)
    kinds = {f.kind for f in result.report.failures}
    assert kinds == {"interrupted"}
    assert 0 < result.report.entries["failed"] <= 20_000
    assert_closed(result)
    assert "INCOMPLETE, a part: the run was stopped" in repr(result)
    assert "its result is a part: " in str(result.report)

    again = result.retry()
    assert_close(again, whole)
    again.report.check()


def test_an_interrupt_on_a_cluster(whole, fileset, client, tmp_path):
    here = os.getpid()

    def interrupts(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 2000 and once(tmp_path / "interrupted"):
            os.kill(here, signal.SIGINT)
        return everything(events)

    result = quietly(interrupts, fileset, client, chunk_entries=250)
    assert {f.kind for f in result.report.failures} == {"interrupted"}
    assert_closed(result)
    again = result.retry(client)
    assert_close(again, whole)
    again.report.check()
    on_threads = result.retry()
    assert_close(on_threads, whole)


def test_an_interrupt_while_merging(fileset, monkeypatch):
    """Wherever it hits the main thread, the results being merged at that moment are listed."""
    from af_kit.run.engines import threads

    merges = []
    combine = threads.combine

    def interrupted(partials: Any) -> Any:
        merges.append(1)
        if len(merges) == 1:
            raise KeyboardInterrupt
        return combine(partials)

    monkeypatch.setattr(threads, "combine", interrupted)
    result = quietly(count, fileset, chunk_entries=250)
    assert {f.kind for f in result.report.failures} == {"interrupted"}
    assert_closed(result)


# ---------------------------------------------------------------- many faults at a time


@pytest.mark.parametrize("seed", range(3))
def test_entries_add_up_with_any_mixture_of_faults(three, tmp_path, seed):
    """Damaged baskets, bugs and a missing file at once; after mending, a retry gives the undisturbed result."""
    whole = process(count, paths(three), chunk_entries=250)
    random = np.random.default_rng(seed)
    for path in three:
        shutil.copy(path, tmp_path / f"good-{path.name}")
    damage(three[0], "Muon_pt", int(random.integers(4)))
    if random.random() < 0.5:
        three[int(random.integers(1, 3))].unlink()
    buggy = set(random.choice(10, 4) * 125)

    def analyse(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] in buggy and not (tmp_path / "mended").exists():
            raise ValueError("bug")
        return count(events)

    result = quietly(analyse, paths(three), chunk_entries=125, on_error="collect")
    assert_closed(result)
    for path in three:
        shutil.copy(tmp_path / f"good-{path.name}", path)
    (tmp_path / "mended").touch()
    again = result.retry()
    assert again["event"].tolist() == whole["event"].tolist()
    assert again["pt"] == pytest.approx(whole["pt"], rel=1e-12)
    again.report.check()
