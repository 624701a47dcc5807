"""JupyterLab's Dask panel with the kit's clusters: a real Jupyter server, asked as the panel asks it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import dask.config
import pytest
import yaml
from cluster_tools import eventually
from dask.system import CPU_COUNT
from distributed.system import MEMORY_LIMIT
from panel_tools import PATIENCE_S, Lab

from af_kit.cluster import backends
from af_kit.cluster.jupyter import extension, session
from af_kit.cluster.jupyter.panel import PanelCluster
from af_kit.cluster.jupyter.session import Dashboard, dashboard_of
from af_kit.errors import ConnectError, InputError


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"), DASK_LABEXTENSION__DEFAULT__WORKERS="1")
    yield lab
    lab.stop()


@pytest.fixture
def cluster(lab) -> Iterator[dict[str, Any]]:
    """What NEW gives."""
    status, model = lab.get("dask/clusters", "PUT")
    assert status == 200, (model, lab.log.read_text())
    yield model
    lab.get(f"dask/clusters/{model['id']}", "DELETE")  # if the test has not


def test_new_scale_adapt_and_shutdown(lab, cluster):
    assert re.fullmatch(r"local cluster \d+", cluster["name"])
    assert cluster["workers"] == 1
    path = f"dask/clusters/{cluster['id']}"
    assert lab.get(path, "PATCH", {"workers": 2})[0] == 200
    assert eventually(lambda: lab.workers(cluster["id"]) == 2, within_s=PATIENCE_S)
    status, model = lab.get(path, "PATCH", {"adapt": {"minimum": 0, "maximum": 3}})
    assert (status, model["adapt"]) == (200, {"minimum": 0, "maximum": 3})
    assert eventually(lambda: lab.workers(cluster["id"]) == 0, within_s=PATIENCE_S)  # there is nothing to do
    status, model = lab.get(path, "PATCH", {"workers": 1})  # and after that it stays at what was asked for
    assert "adapt" not in model
    assert eventually(lambda: lab.workers(cluster["id"]) == 1, within_s=PATIENCE_S)
    assert lab.get(path, "DELETE")[0] == 204
    assert lab.get("dask/clusters")[1] == []
    assert eventually(lambda: len(lab.children()) <= 1)  # multiprocessing's tracker of resources stays
    assert list((lab.runtime / "af-kit").glob("*")) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workers": -1}, "whole number of workers, not to -1"),
        ({"workers": None}, "whole number of workers, not to None"),
        ({"adapt": {"minimum": 3, "maximum": 2}}, "From 3 to 2 workers is no range"),
        ({"adapt": {"minimum": 0, "maximum": 0}}, "the most is 1 or more"),
        ({"adapt": {"minimum": None, "maximum": 2}}, "whole numbers; given is None"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_with_a_reason(lab, shared, change, reason):
    status, answer = lab.get(f"dask/clusters/{shared['id']}", "PATCH", change)
    assert status == 500
    assert reason in answer["message"]


@pytest.fixture(scope="module")
def shared(lab) -> Iterator[dict[str, Any]]:
    """A cluster of the panel that several tests look at."""
    status, model = lab.get("dask/clusters", "PUT")
    assert status == 200, (model, lab.log.read_text())
    yield model
    lab.get(f"dask/clusters/{model['id']}", "DELETE")


def test_the_dashboard_goes_through_the_server(lab, shared):
    link = shared["dashboard_link"]
    assert re.fullmatch(r"/user/alice/proxy/127\.0\.0\.1:\d+/status", link)
    below = link.removeprefix("/user/alice/").removesuffix("status")
    assert "/individual-task-stream" in lab.get(f"{below}individual-plots.json")[1].values()
    assert "<title>Dask" in lab.get(f"{below}individual-task-stream")[1]


def test_an_address_that_is_pasted(lab, shared):
    through = shared["dashboard_link"].removesuffix("status")
    for pasted in (f"http://{through.split('/')[4]}/status", shared["scheduler_address"]):
        status, answer = lab.get(f"dask/dashboard-check/{quote(quote(pasted, safe=''), safe='')}")
        assert (status, answer["isActive"], answer["effectiveUrl"]) == (200, True, through)
        assert "/individual-task-stream" in answer["plots"].values()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    pasted = quote(f"http://127.0.0.1:{port}/status", safe="")
    assert lab.get(f"dask/dashboard-check/{pasted}")[1]["isActive"] is False


@pytest.mark.parametrize("host", ["10.254.254.254:8787", "no-scheduler.example:80", "169.254.169.254:80"])
@pytest.mark.parametrize("proxy", ["proxy", "proxy/absolute"])
def test_another_host_stays_refused(lab, shared, host, proxy):
    status, answer = lab.get(f"{proxy}/{host}/status")
    assert status == 403
    assert "is not allowed" in answer


def test_connect_finds_the_clusters_of_the_panel(lab, shared):
    told = lab.run("client = af_kit.connect(); print(json.dumps({'address': client.scheduler.address}))")
    assert told["address"] == shared["scheduler_address"]
    assert f"The cluster of the Dask panel, {shared['scheduler_address']}" in told["said"]
    told = lab.run(
        "client = af_kit.connect(n_workers=1, quiet=True); print(json.dumps({'address': client.scheduler.address}))"
    )
    assert told["address"] != shared["scheduler_address"]  # something was asked for: that is another cluster


def test_a_cluster_of_the_panel_without_workers_is_not_waited_for(lab, cluster):
    lab.get(f"dask/clusters/{cluster['id']}", "PATCH", {"adapt": {"minimum": 0, "maximum": 1}})
    assert eventually(lambda: lab.workers(cluster["id"]) == 0, within_s=PATIENCE_S)
    told = lab.run("client = af_kit.connect(); print(json.dumps({'sum': client.submit(sum, [1, 2]).result()}))")
    assert told["sum"] == 3


def test_the_code_that_the_panel_writes_is_one_line_that_runs(lab, shared):
    folder = Path(sys.prefix) / "share/jupyter/labextensions/dask-labextension/static"
    scripts = {path.name: path.read_text() for path in folder.glob("*.js")}
    served = {name: lab.get(f"lab/extensions/dask-labextension/static/{name}")[1] for name in scripts}
    assert [name for name in scripts if served[name] != scripts[name]]  # else the panel has new words for its code
    (line,) = {line for text in served.values() for line in re.findall(r"`(import af_kit;[^`]*)`", text)}
    line = re.sub(r"\$\{\w+\.scheduler_address\}", shared["scheduler_address"], line)
    told = lab.run(f"{line}\nprint(json.dumps({{'address': client.scheduler.address}}))")
    assert told["address"] == shared["scheduler_address"]


def test_a_server_that_ends_leaves_nothing_behind(tmp_path):
    lab = Lab(tmp_path / "lab", DASK_LABEXTENSION__DEFAULT__WORKERS="1")
    try:
        assert lab.get("dask/clusters", "PUT")[0] == 200
        assert lab.children()
    finally:
        lab.stop()
    assert eventually(lambda: not lab.children())
    assert list((lab.runtime / "af-kit").glob("*")) == []


# --------------------------------------------------------------------------------------------------- without a server


@pytest.fixture(autouse=True)
def notes(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "af-kit"


async def new(*arguments: Any, **options: Any) -> PanelCluster:
    return await PanelCluster(*arguments, asynchronous=True, **options)


def test_a_kind_that_is_not_there_is_told_at_once():
    with pytest.raises(InputError, match=r"no kind of cluster 'slrum'. Did you mean 'slurm'|There is"):
        asyncio.run(new("slrum"))
    with pytest.raises(InputError, match="no option 'colour'"):
        asyncio.run(new("local", colour="blue"))


class Slow:
    """A kind of cluster whose start takes until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ended = threading.Event()

    def start(self, request: Any) -> Any:
        assert self.go.wait(60)
        return SimpleNamespace(close=self.ended.set, scheduler_info={}, scheduler_address="tcp://127.0.0.1:1")


