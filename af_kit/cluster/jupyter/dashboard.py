"""Dask's dashboard: load its pages at the first request, and link to it through a Jupyter server."""

from __future__ import annotations

import os
from typing import Any

import dask.config
from distributed.http.scheduler.info import IndividualPlots
from tornado.httputil import HTTPServerRequest
from tornado.web import Application

_DASKS_LINK = "{scheme}://{host}:{port}/status"
# The path through jupyter-server-proxy: a browser cannot reach the machine in Dask's link.
_JUPYTERS_LINK = "{%s}proxy/{host}:{port}/status"
# Variables with the URL path of the Jupyter server: a hub sets the first, the kit's server extension in a container the
# second.
_PREFIXES = ("JUPYTERHUB_SERVICE_PREFIX", "AF_KIT_BASE_URL")
_base_url: str | None = None


def scheduler_routes() -> dict[str, Any]:
    """Return the configuration of a scheduler without links to dashboards of single workers.

    These workers have no dashboards, and importing the module takes 0.15 s.
    """
    key = "distributed.scheduler.http.routes"
    return {key: [route for route in dask.config.get(key) if route != "distributed.http.proxy"]}


def pages_on_demand(scheduler: Any) -> None:
    """Serve the dashboard of a scheduler that was started without one, and load it at the first request.

    Its pages need bokeh, whose import takes half a second and 20 MB: a third of the time to start a local cluster, for
    pages that most sessions never open. The address answers from the start, so links to it are valid.
    """
    scheduler.http_application.add_application(_Pages(scheduler))
    scheduler.http_application.add_handlers(
        ".*$", [(r"/individual-plots.json", _PlotNames, {"dask_server": scheduler, "extra": None})]
    )


class _Pages(Application):
    """A placeholder for the dashboard's application, which replaces it at the first request."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.scheduler = scheduler

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        return self.load().find_handler(request, **kwargs)

    def load(self) -> Any:
        from distributed.dashboard.scheduler import connect

        pages = self.scheduler.http_application.applications
        if self in pages:
            pages.remove(self)
            connect(self.scheduler.http_application, self.scheduler.http_server, self.scheduler)
        return pages[-1]


class _PlotNames(IndividualPlots):
    """The list of plots, which JupyterLab's Dask panel requests first. It is empty until the pages are loaded."""

    def prepare(self) -> None:
        for pages in list(self.server.http_application.applications):
            if isinstance(pages, _Pages):
                pages.load()


def serve_below(base_url: str) -> None:
    """Make the links of this process's Dask panel go through this process's Jupyter server, at ``base_url``."""
    global _base_url
    _base_url = base_url


def base_url() -> str | None:
    """Return the base URL of the Jupyter server in this process, or None if there is none."""
    return _base_url


def link_through_jupyter() -> None:
    """On a hub or in a container, make Dask's links to dashboards go through the Jupyter server.

    A link that the site or the user has configured stays unchanged.
    """
    for variable in _PREFIXES:
        if variable in os.environ and is_dasks_link():
            dask.config.set({"distributed.dashboard.link": _JUPYTERS_LINK % variable})


def is_dasks_link() -> bool:
    """Return whether links to dashboards have Dask's default form, because nobody has configured another."""
    return bool(dask.config.get("distributed.dashboard.link") == _DASKS_LINK)


def link(client: Any) -> str:
    """Return the address of the client's dashboard, or an empty string if it has none or it is unknown."""
    try:
        return client.dashboard_link or ""
    except KeyError:  # no dashboard, or a configured link with a variable that is not set here
        return ""
