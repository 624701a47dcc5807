"""Files, packages and models on real workers: those there are, one that comes late, one that was killed."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from af_kit.errors import InputError
from af_kit.plugins import files as plugin
from af_kit.plugins.files import file, files, remove_files, send_files, verify
from af_kit.plugins.model import Model, model, send_model
from af_kit.plugins.package import send_package
from af_kit.plugins.store import sweep


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("workers")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, local_directory=str(folder)
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    cluster.scale(2)
    with Client(cluster) as client:
        until(lambda: len(client.scheduler_info()["workers"]) == 2)
        yield client
        remove_files(client)
        plugin._sent.clear()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def content(name: str) -> str:
    return Path(file(name)).read_text()


def kill_one_worker(client: Client) -> None:
    """Kill a worker's process; its nanny starts another."""
    address, pid = min(client.run(os.getpid).items())
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(there := client.scheduler_info()["workers"]) == 2 and address not in there)


def test_each_file_reaches_each_worker_under_its_own_name(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("one")
    (tmp_path / "b.json").write_text("two")
    send_files(client, {"a": tmp_path / "a.json"})
    send_files(client, {"b": tmp_path / "b.json"})
    assert set(client.run(content, "a").values()) == {"one"}
    assert set(client.run(content, "b").values()) == {"two"}
    assert content("a") == "one"
    assert file("a") == str(tmp_path / "a.json")
    assert all(path.endswith("b.json") for path in client.run(file, "b").values())
    assert verify(client).ok


def test_a_late_worker_has_all_files_before_its_first_task(
    client: Client, cluster: LocalCluster, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name * 3)
    send_files(client, {name: tmp_path / name for name in ("a", "b", "c")})
    there = set(client.scheduler_info()["workers"])
    cluster.scale(3)
    until(lambda: len(client.scheduler_info()["workers"]) == 3)
    late = (set(client.scheduler_info()["workers"]) - there).pop()
    assert [client.submit(content, name, workers=[late], pure=False).result() for name in "abc"] == [
        "aaa",
        "bbb",
        "ccc",
    ]
    assert verify(client).ok


def test_a_killed_worker_has_the_files_again(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("still there")
    send_files(client, {"a": tmp_path / "a"})
    kill_one_worker(client)
    assert set(client.run(content, "a").values()) == {"still there"}


def test_a_large_file_is_kept_once_for_all_workers_of_a_host(client: Client, tmp_path: Path) -> None:
    data = np.random.default_rng(1).bytes(40_000_000)  # three pieces
    (tmp_path / "large").write_bytes(data)
    send_files(client, {"large": tmp_path / "large"})
    assert verify(client).ok
    inodes = {Path(entry["large"]["path"]).stat().st_ino for entry in files(client).values()}
    assert len(inodes) == 1


def test_other_content_under_a_name_is_an_explicit_replacement(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "sf"
    path.write_text("old")
    send_files(client, {"sf": path})
    path.write_text("new one")
    with pytest.raises(InputError, match="changed since it was sent"):
        file("sf")
    with pytest.raises(InputError, match=r"'sf' was sent with other content.*replace=True"):
        send_files(client, {"sf": path})
    assert set(client.run(content, "sf").values()) == {"old"}
    send_files(client, {"sf": path}, replace=True)
    assert set(client.run(content, "sf").values()) == {"new one"}
    send_files(client, {"sf": path})  # the same again: nothing to do
    assert verify(client).ok


def test_verify_tells_what_was_damaged_or_removed_on_which_worker(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("good")
    send_files(client, {"a": tmp_path / "a"})
    worker, path = next((worker, entry["a"]["path"]) for worker, entry in files(client).items())
    Path(path).unlink()
    assert verify(client).workers[worker] == {"a": "missing"}
    Path(path).write_text("bad")
    found = verify(client)
    assert found.workers[worker] == {"a": "other content"}
    assert not found.ok
    assert f"{worker}: a other content" in str(found)


def test_files_are_listed_and_removed_by_call(client: Client, tmp_path: Path) -> None:
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


def test_mistakes_say_what_to_do(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none, to be sent as 'a', cannot be read: No such file"):
        send_files(client, {"a": tmp_path / "none"})
    (tmp_path / "a").write_text("x")
    with pytest.raises(InputError, match=r"'\.\./a' is not a usable name"):
        send_files(client, {"../a": tmp_path / "a"})
    send_files(client, {"muon_sf": tmp_path / "a"})
    with pytest.raises(InputError, match="Did you mean 'muon_sf'"):
        file("muon_fs")
    with pytest.raises(InputError, match="Did you mean 'muon_sf'"):
        remove_files(client, ["muon_fs"])


def test_without_a_cluster_the_names_work_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    send_files(None, {"local_only": tmp_path / "a"})
    assert content("local_only") == "x"
    plugin._sent.clear()


def call(name: str) -> str:
    import importlib

    return str(importlib.import_module(name).answer())


def test_a_package_is_replaced_when_its_content_changes(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "my_analysis"
    folder.mkdir()
    (folder / "__init__.py").write_text("from my_analysis.cuts import answer\n")
    (folder / "cuts.py").write_text("def answer():\n    return 'yesterday'\n")
    first = send_package(client, folder)
    assert set(client.run(call, "my_analysis").values()) == {"yesterday"}
    assert send_package(client, folder) == first
    (folder / "cuts.py").write_text("def answer():\n    return 'today'\n")
    assert send_package(client, folder) != first
    assert set(client.run(call, "my_analysis").values()) == {"today"}
    kill_one_worker(client)
    assert set(client.run(call, "my_analysis").values()) == {"today"}
    assert "my_analysis" not in sys.modules  # only the workers import it


def test_a_single_module_can_be_sent_and_nonsense_not(client: Client, tmp_path: Path) -> None:
    (tmp_path / "one_file.py").write_text("def answer():\n    return 1\n")
    send_package(client, tmp_path / "one_file.py")
    assert set(client.run(call, "one_file").values()) == {"1"}
    (tmp_path / "project" / "inner").mkdir(parents=True)
    (tmp_path / "project" / "inner" / "__init__.py").touch()
    with pytest.raises(InputError, match=r"no Python package at .*project. Did you mean '.*project/inner'"):
        send_package(client, tmp_path / "project")
    (tmp_path / "not-a-name").mkdir()
    with pytest.raises(InputError, match=r"'not-a-name' .* cannot be imported"):
        send_package(client, tmp_path / "not-a-name")


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    """A model of two features: p = sigmoid(2 x - y)."""
    from onnx import TensorProto, helper, save

    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [2.0, -1.0])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    save(built, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def score(x: list[float], y: list[float]) -> list[float]:
    return [round(float(p), 4) for p in model("dnn").predict([np.array(x), np.array(y)])]


def loaded_twice() -> bool:
    return model("dnn") is model("dnn")


def test_a_model_is_loaded_once_per_process_and_evaluated_on_flat_arrays(client: Client, onnx_path: Path) -> None:
    send_model(client, {"dnn": onnx_path})
    expected = [round(1 / (1 + np.exp(-z)), 4) for z in (0.0, 1.0)]
    assert list(client.run(score, [0.0, 1.0], [0.0, 1.0]).values()) == [expected] * 2
    assert all(client.run(loaded_twice).values())
    kill_one_worker(client)
    assert list(client.run(score, [0.0, 1.0], [0.0, 1.0]).values()) == [expected] * 2


def test_a_model_takes_matrices_many_rows_and_none(onnx_path: Path) -> None:
    dnn = Model(str(onnx_path), "dnn")
    rows = np.random.default_rng(2).normal(size=(150_000, 2))
    expected = 1 / (1 + np.exp(-(2 * rows[:, 0] - rows[:, 1])))
    np.testing.assert_allclose(dnn.predict(rows), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(dnn.predict(rows), dnn.predict([rows[:, 0], rows[:, 1]]))
    assert dnn.predict(np.zeros((0, 2))).shape == (0,)


def test_a_model_says_what_it_takes(onnx_path: Path, tmp_path: Path) -> None:
    dnn = Model(str(onnx_path), "dnn")
    with pytest.raises(InputError, match=r"does not take x \(5, 3\)"):
        dnn.predict(np.zeros((5, 3)))
    with pytest.raises(InputError, match="equal length"):
        dnn.predict([np.zeros(3), np.zeros(4)])
    with pytest.raises(InputError, match="takes x; given was y"):
        dnn.predict({"y": np.zeros((5, 2))})
    with pytest.raises(InputError, match="no output 'q'; it has p"):
        dnn.predict(np.zeros((5, 2)), output="q")
    (tmp_path / "bad.onnx").write_text("no model")
    with pytest.raises(InputError, match="cannot be loaded as ONNX"):
        send_model(None, {"bad": tmp_path / "bad.onnx"})


def test_what_killed_workers_left_on_a_host_is_swept(tmp_path: Path) -> None:
    for name in ("used", "left", "left.lock", "left.1.part"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link").hardlink_to(tmp_path / "used")
    sweep(tmp_path, unused_s=3600)
    assert len(list(tmp_path.iterdir())) == 5
    sweep(tmp_path, unused_s=0)
    assert {path.name for path in tmp_path.iterdir()} == {"used", "used.lock", "link", "link.lock"}