@pytest.fixture
def slow(monkeypatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(backends, "load", lambda name, options, asked: slow)
    return slow


def test_the_servers_loop_goes_on_while_a_cluster_starts_and_ends(slow):
    async def others() -> None:
        slow.go.set()  # in the same loop: if the start held it up, this would come too late

    async def both() -> PanelCluster:
        cluster, _ = await asyncio.gather(new(), others())
        return cluster

    async def start_and_close() -> None:
        await (await both()).close()

    asyncio.run(start_and_close())
    assert slow.ended.is_set()


def test_workers_that_come_later_share_this_machines_memory():
    async def memory() -> tuple[int, int]:
        cluster = await new("local", n_workers=1)
        (worker,) = cluster.scheduler_info["workers"].values()
        await cluster.close()
        return worker["memory_limit"], worker["nthreads"]

    limit, _ = asyncio.run(memory())
    assert limit * CPU_COUNT <= MEMORY_LIMIT * 1.01


def test_a_start_that_does_not_end_is_given_up_and_cleaned_up(slow, notes):
    with pytest.raises(ConnectError, match=r"did not start within 0\.1 s"):
        asyncio.run(new(timeout_s=0.1))
    slow.go.set()
    assert slow.ended.wait(10)
    assert list(notes.glob("*")) == []


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("http://10.0.0.7:8787/status", Dashboard("10.0.0.7", 8787)),
        ("/user/alice/proxy/node-7:8787/status", Dashboard("node-7", 8787)),
        ("/user/alice/proxy/8787/status", Dashboard("localhost", 8787)),
        ("http://gateway:8000/clusters/ns.1/status", Dashboard("gateway", 8000, "/clusters/ns.1")),
        ("https://gateway.example/clusters/1/status", None),
        ("", None),
        (None, None),
    ],
)
def test_where_a_link_leads(link, expected):
    assert dashboard_of(link) == expected


