"""Local files and workers that cannot see them: uploaded once, renewed, removed; never if a worker sees them."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client
from elsewhere import Elsewhere
from run_tools import bits, everything, once, truncate, wait_for, write_events

import af_kit as af
from af_kit.errors import InputError
from af_kit.plugins.store import sha256_of
from af_kit.run import upload as module
from af_kit.run.process import process
from af_kit.run.upload import uploaded_files


def count(events: Any) -> dict[str, Any]:
    return {"n": len(events), "event": np.asarray(events.event)}


def upload(client: Client, *files: tuple[str, ...]) -> list[str]:
    with uploaded_files(client, files) as notes:
        return notes


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """One worker, which no test harms."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "hidden").mkdir()
    (folder / "seen").mkdir()
    cluster = Elsewhere(folder / "hidden", folder / "seen")
    yield cluster
    cluster.close()


@pytest.fixture
def folder(elsewhere: Elsewhere) -> Iterator[Path]:
    """A folder that the workers cannot see; its uploads are removed before the next test."""
    folder = elsewhere.hidden / "data"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
    upload(elsewhere.client)
    assert elsewhere.kept() == []
    wait_for(lambda: elsewhere.copies() == [])


@pytest.fixture
def fileset(folder: Path) -> dict[str, Any]:
    files = [write_events(folder / f"file{i}.root", entries, i) for i, entries in enumerate([3000, 1001])]
    return {"signal": {"files": [str(path) for path in files], "metadata": {"year": 2018}}}


@pytest.fixture
def asked(elsewhere: Elsewhere) -> Callable[[], dict[str, int]]:
    """``asked()`` counts what the scheduler's store was asked since the last call."""
    return lambda: elsewhere.client.run_on_scheduler(_asked)


def _asked(dask_scheduler: Any) -> dict[str, int]:
    counts: dict[str, int] = getattr(dask_scheduler, "counts_of_tests", None) or {}
    if not hasattr(dask_scheduler, "counts_of_tests"):
        for name in [name for name in dask_scheduler.handlers if name.startswith("af_store_")]:

            def counted(handler: Any, name: str = name) -> Any:
                async def call(**given: Any) -> Any:
                    now = dask_scheduler.counts_of_tests
                    now[name] = now.get(name, 0) + 1
                    return await handler(**given)

                return call

            dask_scheduler.handlers[name] = counted(dask_scheduler.handlers[name])
    dask_scheduler.counts_of_tests = {}
    return counts


def test_the_same_result_as_on_threads_and_every_entry(elsewhere, fileset):
    paths = fileset["signal"]["files"]
    assert not any(elsewhere.client.run(lambda: any(map(os.path.exists, paths))).values())
    result = process(everything, fileset, elsewhere.client, chunk_entries=250)
    report = result.report.check()
    assert bits(result) == bits(process(everything, fileset, chunk_entries=250))
    assert report.entries == {"planned": 4001, "processed": 4001, "failed": 0}
    assert [note for note in report.notes if note.startswith("2 files (") and "were uploaded to them" in note]
    assert len(elsewhere.kept()) == 2


def test_the_second_time_nothing_is_sent_or_hashed(elsewhere, fileset, asked, monkeypatch, capsys):
    process(count, fileset, elsewhere.client, progress=True)
    said = re.findall(r"^Uploading 2 files \(\S+ kiB\) that the workers cannot see\.$", capsys.readouterr().err, re.M)
    assert len(said) == 1
    asked()
    monkeypatch.setattr("af_kit.plugins.store.sha256_of", None)
    assert process(count, fileset, elsewhere.client, progress=True)["n"] == 4001
    assert len(af.plan(fileset, client=elsewhere.client)) >= 2
    assert asked() == {}
    assert "Uploading" not in capsys.readouterr().err


def test_a_late_worker_has_the_files_before_its_first_task(elsewhere, fileset):
    chunks = af.plan(fileset, client=elsewhere.client)
    late = elsewhere.add()
    read = [elsewhere.client.submit(lambda c: len(af.read(c).Muon.pt), c, workers=[late]) for c in chunks]
    assert sum(elsewhere.client.gather(read)) == 4001
    elsewhere.remove(late)


