"""A cluster that a Dask Gateway starts: the site's service, which keeps schedulers and workers for its users."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask.config

from af_kit import config
from af_kit.cluster.backends import Backend, running
from af_kit.cluster.detached import registry
from af_kit.cluster.gateway import lookup
from af_kit.cluster.gateway.client import Contact, answer, greet, run
from af_kit.cluster.gateway.options import choose, name_of
from af_kit.cluster.probe import connection
from af_kit.cluster.request import Request
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from af_kit.cluster.gateway.cluster import Cluster

__all__ = ["Gateway", "survey"]


# Between two looks at a cluster that is starting.
_LOOK_S = 0.3
_PARTING_S = 5.0
_ANSWER_S = 10.0

_OTHER_PROXY = (
    "Give proxy_address=, or gateway.proxy-address in Dask's configuration, as the site's documentation names it."
)


class Gateway(Backend):
    """Clusters of the site's Dask Gateway."""

    supported_options = ("name", "detach", "idle_timeout_s")

    def start(
        self,
        request: Request,
        *,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: Any = None,
        image: str | None = None,
        environment: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Cluster:
        """Ask a gateway for a cluster.

        Parameters
        ----------
        request : Request
            Cores, memory and the idle timeout become the gateway's own options (``af_kit.cluster.gateway.names``); a
            name goes to the environment, where the gateway keeps it.
        address, proxy_address, public_address : str, optional
            Where the gateway is, where its schedulers are reached, and where a browser finds it (default:
            ``gateway.*`` in Dask's configuration).
        auth : str or GatewayAuth, optional
            ``"jupyterhub"``, ``"basic"``, ``"kerberos"``, or an object of dask_gateway's (default:
            ``af_kit.cluster.gateway.auth``, which is the hub's token on a hub, and Dask's configuration elsewhere).
        image : str, optional
            The container image of scheduler and workers (default: ``af_kit.cluster.gateway.image``).
        environment : mapping, optional
            Variables for scheduler and workers, besides ``af_kit.cluster.environment``; None as a value removes one.
        options : mapping, optional
            Further options of the gateway by its own names; ``Gateway().cluster_options()`` of dask_gateway lists them.

        Raises
        ------
        InputError
            The gateway has no such option, or refuses a value.
        ConnectError
            No gateway, no way in, or no cluster; in the gateway's own words where it has some.
        """
        if request.security is not None:
            raise InputError("security=: a gateway makes the certificates of its clusters itself. Leave it out.")
        contact = Contact(address, proxy_address, public_address, auth)
        defaults = config.get("cluster.gateway")
        words = {
            "cores": request.cores or defaults["cores"],
            "memory": request.memory or _memory(defaults["memory"]),
            "image": image or defaults["image"],
            "environment": environment,
            "name": request.name,
            "idle_timeout_s": request.idle_timeout_s,
            "usual_idle_timeout_s": config.get("cluster.idle_timeout_s") if request.detach else None,
        }
        workers = defaults["n_workers"] if request.first is None else request.first
        running()  # forgets a cluster of this name that the gateway has ended
        kept = None if request.name is None else registry.reserve(request.name, "gateway")
        try:
            found = run(lambda: _begin(contact, words, options or {}, workers, request.timeout_s))
            cluster = _take(contact, found, shutdown_on_close=not request.detach)
        except BaseException:
            for folder in kept[2:] if kept else ():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if kept or request.detach:
            idle_s = words["idle_timeout_s"] or words["usual_idle_timeout_s"]
            lookup.keep(contact, cluster, kept or registry.reserve(found, "gateway"), request.detach, idle_s)
        return cluster

    def rejoin(self, entry: registry.Entry) -> Cluster:
        """A cluster that runs, as an object here; how to log on is Dask's configuration."""
        more = entry.more
        contact = Contact(more["address"], more["proxy_address"], more["public_address"], None)

        async def look() -> None:
            async with contact.gateway() as gateway:
                await greet(contact, gateway)
                await _check_proxy(contact)
                report = await answer(contact, gateway.get_cluster(more["cluster"]), "tell about the cluster")
                if report.status.name != "RUNNING":
                    raise ConnectError(f"The gateway says that cluster {entry.name} is {report.status.name.lower()}.")
                await _check_scheduler(contact, report)

        run(look)
        cluster = _take(contact, more["cluster"], shutdown_on_close=False)
        cluster.entry = entry
        return cluster

    def find(self, name: str) -> registry.Entry | None:
        """Return a cluster of the configured gateway, by the name its user gave or the gateway's own."""
        return lookup.find(name) if dask.config.get("gateway.address", default=None) else None

    def is_running(self, entry: registry.Entry) -> bool:
        """Return whether the gateway still has the cluster; True if the gateway does not answer now."""
        return lookup.is_running(entry)

    def diagnose(self, cluster: Any) -> str:
        """Why workers have not joined, as far as the gateway tells."""
        try:
            status = _status(cluster)
        except ConnectError as error:
            return str(error)
        if status != "RUNNING":
            return f"The gateway says that cluster {cluster.name} is {status.lower()}; its admin's log has the reason."
        return (
            f"The gateway says that cluster {cluster.name} is running, and has started no worker yet: the site may be "
            "full, or your share of it. The gateway's admin sees why."
        )

    def fatal_reason(self, cluster: Any) -> str:
        """Why no worker will ever come: the gateway gave the cluster up."""
        try:
            return "" if _status(cluster) in ("RUNNING", "PENDING") else self.diagnose(cluster)
        except ConnectError:
            return ""  # it may answer the next time


def _status(cluster: Any) -> str:
    contact = _contact_of(cluster)

    async def look() -> Any:
        async with contact.gateway() as gateway:
            return await answer(contact, gateway.get_cluster(cluster.name), "tell about the cluster")

    return str(run(look).status.name)


def survey() -> str:
    """What the gateway of Dask's configuration says to this user, in a line.

    Raises
    ------
    InputError, ConnectError
        There is none, or no way in.
    """
    contact = Contact(None, None, None, None)

    async def look() -> tuple[Any, Any]:
        async with contact.gateway() as gateway:
            await greet(contact, gateway)
            await _check_proxy(contact)
            offered = await answer(contact, gateway.cluster_options(use_local_defaults=False), "tell its options")
            return offered, await answer(contact, gateway.list_clusters(), "list your clusters")

    offered, clusters = run(look)
    return (
        f"{contact.address} lets you in; {len(clusters)} clusters of yours; its options are "
        f"{', '.join(offered) or 'none'}"
    )


def _memory(configured: Any) -> int | None:
    from dask.utils import parse_bytes

    try:
        return None if configured is None else int(parse_bytes(configured))
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"af_kit.cluster.gateway.memory is {configured!r}: give a size such as 4 GiB.") from None