def test_a_path_reaches_nothing_but_the_dashboard(notes):
    session.note(address="gateway://1", link="http://gateway:8000/clusters/a/status", server=os.getpid())
    allowed = extension._allowing(["localhost"])

    def reaches(path: str, host: str = "gateway") -> bool:
        return allowed(SimpleNamespace(request=SimpleNamespace(path=f"/user/alice/{path}")), host)

    assert reaches("proxy/gateway:8000/clusters/a/status")
    assert reaches("proxy/absolute/gateway:8000/clusters/a/status")
    assert reaches("proxy/localhost:1/", host="localhost")  # what the site allows
    for path in (
        "proxy/gateway:8000/",
        "proxy/gateway:8000/clusters/ab/status",
        "proxy/gateway:8000/clusters/a/../../api/v1",
        "proxy/gateway:8000/clusters/a/%2e%2e/b/status",
        "proxy/gateway:8001/clusters/a/status",
    ):
        assert not reaches(path), path


def test_notes_of_others_and_of_the_dead_do_not_count(notes):
    link = "http://10.0.0.7:8787/status"
    mine = session.note(address="tcp://10.0.0.7:8786", link=link, server=os.getpid())
    assert mine.stat().st_mode & 0o777 == 0o600
    assert notes.stat().st_mode & 0o777 == 0o700
    assert session.dashboards(os.getpid()) == {Dashboard("10.0.0.7", 8787)}
    assert session.dashboards(1) == set()
    content = json.loads(mine.read_text())
    elsewhere = notes / "elsewhere.json"
    for other in ({"machine": "another"}, {"born": "1"}):
        elsewhere.write_text(json.dumps(content | other | {"dashboard": {"host": "h", "port": 1, "path": ""}}))
        assert session.dashboards(os.getpid()) == {Dashboard("10.0.0.7", 8787)}
    assert not elsewhere.exists()  # the process that wrote it is gone
    session.remove(mine)
    assert session.dashboards(os.getpid()) == set()


def test_the_images_configuration_says_the_same_as_the_extension():
    image = yaml.safe_load((Path(__file__).parents[2] / "docker" / "dask" / "labextension.yaml").read_text())
    assert image["labextension"]["factory"] == extension.FACTORY


def test_a_sites_factory_stays():
    async def at_the_start_of_a_server() -> None:
        extension._make_the_kits_clusters()

    with dask.config.set({"labextension.factory.module": "site.clusters"}):
        asyncio.run(at_the_start_of_a_server())
        assert dask.config.get("labextension.factory.module") == "site.clusters"
