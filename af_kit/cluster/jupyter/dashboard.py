"""Dask's dashboard: its pages when first asked for, and its link through a Jupyter server."""

from __future__ import annotations

import os
from typing import Any

import dask.config
from distributed.http.scheduler.info import IndividualPlots
from tornado.httputil import HTTPServerRequest
from tornado.web import Application

_DASKS_LINK = "{scheme}://{host}:{port}/status"
# Through jupyter-server-proxy, at the user's own address: a browser cannot reach the machine that Dask names.
_JUPYTERS_LINK = "{%s}proxy/{host}:{port}/status"
# Where a Jupyter server is found by its browser: a hub tells it, the kit's server extension does in a container.
_PREFIXES = ("JUPYTERHUB_SERVICE_PREFIX", "AF_KIT_BASE_URL")
_base_url: str | None = None


def pages_on_demand(scheduler: Any) -> None:
    """Serve the dashboard of a scheduler that was started without, and load it at the first request.

    Its pages stand on bokeh, whose import takes half a second and 20 MB: a third of the time to start a local cluster,
    for pages that most sessions never open. The address answers from the start, so links to it are right.
    """
    scheduler.http_application.add_application(_Pages(scheduler))
    scheduler.http_application.add_handlers(
        ".*$", [(r"/individual-plots.json", _PlotNames, {"dask_server": scheduler, "extra": None})]
    )


class _Pages(Application):
    """Stands where the dashboard's own application will: asked for a page, it makes room for it."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.scheduler = scheduler

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        return self.replaced().find_handler(request, **kwargs)

    def replaced(self) -> Any:
        from distributed.dashboard.scheduler import connect

        pages = self.scheduler.http_application.applications
        if self in pages:
            pages.remove(self)
            connect(self.scheduler.http_application, self.scheduler.http_server, self.scheduler)
        return pages[-1]


class _PlotNames(IndividualPlots):
    """The list of plots that JupyterLab's Dask panel asks for first: it is empty while the pages are not loaded."""

    def prepare(self) -> None:
        for pages in list(self.server.http_application.applications):
            if isinstance(pages, _Pages):
                pages.replaced()


def serve_below(base_url: str) -> None:
    """Let the links of this process's panel go through its own server, at ``base_url``."""
    global _base_url
    _base_url = base_url


def base_url() -> str | None:
    """Where the Jupyter server that this process is has its pages; None where it is none."""
    return _base_url


def link_through_jupyter() -> None:
    """On a hub or in a container, let Dask's links (of clients, clusters, tasks' reports) go through Jupyter's server.

    A link that the site or the user configured stays.
    """
    for variable in _PREFIXES:
        if variable in os.environ and is_dasks_link():
            dask.config.set({"distributed.dashboard.link": _JUPYTERS_LINK % variable})


def is_dasks_link() -> bool:
    """Whether the links to dashboards are those that Dask ships: nobody has configured others."""
    return bool(dask.config.get("distributed.dashboard.link") == _DASKS_LINK)


def link(client: Any) -> str:
    """The address of the client's dashboard, or an empty text where it has none or cannot tell."""
    try:
        return client.dashboard_link or ""
    except KeyError:  # no dashboard, or a configured link that names a variable which is not set here
        return ""