async def _begin(
    contact: Contact, words: Mapping[str, Any], options: Mapping[str, Any], workers: int, timeout_s: float
) -> str:
    """Start a cluster and ask for its workers; what was started ends if that fails, or is interrupted."""
    deadline = time.monotonic() + timeout_s
    async with contact.gateway() as gateway:
        await greet(contact, gateway)
        await _check_proxy(contact)
        if words["name"] is not None:
            there = await answer(contact, gateway.list_clusters(), "list your clusters")
            if words["name"] in {name_of(report.options) for report in there}:
                raise InputError(
                    f"A cluster named {words['name']!r} is at the gateway already: connect(name={words['name']!r}) "
                    "connects to it."
                )
        offered = await answer(contact, gateway.cluster_options(use_local_defaults=False), "tell its options")
        choose(offered, contact.address, words, options)
        name: str = await answer(contact, gateway.submit(cluster_options=offered), "start a cluster")
        try:
            report = await _started(contact, gateway, name, deadline, timeout_s)
            await _check_scheduler(contact, report)
            if workers:
                await _scale(contact, gateway, name, workers)
        except BaseException:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(gateway.stop_cluster(name), _PARTING_S)
            raise
    return name


async def _started(contact: Contact, gateway: Any, name: str, deadline: float, timeout_s: float) -> Any:
    while True:
        report = await answer(contact, gateway.get_cluster(name), "tell about the cluster that it starts")
        status = report.status.name
        if status == "RUNNING":
            return report
        if status in ("FAILED", "STOPPED", "STOPPING"):
            raise ConnectError(
                f"The gateway at {contact.address} took the request, and then its cluster {name} {_ended(status)}. It "
                "keeps the reason to itself; its admin finds it in the log of that cluster. What users can cause: an "
                "image that does not exist or holds no dask-gateway, variables in environment= that keep Python from "
                "starting, more memory than a machine has."
            )
        if time.monotonic() > deadline:
            raise ConnectError(
                f"The gateway at {contact.address} took the request, but its cluster {name} is still "
                f"{status.lower()} after {timeout_s:g} s: the site may be full, or its image large. timeout_s= waits "
                "longer. (It was given up.)"
            )
        await asyncio.sleep(_LOOK_S)