def test_read_finds_them_in_the_users_own_tasks(elsewhere, fileset):
    import dask.bag

    def muons(chunk: Any) -> int:
        return len(af.read(chunk).Muon.pt)

    chunks = af.plan(fileset, client=elsewhere.client)
    with elsewhere.client.as_current():
        assert sum(dask.compute(*[dask.delayed(muons)(chunk) for chunk in chunks])) == 4001
        assert dask.bag.from_sequence(chunks).map(muons).sum().compute() == 4001


def test_a_rewritten_file_is_uploaded_again(elsewhere, folder, fileset):
    process(count, fileset, elsewhere.client)
    before = elsewhere.kept()
    write_events(folder / "file1.root", 2500, 9)
    result = process(everything, fileset, elsewhere.client, chunk_entries=250)
    result.report.check()
    assert bits(result) == bits(process(everything, fileset, chunk_entries=250))
    after = elsewhere.kept()
    assert len(after) == 2
    assert len(set(after) & set(before)) == 1  # the old content is nowhere
    assert {Path(path).name for path in elsewhere.copies()} >= set(after)
    assert not [path for path in elsewhere.copies() if Path(path).name in set(before) - set(after)]


def test_a_file_that_was_only_touched_is_not_sent_again(elsewhere, folder, fileset, asked):
    process(count, fileset, elsewhere.client)
    asked()
    (folder / "file0.root").touch()
    assert process(count, fileset, elsewhere.client)["n"] == 4001
    assert asked() == {}
    (folder / "file0.root").touch()
    content = (folder / "file1.root").read_bytes()
    write_events(folder / "file1.root", 2000, 5)
    assert process(count, fileset, elsewhere.client)["n"] == 5000
    (folder / "file1.root").write_bytes(content)  # as it was at first
    assert process(count, fileset, elsewhere.client)["n"] == 4001
    assert len(elsewhere.kept()) == 2


def test_many_runs_of_changing_files_leave_no_more_than_one(elsewhere, folder):
    for seed in range(4):
        path = write_events(folder / "same.root", 300 + seed, seed)
        assert process(count, path, elsewhere.client)["n"] == 300 + seed
    assert len(elsewhere.kept()) == 1
    assert len(elsewhere.copies()) == 2  # the worker's, and its host's: one content, by a hard link


def test_the_copy_of_a_removed_file_is_removed(elsewhere, folder, fileset):
    process(count, fileset, elsewhere.client)
    (folder / "file0.root").unlink()
    with pytest.warns(UserWarning, match=r"file0\.root does not exist"):
        result = process(count, fileset, elsewhere.client)
    assert result["n"] == 1001
    assert len(elsewhere.kept()) == 1


def test_retry_and_errors_know_the_path(elsewhere, folder, fileset):
    whole = (folder / "file0.root").read_bytes()
    truncate(folder / "file0.root")
    with pytest.warns(UserWarning, match=r"file0\.root is truncated") as caught:
        result = process(everything, fileset, elsewhere.client, chunk_entries=250)
    assert "af-upload" not in str(caught[0].message)
    (folder / "file0.root").write_bytes(whole)
    again = result.retry()
    again.report.check()
    assert bits(again) == bits(process(everything, fileset, chunk_entries=250))


def test_files_of_a_list_of_chunks_are_uploaded(elsewhere, fileset):
    chunks = af.plan(fileset)  # by this session, which sees them
    assert process(count, chunks[:1], elsewhere.client)["n"] == len(chunks[0])
    assert len(elsewhere.kept()) == 1


@pytest.mark.parametrize("limit", ["1 kB", 0])
def test_too_much_is_refused_before_anything_is_started(elsewhere, fileset, limit):
    with (
        dask.config.set({"af_kit.data.upload_limit": limit}),
        pytest.raises(InputError, match=r"2 files \(\d.* kiB\) .*file0\.root, .*af_kit\.data\.upload_limit.*volumes="),
    ):
        process(count, fileset, elsewhere.client)
    assert elsewhere.kept() == []
    assert elsewhere.client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)) == []


