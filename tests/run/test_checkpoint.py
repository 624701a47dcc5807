"""Finished chunks survive, and are never taken for the result of anything else."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import WorkerPlugin
from hist import Hist
from run_tools import assert_close, call_noted, calls, everything, write_events

from af_kit.display.progress import Progress
from af_kit.errors import FunctionError, InputError
from af_kit.run.checkpoint import Checkpoint
from af_kit.run.process import process


@pytest.fixture
def fileset(files: list[Path]) -> dict[str, Any]:
    """Two datasets, 3999 entries: 16 chunks of at most 250."""
    return {
        "signal": {"files": {str(files[1]): "Events"}, "metadata": {"year": 2018}},
        "background": {"files": {str(files[4]): "Events"}, "metadata": {"year": 2018}},
    }


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder in which each call leaves a trace."""
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


def fresh(notes: Path) -> list[tuple[str, int, int]]:
    """The calls since the last time this was asked."""
    found = calls(notes)
    for path in notes.iterdir():
        path.unlink()
    return found


def noted(notes: Path) -> Callable[[Any], dict[str, Any]]:
    def analyse(events: Any) -> dict[str, Any]:
        call_noted(notes, events)
        return everything(events)

    return analyse


def saved(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.pickle"))


# ---------------------------------------------------------------- resuming


def test_nothing_is_repeated(fileset, kept, notes):
    first = process(noted(notes), fileset, chunk_entries=250, checkpoint=kept)
    assert len(fresh(notes)) == 16
    again = process(noted(notes), fileset, chunk_entries=250, checkpoint=kept)
    assert fresh(notes) == []
    assert_close(again, first)
    assert again.report.check().entries == first.report.entries
    assert again.report.branches == first.report.branches
    assert not list(kept.rglob("*.part"))


@pytest.mark.parametrize("on_cluster", [False, True], ids=["threads", "cluster"])
def test_an_interrupted_run_continues(fileset, kept, notes, client, monkeypatch, on_cluster):
    updates: list[int] = []
    update = Progress.update

    def interrupted(bar: Progress, done: int = 1, failed: int = 0) -> None:
        if bar.what != "run":  # that of the plan
            return
        updates.append(done)
        if len(updates) == 3:  # after what was kept, the first task and the second
            raise KeyboardInterrupt
        update(bar, done, failed)

    monkeypatch.setattr(Progress, "update", interrupted)
    where = client if on_cluster else None
    with pytest.warns(UserWarning, match="the run was stopped"):
        part = process(noted(notes), fileset, where, chunk_entries=250, checkpoint=kept)
    assert part.report.entries["failed"] > 0
    first = set(fresh(notes))
    whole = process(noted(notes), fileset, where, chunk_entries=250, checkpoint=kept)
    second = set(fresh(notes))
    assert len(second) <= 16 - 5  # both tasks were saved: one of a small file, one of four chunks
    assert sum(stop - start for _, start, stop in first | second) == 3999
    whole.report.check()
    assert_close(whole, process(everything, fileset, chunk_entries=250))


def test_a_full_run_reuses_the_first_chunks(fileset, kept, notes):
    part = process(noted(notes), fileset, chunk_entries=250, checkpoint=kept, max_chunks=4)
    part.report.check()
    assert len(fresh(notes)) == 5  # one dataset has only one
    whole = process(noted(notes), fileset, chunk_entries=250, checkpoint=kept)
    assert len(fresh(notes)) == 16 - 5
    assert whole.report.check().entries == {"planned": 3999, "processed": 3999, "failed": 0}
    assert_close(whole, process(everything, fileset, chunk_entries=250))


def test_threads_and_a_cluster_share_a_checkpoint(fileset, kept, notes, client):
    function = noted(notes)
    process(function, fileset, chunk_entries=250, checkpoint=kept)
    fresh(notes)
    on_cluster = process(function, fileset, client, chunk_entries=250, checkpoint=kept)
    assert not fresh(notes)
    on_cluster.report.check()


def test_failed_chunks_are_not_saved(fileset, kept, notes, tmp_path):
    def analyse(events: Any) -> dict[str, Any]:
        call_noted(notes, events)
        if events.metadata["entry_start"] == 1500 and not (tmp_path / "mended").exists():
            raise ValueError("bug")
        return everything(events)

    with pytest.warns(UserWarning, match="bug"):
        process(analyse, fileset, chunk_entries=250, on_error="collect", checkpoint=kept)
    fresh(notes)
    (tmp_path / "mended").touch()
    whole = process(analyse, fileset, chunk_entries=250, on_error="collect", checkpoint=kept)
    repeated = fresh(notes)
    assert 1500 in [start for _, start, _ in repeated]
    assert len(repeated) <= 4  # the task of this chunk, and no other
    assert_close(whole, process(everything, fileset, chunk_entries=250))
    whole.report.check()


def test_an_error_leaves_what_was_done(fileset, kept, notes):
    def analyse(events: Any) -> dict[str, Any]:
        call_noted(notes, events)
        if events.metadata["entry_start"] == 3000:
            raise ValueError("bug")
        return everything(events)

    with pytest.raises(FunctionError):
        process(analyse, fileset, chunk_entries=250, checkpoint=kept)
    assert saved(kept)


def test_a_chunk_that_kills_its_worker_is_not_saved(files, kept, notes, cluster_of, tmp_path):
    """Its task is split: the rest of it must not pass for the whole."""

    def analyse(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 250 and not (tmp_path / "mended").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        call_noted(notes, events)
        return {"n": len(events)}

    one = [str(files[5])]
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster_of(1) as client:
        with pytest.warns(UserWarning, match="250 to 500: the workers that ran it died"):
            part = process(analyse, one, client, chunk_entries=250, checkpoint=kept)
        assert part["n"] == 4750
        fresh(notes)
        (tmp_path / "mended").touch()
        whole = process(analyse, one, client, chunk_entries=250, checkpoint=kept)
        assert whole["n"] == 5000
        whole.report.check()
        assert fresh(notes) == [("file5", 0, 250), ("file5", 250, 500), ("file5", 500, 750), ("file5", 750, 1000)]


def test_a_retry_saves_too(files, kept, notes, tmp_path):
    names = [str(files[0]), str(tmp_path / "late.root")]
    with pytest.warns(UserWarning, match="does not exist"):
        part = process(noted(notes), _dataset(names), chunk_entries=250, checkpoint=kept)
    write_events(tmp_path / "late.root", 500, 7)
    fresh(notes)
    part.retry().report.check()
    assert fresh(notes) == [("late", 0, 250), ("late", 250, 500)]


def _dataset(names: list[str], **metadata: Any) -> dict[str, Any]:
    return {"data": {"files": dict.fromkeys(names, "Events"), "metadata": {"year": 2018, **metadata}}}


def test_files_that_are_no_longer_neighbours(tmp_path, kept):
    """A file between two others is missing now: their merged rows must leave a place for its own."""
    names = [str(write_events(tmp_path / f"{name}.root", 400, i)) for i, name in enumerate("abc")]

    def rows(events: Any) -> dict[str, Any]:
        return {"event": np.asarray(events.event)}

    process(rows, _dataset([names[0], names[2]]), checkpoint=kept).report.check()
    Path(names[1]).rename(tmp_path / "away")
    with pytest.warns(UserWarning, match=r"b\.root"):
        part = process(rows, _dataset(names), checkpoint=kept)
    assert part.report.entries == {"planned": 800, "processed": 800, "failed": 0}
    (tmp_path / "away").rename(names[1])
    whole = part.retry()
    whole.report.check()
    assert whole["event"].tolist() == [i * 100_000 + entry for i in range(3) for entry in range(400)]


# ---------------------------------------------------------------- what must not be reused


def test_another_chunk_size_starts_again_if_the_cuts_differ(fileset, kept, notes):
    process(noted(notes), fileset, chunk_entries=250, checkpoint=kept)
    fresh(notes)
    result = process(noted(notes), fileset, chunk_entries=500, checkpoint=kept)
    assert sum(stop - start for _, start, stop in fresh(notes)) > 3700
    result.report.check()


def test_an_edited_function_starts_again(fileset, kept, notes):
    def make(cut: float) -> Callable[[Any], dict[str, Any]]:
        def analyse(events: Any) -> dict[str, Any]:
            call_noted(notes, events)
            return {"n": int(np.sum(np.asarray(events.genWeight) > cut))}

        return analyse

    counts = []
    for cut in (0.5, 1.0, 1.5, 0.5):
        counts.append(process(make(cut), fileset, checkpoint=kept)["n"])
        assert counts[-1] == process(make(cut), fileset)["n"]
    assert counts[0] > counts[1] > counts[2] > 0
    assert counts[3] == counts[0]


def test_options_that_matter_start_again(fileset, kept, notes):
    function = noted(notes)
    branches = ["event", "genWeight", "Muon"]
    for options, repeated in [({}, 16), ({"branches": branches}, 16), ({"verify": False}, 16), ({"retries": 9}, 0)]:
        process(function, fileset, chunk_entries=250, checkpoint=kept, **options)
        assert len(fresh(notes)) == repeated, options


def test_other_files_of_the_same_name_start_again(tmp_path, kept, notes):
    path = tmp_path / "data.root"
    totals = []
    for seed in (1, 2):
        write_events(path, 500, seed)
        totals.append(process(noted(notes), _dataset([str(path)]), checkpoint=kept)["event"].sum())
        assert len(fresh(notes)) == 1
    assert totals[0] != totals[1]


@pytest.mark.parametrize(
    "changed",
    [{"year": 2017}, {"xsec_pb": 2.0}, {"table": np.r_[np.zeros(5000), 1.0]}, {"tags": {"a", "b", "d"}}],
    ids=["value", "key", "array", "set"],
)
def test_changed_metadata_start_again(files, kept, notes, changed):
    before = {"table": np.zeros(5001), "tags": {"a", "b", "c"}}
    for metadata, repeated in ((before, 1), (before, 0), ({**before, **changed}, 1)):
        process(noted(notes), _dataset([str(files[1])], **metadata), checkpoint=kept).report.check()
        assert len(fresh(notes)) == repeated


def test_the_dataset_of_a_file_counts(files, kept, notes):
    for name in ("a", "b"):
        process(noted(notes), {name: _dataset([str(files[1])])["data"]}, checkpoint=kept)
        assert len(fresh(notes)) == 1


class Setting(WorkerPlugin):
    """What a facility registers: a file, a correction, a setting."""

    def __init__(self, value: int) -> None:
        self.value = value


def test_what_was_sent_to_the_workers_counts(files, kept, notes, client):
    function, one = noted(notes), _dataset([str(files[1])])
    seen = []
    try:
        for value in (None, 1, 1, 2, 1):
            if value is not None:
                client.register_plugin(Setting(value), name="af-test-setting")
            process(function, one, client, checkpoint=kept).report.check()
            seen.append(len(fresh(notes)))
    finally:
        client.unregister_worker_plugin("af-test-setting")
    assert seen == [1, 1, 0, 1, 0]


def test_a_renewed_secret_does_not_count(files, kept, notes, client):
    function, one = noted(notes), _dataset([str(files[1])])
    try:
        for value, repeated in ((1, 1), (2, 0)):
            client.register_plugin(Setting(value), name="af-secret-test")
            process(function, one, client, checkpoint=kept)
            assert len(fresh(notes)) == repeated
    finally:
        client.unregister_worker_plugin("af-secret-test")


def test_another_version_of_af_kit_starts_again(files, kept, notes, monkeypatch):
    for version, repeated in (("1.0", 1), ("1.0", 0), ("1.1", 1)):
        monkeypatch.setattr("af_kit.run.process.__version__", version)
        process(noted(notes), _dataset([str(files[1])]), checkpoint=kept)
        assert len(fresh(notes)) == repeated


# ---------------------------------------------------------------- in a fresh process

SCRIPT = """
import sys
import numpy as np
import af_kit as af

if HOW == "script":
    sys.path.insert(0, FOLDER)
from fp_checkpoint_helper import passes

NAMES = {"mu", "e", "tau", "jet"}

class Cutflow:
    def __init__(self, n):
        self.n = n
    def __add__(self, other):
        assert isinstance(other, Cutflow)
        return Cutflow(self.n + other.n)

def analyse(events, cut=CUT):
    with open(CALLS, "a") as file:
        file.write("x")
    weights = np.asarray(events.genWeight)
    return {"n": Cutflow(int(np.sum(passes(weights, cut)))), "names": NAMES}

result = af.process(analyse, FILES, chunk_entries=1000, checkpoint=KEPT)
result.report.check()
print(result["n"].n)
"""


def test_the_same_code_in_a_new_process_continues(files, kept, tmp_path):
    helper = tmp_path / "fp_checkpoint_helper.py"
    helper.write_text("def passes(weights, cut):\n    return weights > cut\n")
    counted = tmp_path / "count"

    def run(how: str, cut: float = 1.0) -> tuple[int, int]:
        """What comes out, and how often the function was called."""
        counted.write_text("")
        values = {
            "HOW": how, "CUT": cut, "FOLDER": str(tmp_path), "CALLS": str(counted), "KEPT": str(kept),
            "FILES": [str(files[0]), str(files[1])],
        }  # fmt: skip
        source = "".join(f"{name} = {value!r}\n" for name, value in values.items()) + SCRIPT
        if how == "notebook":  # a cell is compiled as it is typed, in no file
            source = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nexec(compile({source!r}, '<cell 1>', 'exec'))"
        path = tmp_path / "job.py"
        path.write_text(source)
        done = subprocess.run(
            [sys.executable, "-B", str(path)], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout), len(counted.read_text())

    first = run("script")
    assert first[1] == 7
    helper.write_text("def passes(weights, cut):\n    # moved, and commented\n\n    return weights > cut\n")
    assert run("script") == (first[0], 0)
    helper.write_text("def passes(weights, cut):\n    return weights < cut\n")
    other = run("script")
    assert other[1] == 7
    assert other[0] != first[0]
    assert run("notebook") == (other[0], 0)
    assert run("script", cut=2.0)[1] == 7


# ---------------------------------------------------------------- the folder


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "other"])
def test_a_damaged_file_is_ignored(fileset, kept, notes, how):
    first = process(noted(notes), fileset, chunk_entries=250, checkpoint=kept)
    fresh(notes)
    for path in saved(kept)[:2]:
        data = bytearray(path.read_bytes())
        if how == "flipped":
            data[len(data) // 2] ^= 1
        path.write_bytes({"flipped": data, "cut": data[:-100], "empty": b"", "other": b"\x80\x05K\x01."}[how])
    again = process(noted(notes), fileset, chunk_entries=250, checkpoint=kept)
    assert 0 < sum(stop - start for _, start, stop in fresh(notes)) <= 2000
    assert_close(again, first)
    again.report.check()


@pytest.mark.parametrize("place", ["file/inside", "/proc/af-kit"])
def test_a_folder_that_cannot_be_written(fileset, tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"checkpoint folder .* cannot be written"):
        process(everything, fileset, checkpoint=tmp_path / place)


def test_a_disk_that_is_full_does_not_end_the_run(fileset, kept, notes, monkeypatch):
    def full(self: Any, name: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoint, "_write", full)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = process(noted(notes), fileset, chunk_entries=250, checkpoint=kept)
    result.report.check()
    said = [str(warning.message) for warning in seen if "No space left" in str(warning.message)]
    assert len(said) == 1
    assert f"the checkpoint in {next(kept.iterdir())} could not be written any more: No space" in result.report.notes[0]


def test_outputs_that_only_cloudpickle_knows(fileset, kept, notes):
    @dataclasses.dataclass
    class Sum:
        n: int

        def __add__(self, other: Sum) -> Sum:
            return Sum(self.n + other.n)

    def analyse(events: Any) -> dict[str, Any]:
        call_noted(notes, events)
        counts = defaultdict(lambda: Hist.new.Reg(1, 0, 1).Int64())
        counts["h"].fill([0.5] * len(events))
        return {"sum": Sum(len(events)), "counts": counts, "cutflow": Counter(all=len(events))}

    for repeated in (16, 0):
        result = process(analyse, fileset, chunk_entries=250, checkpoint=kept)
        assert len(fresh(notes)) == repeated
        assert result["sum"].n == result["cutflow"]["all"] == result["counts"]["h"].sum() == 3999


def test_the_folder_may_be_text_or_a_path(files, tmp_path):
    source = textwrap.dedent("def f(events): return {'n': len(events)}")
    cell: dict[str, Any] = {}
    exec(source, cell)
    for folder in (str(tmp_path / "a" / "b"), tmp_path / "a" / "b"):
        assert process(cell["f"], str(files[1]), checkpoint=folder)["n"] == 250
    assert len(saved(tmp_path)) == 1


def test_another_value_of_an_environment_variable_is_another_result(fileset, kept, monkeypatch):
    def scaled(events):
        return {"n": len(events) * int(os.environ["AF_KIT_TEST_SCALE"])}

    for scale in (1, 7, 1):
        monkeypatch.setenv("AF_KIT_TEST_SCALE", str(scale))
        result = process(scaled, fileset, checkpoint=kept, progress=False)
        assert result["n"] == 3999 * scale
        assert not any("checkpoint" in note for note in result.report.notes)


def test_the_report_names_what_the_checkpoint_cannot_notice(fileset, kept, tmp_path):
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("1")

    def reads(events):
        return {"n": len(events) * int(cuts.read_text())}

    result = process(reads, fileset, checkpoint=kept, progress=False)
    assert any("what the function reads with read_text() in" in note for note in result.report.notes)
    assert not any("checkpoint" in note for note in process(reads, fileset, progress=False).report.notes)