def _ended(status: str) -> str:
    return "failed to start" if status == "FAILED" else "was stopped before it ran"


async def _check_proxy(contact: Contact) -> None:
    """See whether anything listens where schedulers are to be reached, before a cluster is started for it."""
    host, _, port = contact.proxy_address.removeprefix("gateway://").rpartition(":")
    if not port.isdecimal():
        raise InputError(
            f"proxy_address={contact.proxy_address!r} has no port: it looks like gateway://dask.site:8786."
        )
    obstacle = await asyncio.to_thread(connection, host, int(port), timeout_s=_ANSWER_S)
    if obstacle is not None:
        raise ConnectError(
            f"The gateway at {contact.address} answers, but its schedulers cannot be reached at "
            f"{contact.proxy_address}: {obstacle.reason}. {_OTHER_PROXY}"
        )


async def _check_scheduler(contact: Contact, report: Any) -> None:
    """See whether the scheduler can be reached: Dask's own try leaves its reason out."""
    from distributed.comm import connect

    arguments = report.security.get_connection_args("client")
    try:
        await (await connect(report.scheduler_address, timeout=_ANSWER_S, **arguments)).close()
    except (OSError, TimeoutError) as error:
        raise ConnectError(
            f"The gateway at {contact.address} started a cluster, but what answers at {contact.proxy_address} does not "
            f"lead to its scheduler ({type(error.__cause__ or error).__name__}). {_OTHER_PROXY} (The cluster was "
            "stopped again.)"
        ) from None


async def _scale(contact: Contact, gateway: Any, name: str, workers: int) -> None:
    """Ask for workers. A gateway that gives fewer says so in a warning, and here that is a refusal."""
    from dask_gateway.client import GatewayWarning

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", GatewayWarning)
        await answer(contact, gateway.scale_cluster(name, workers), f"start {workers} workers")
    limits = [str(warning.message) for warning in said if issubclass(warning.category, GatewayWarning)]
    if limits:
        raise ConnectError(
            f"The gateway at {contact.address} does not give {workers} workers: {limits[0]} Ask for fewer, or for "
            "workers with fewer cores. (The cluster was stopped again.)"
        )


def _take(contact: Contact, name: str, *, shutdown_on_close: bool) -> Cluster:
    """Dask's object of a cluster that runs."""
    from af_kit.cluster.gateway.cluster import Cluster

    cluster: Cluster = Cluster.from_name(name, shutdown_on_close=shutdown_on_close, **contact.arguments())
    return cluster


def _contact_of(cluster: Any) -> Contact:
    gateway = cluster.gateway
    return Contact(gateway.address, gateway.proxy_address, gateway._public_address, gateway.auth)
