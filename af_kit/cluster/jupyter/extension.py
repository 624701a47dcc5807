"""The kit's Jupyter server extension: JupyterLab's Dask panel with the kit's clusters, and their dashboards.

It is enabled wherever the kit is installed (``etc/jupyter/jupyter_server_config.d/af_kit.json``), and it

- makes NEW in the panel start a cluster of the kit, unless the site configures another factory
  (``labextension.factory``);
- allows jupyter-server-proxy to reach the dashboards of this server's own clusters, on whichever machine their
  schedulers run. Other hosts stay refused. dask-labextension alone shows only those on the server's own machine;
- accepts the address of such a dashboard or scheduler when it is pasted into the panel, and shows it through this
  server;
- makes the panel write ``af_kit.connect(...)`` into notebooks, for which the panel has no setting.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jupyter_core.paths import jupyter_path
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.httpclient import AsyncHTTPClient, HTTPError
from tornado.web import HTTPError as WebError
from tornado.web import authenticated

from af_kit.cluster.jupyter import dashboard, session

# The same as in docker/dask/labextension.yaml
FACTORY = {"module": "af_kit.cluster.jupyter.panel", "class": "PanelCluster", "args": [], "kwargs": {}}
# What jupyter-server-proxy allows by default
_HERE = ("localhost", "127.0.0.1")
_PANEL = "dask-labextension"
# In the panel's script: the code that it writes into a notebook
_UPSTREAMS_CODE = re.compile(
    r'from dask\.distributed import Client\\n\\nclient = Client\("(\$\{\w+\.scheduler_address\})"\)\\nclient`'
)
_OUR_CODE = r'import af_kit; client = af_kit.connect("\1")`'
_TARGET = re.compile(r"/proxy/(?:absolute/)?(?P<host>[^/:@]+):(?P<port>\d+)(?P<path>/[^?]*)?")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Called by Jupyter when it starts, in the order of the extensions' names: before the two that it changes."""
    base = server.web_app.settings["base_url"]
    dashboard.serve_below(base)
    if not _is_loopback(
        server.ip
    ):  # the browser is on another machine, as for a container: links in notebooks must lead here
        os.environ.setdefault("AF_KIT_BASE_URL", base)
    _set_factory()
    _allow_dashboards(server)
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(base, r"dask/dashboard-check/(?P<url>.+)"), PastedAddress),
            (url_path_join(base, rf"lab/extensions/{_PANEL}/static/(?P<name>[\w.-]+\.js)"), PanelScript),
        ],
    )


def _is_loopback(ip: str) -> bool:
    try:
        return ip == "localhost" or ipaddress.ip_address(ip).is_loopback
    except ValueError:  # empty or *: all of them
        return False


def _set_factory() -> None:
    import dask.config
    import dask_labextension  # noqa: F401 - sets its own defaults first: ours replace them, but not a site's choice

    dask.config.update_defaults({"labextension": {"factory": dict(FACTORY)}})


def _allow_dashboards(server: Any) -> None:
    from jupyter_server_proxy.config import ServerProxy

    sites = ServerProxy(parent=server).host_allowlist
    server.config.ServerProxy.host_allowlist = _allowing(sites)


def _allowing(sites: list[str] | Callable[[Any, str], bool]) -> Callable[[Any, str], bool]:
    """Return a check that allows what the site allows, and the dashboards of this server's own clusters."""

    def is_allowed(handler: Any, host: str) -> bool:
        by_site = sites(handler, host) if callable(sites) else host in sites
        return bool(by_site) or _is_dashboard(handler.request.path, host)

    return is_allowed


def _is_dashboard(path: str, host: str) -> bool:
    target = _TARGET.search(path)
    if target is None or target["host"] != host:
        return False
    below = unquote(target["path"] or "/")
    if ".." in below.split("/"):
        return False
    return any(
        (known.host, known.port) == (host, int(target["port"])) and below.startswith(f"{known.path}/")
        for known in session.dashboards(os.getpid())
    )


class PastedAddress(APIHandler):
    """Answers the panel whether there is a dashboard at the pasted address."""

    @authenticated
    async def get(self, url: str) -> None:
        """Answer for the dashboards that go through this server; leave others to dask-labextension."""
        from dask_labextension.dashboardhandler import DaskDashboardCheckHandler

        pasted = unquote(url)
        found = session.by_address(os.getpid(), pasted) or session.dashboard_of(pasted)
        if found is None or not (found.host in _HERE or found in session.dashboards(os.getpid())):
            await DaskDashboardCheckHandler.get(self, url)
            return
        plots = await _plots(f"http://{found.host}:{found.port}{found.path}/individual-plots.json")
        through = found.below(self.base_url).removesuffix("status")
        answer = {"url": pasted, "isActive": plots is not None, "plots": plots or {}, "effectiveUrl": through}
        self.finish(json.dumps(answer))


async def _plots(url: str) -> dict[str, str] | None:
    try:
        response = await AsyncHTTPClient().fetch(url, request_timeout=10)
        plots = json.loads(response.body)
    except (OSError, HTTPError, ValueError):
        return None
    return plots if isinstance(plots, dict) else None


class PanelScript(JupyterHandler):
    """The script of dask-labextension's panel, with the kit's code to write into notebooks."""

    @authenticated
    def get(self, name: str) -> None:
        """Serve one file, unchanged if it has no such code."""
        for folder in jupyter_path("labextensions"):
            file = Path(folder) / _PANEL / "static" / name
            if file.is_file():
                self.set_header("Content-Type", "text/javascript; charset=utf-8")
                self.set_header("Cache-Control", "no-cache")
                self.finish(_UPSTREAMS_CODE.sub(_OUR_CODE, file.read_text(encoding="utf-8")))
                return
        raise WebError(404)