def test_a_limit_that_is_not_a_size(elsewhere, fileset):
    with (
        dask.config.set({"af_kit.data.upload_limit": "much"}),
        pytest.raises(InputError, match=r"upload_limit='much' is not a size.*GiB"),
    ):
        process(count, fileset, elsewhere.client)


def test_the_least_recently_used_is_removed_if_there_is_no_room(elsewhere, folder):
    paths = [write_events(folder / f"{name}.root", 1000, 3) for name in "abc"]
    for i, path in enumerate(paths):  # of other content
        path.write_bytes(path.read_bytes() + bytes([i]))
    size = max(path.stat().st_size for path in paths)
    with dask.config.set({"af_kit.data.upload_limit": 2 * size}):
        first, second, third = (sha256_of(path) for path in paths)
        for path in (paths[0], paths[1], paths[0], paths[2]):
            assert process(count, path, elsewhere.client)["n"] == 1000
        assert elsewhere.kept() == sorted([first, third])
        assert second not in elsewhere.kept()


def test_files_of_a_running_call_stay_even_if_there_is_no_room(elsewhere, folder):
    one, other = (write_events(folder / f"{name}.root", 500, i) for i, name in enumerate("ab"))
    with dask.config.set({"af_kit.data.upload_limit": one.stat().st_size + 5000}):
        with uploaded_files(elsewhere.client, [(str(one),)]):
            upload(elsewhere.client, (str(other),))
            assert len(elsewhere.kept()) == 2
        write_events(other, 501, 2)
        upload(elsewhere.client, (str(other),))
        assert len(elsewhere.kept()) == 1


def test_a_file_that_a_worker_sees_is_not_uploaded_to_it(elsewhere, folder, fileset, tmp_path):
    visible = write_events(elsewhere.scratch / "visible.root", 800, 1)
    report = process(count, visible, elsewhere.client).report.check()
    assert report.notes == ()
    assert elsewhere.kept() == []
    sees = elsewhere.add(sees=True)
    result = process(everything, fileset, elsewhere.client, chunk_entries=250)
    result.report.check()
    assert bits(result) == bits(process(everything, fileset, chunk_entries=250))
    assert not [path for path in elsewhere.copies() if f"host{len(elsewhere.processes) - 1}" in path]
    with dask.config.set({"af_kit.data.upload_limit": 0}):  # some worker sees them: no error at once
        notes = upload(elsewhere.client, *[(path,) for path in fileset["signal"]["files"]])
    assert len(notes) == 1
    assert "are not seen by every worker" in notes[0]
    elsewhere.remove(sees)


def test_a_file_with_a_remote_replica_is_not_uploaded(elsewhere, folder):
    path = write_events(folder / "a.root", 100, 1)
    assert upload(elsewhere.client, (str(path), "root://nowhere.invalid//a.root")) == []
    assert elsewhere.kept() == []


def test_another_client_resumes_a_checkpoint(elsewhere, folder, fileset, tmp_path):
    ran = elsewhere.scratch / "ran"
    ran.mkdir()

    def noted(events: Any) -> dict[str, Any]:
        (ran / f"{events.metadata['entry_start']}-{os.urandom(4).hex()}").touch()
        return count(events)

    first = process(noted, fileset, elsewhere.client, checkpoint=tmp_path / "run")
    calls = len(list(ran.iterdir()))
    with elsewhere.another_client() as client:
        second = process(noted, fileset, client, checkpoint=tmp_path / "run")
    assert calls > 0
    assert len(list(ran.iterdir())) == calls
    assert second["event"].tolist() == first["event"].tolist()


