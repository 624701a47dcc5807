"""The server extension: dashboards through the Jupyter server, and the code that the panel writes."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import dask.config
import pytest
import yaml

from af_kit.cluster.jupyter import extension, session


def test_the_dashboard_goes_through_the_server(lab, shared):
    link = shared["dashboard_link"]
    assert re.fullmatch(r"/user/alice/proxy/127\.0\.0\.1:\d+/status", link)
    below = link.removeprefix("/user/alice/").removesuffix("status")
    assert "/individual-task-stream" in lab.get(f"{below}individual-plots.json")[1].values()
    assert "<title>Dask" in lab.get(f"{below}individual-task-stream")[1]


def test_a_pasted_address(lab, shared):
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
def test_other_hosts_are_refused(lab, shared, host, proxy):
    status, answer = lab.get(f"{proxy}/{host}/status")
    assert status == 403
    assert "is not allowed" in answer


def test_the_code_that_the_panel_writes_is_one_line_that_runs(lab, shared):
    folder = Path(sys.prefix) / "share/jupyter/labextensions/dask-labextension/static"
    scripts = {path.name: path.read_text() for path in folder.glob("*.js")}
    served = {name: lab.get(f"lab/extensions/dask-labextension/static/{name}")[1] for name in scripts}
    assert [name for name in scripts if served[name] != scripts[name]]  # else the panel writes other code
    (line,) = {line for text in served.values() for line in re.findall(r"`(import af_kit;[^`]*)`", text)}
    line = re.sub(r"\$\{\w+\.scheduler_address\}", shared["scheduler_address"], line)
    printed = lab.run(f"{line}\nprint(json.dumps({{'address': client.scheduler.address}}))")
    assert printed["address"] == shared["scheduler_address"]


def test_a_path_reaches_nothing_but_the_dashboard():
    session.register(address="gateway://1", link="http://gateway:8000/clusters/a/status", server=os.getpid())
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


def test_the_image_configures_the_same_factory():
    image = yaml.safe_load((Path(__file__).parents[3] / "docker" / "dask" / "labextension.yaml").read_text())
    assert image["labextension"]["factory"] == extension.FACTORY


def test_a_factory_that_the_site_configures_is_kept():
    async def start_server() -> None:
        extension._set_factory()

    with dask.config.set({"labextension.factory.module": "site.clusters"}):
        asyncio.run(start_server())
        assert dask.config.get("labextension.factory.module") == "site.clusters"
