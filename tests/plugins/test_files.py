from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from plugin_tools import kill_one_worker
from waiting import until

from af_kit.errors import InputError
from af_kit.plugins import files as files_module
from af_kit.plugins.files import file, files, remove_files, send_files, verify_files


def content(name: str) -> str:
    return Path(file(name)).read_text()


def test_every_worker_has_every_file_under_its_name(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("one")
    (tmp_path / "b.json").write_text("two")
    send_files(client, {"a": tmp_path / "a.json"})
    send_files(client, {"b": tmp_path / "b.json"})
    assert set(client.run(content, "a").values()) == {"one"}
    assert set(client.run(content, "b").values()) == {"two"}
    assert content("a") == "one"
    assert file("a") == str(tmp_path / "a.json")
    assert all(path.endswith("b.json") for path in client.run(file, "b").values())
    assert verify_files(client).ok


def test_a_late_worker_has_all_files_before_its_first_task(
    client: Client, cluster: LocalCluster, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name * 3)
    send_files(client, {name: tmp_path / name for name in ("a", "b", "c")})
    there = set(client.scheduler_info()["workers"])
    cluster.scale(3)
    until(lambda: len(client.scheduler_info()["workers"]) == 3, "the third worker")
    late = (set(client.scheduler_info()["workers"]) - there).pop()
    assert [client.submit(content, name, workers=[late], pure=False).result() for name in "abc"] == [
        "aaa",
        "bbb",
        "ccc",
    ]
    assert verify_files(client).ok


def test_the_successor_of_a_killed_worker_has_the_files(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("still there")
    send_files(client, {"a": tmp_path / "a"})
    kill_one_worker(client)
    assert set(client.run(content, "a").values()) == {"still there"}


def test_different_content_under_a_name_needs_replace(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "sf"
    path.write_text("old")
    send_files(client, {"sf": path})
    path.write_text("new one")
    with pytest.raises(InputError, match="changed since it was sent"):
        file("sf")
    with pytest.raises(InputError, match=r"'sf' was already sent with different content.*replace=True"):
        send_files(client, {"sf": path})
    assert set(client.run(content, "sf").values()) == {"old"}
    send_files(client, {"sf": path}, replace=True)
    assert set(client.run(content, "sf").values()) == {"new one"}
    send_files(client, {"sf": path})  # the same content again: nothing to do
    assert verify_files(client).ok


def test_verify_files_finds_damaged_and_missing_files(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("good")
    send_files(client, {"a": tmp_path / "a"})
    worker, path = next((worker, entry["a"]["path"]) for worker, entry in files(client).items())
    Path(path).unlink()
    assert verify_files(client).workers[worker] == {"a": "missing"}
    Path(path).write_text("bad")
    found = verify_files(client)
    assert found.workers[worker] == {"a": "other content"}
    assert not found.ok
    assert f"{worker}: a other content" in str(found)


def test_files_can_be_listed_and_removed(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("12345")
    send_files(client, {"a": tmp_path / "a"})
    listed = files(client)
    paths = [entry["a"]["path"] for entry in listed.values()]
    assert {entry["a"]["bytes"] for entry in listed.values()} == {5}
    hosts = {Path(path).parents[3] / f"af-kit-files-{os.getuid()}" for path in paths}
    assert all(stat.S_IMODE(host.stat().st_mode) == 0o700 for host in hosts)
    remove_files(client, ["a"])
    assert all(entry == {} for entry in files(client).values())
    assert not any(Path(path).exists() for path in paths)
    assert [item for host in hosts for item in host.iterdir()] == []
    with pytest.raises(InputError, match="No file 'a' was sent"):
        file("a")


def test_errors_say_what_to_do(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none, to be sent as 'a', cannot be read: No such file"):
        send_files(client, {"a": tmp_path / "none"})
    (tmp_path / "a").write_text("x")
    with pytest.raises(InputError, match=r"'\.\./a' is not a valid name"):
        send_files(client, {"../a": tmp_path / "a"})
    send_files(client, {"muon_sf": tmp_path / "a"})
    with pytest.raises(InputError, match="Did you mean 'muon_sf'"):
        file("muon_fs")
    with pytest.raises(InputError, match="Did you mean 'muon_sf'"):
        remove_files(client, ["muon_fs"])


def test_names_work_without_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    send_files(None, {"local_only": tmp_path / "a"})
    assert content("local_only") == "x"
    files_module._sent.clear()