def test_uploads_of_a_client_are_removed_when_it_closes(elsewhere, fileset):
    with elsewhere.another_client() as client:
        process(count, fileset, client)
        assert len(elsewhere.kept()) == 2
    wait_for(lambda: elsewhere.kept() == [] and elsewhere.copies() == [])
    assert elsewhere.client.run_on_scheduler(module._registered_plugins, prefix="af-") == []


def test_two_clients_share_content_until_the_last_one_closes(elsewhere, fileset):
    process(count, fileset, elsewhere.client)
    with elsewhere.another_client() as client:
        process(count, fileset, client)
        plugins = elsewhere.client.run_on_scheduler(module._registered_plugins, prefix="af-upload-")
        assert len(plugins) == 4
        assert len(elsewhere.kept()) == 2
    wait_for(lambda: len(elsewhere.client.run_on_scheduler(module._registered_plugins, prefix="af-upload-")) == 2)
    assert process(count, fileset, elsewhere.client)["n"] == 4001
    assert len(elsewhere.kept()) == 2


def test_another_clients_outdated_upload_is_replaced(elsewhere, folder):
    path = write_events(folder / "a.root", 100, 1)
    process(count, path, elsewhere.client)
    with elsewhere.another_client() as client:
        write_events(path, 200, 2)
        assert process(count, path, client)["n"] == 200
        assert process(count, path, elsewhere.client)["n"] == 200


def test_the_first_worker_to_come_is_asked(tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "seen").mkdir()
    path = write_events(tmp_path / "hidden" / "a.root", 700, 1)
    cluster = Elsewhere(tmp_path / "hidden", tmp_path / "seen", workers=0)
    try:
        cluster.add(wait=False)
        assert process(count, path, cluster.client).report.check().entries["processed"] == 700
    finally:
        cluster.close()


def test_a_worker_that_dies_in_the_middle(elsewhere, fileset):
    elsewhere.add()
    flag = str(elsewhere.scratch / "died")

    def dies(events: Any) -> dict[str, Any]:
        if events.metadata["entry_start"] == 1000 and once(flag):
            os.kill(os.getpid(), signal.SIGKILL)
        return everything(events)

    result = process(dies, fileset, elsewhere.client, chunk_entries=250)
    result.report.check()
    assert Path(flag).exists()
    assert bits(result) == bits(process(everything, fileset, chunk_entries=250))
    wait_for(lambda: len(elsewhere.addresses()) == 2, within_s=60)  # its nanny starts it again
    chunks = af.plan(fileset, client=elsewhere.client)
    for address in elsewhere.addresses():
        lengths = [elsewhere.client.submit(lambda c: len(af.read(c)), c, workers=[address]) for c in chunks]
        assert sum(elsewhere.client.gather(lengths)) == 4001
    elsewhere.remove(elsewhere.addresses()[0])


def test_workers_of_this_session_are_not_asked(client: Client, tmp_path, monkeypatch):
    monkeypatch.setattr("af_kit.run.upload._sizes_on_workers", None)
    path = write_events(tmp_path / "a.root", 300, 1)
    assert process(count, path, client)["n"] == 300


class _Thousand:
    """A client of a thousand workers."""

    def nthreads(self) -> dict[int, int]:
        return dict.fromkeys(range(1000), 1)


@pytest.mark.parametrize("unseen", ["", "/b/"])
def test_many_workers_are_asked_for_one_file_of_each_folder(monkeypatch, unseen):
    asked = []

    def sizes_on_workers(client: Any, paths: list[str]) -> list[list[int]]:
        asked.append(len(paths))
        return [[-1 if unseen and unseen in path else 7 for path in paths] for _ in client.nthreads()]

    monkeypatch.setattr(module, "_sizes_on_workers", sizes_on_workers)
    paths = [f"/data/{folder}/{number}.root" for folder in "ab" for number in range(550)]
    missing, notes = module._unseen_files(_Thousand(), [(path,) for path in paths], dict.fromkeys(paths, (7, 0, 0)))
    if unseen:
        assert (asked, sorted(missing)) == ([2, 1100], sorted(path for path in paths if unseen in path))
    else:
        assert (asked, missing, notes) == ([2], {}, [])
