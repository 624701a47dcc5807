"""The backend ``connect("gateway")``: the site's Dask Gateway starts schedulers and workers for its users."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config

from af_kit import config
from af_kit.cluster.backends import Backend, running
from af_kit.cluster.detached import registry
from af_kit.cluster.gateway.client import GatewayClient, is_running
from af_kit.cluster.gateway.options import set_options, user_given_name
from af_kit.cluster.request import Request
from af_kit.credentials.private_files import write_private
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from af_kit.cluster.gateway.cluster import Cluster

__all__ = ["Gateway", "survey"]

# Seconds between two requests for the status of a cluster that starts.
_POLL_S = 0.3


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
        """Have a gateway start a cluster.

        Parameters
        ----------
        request : Request
            The common options of `connect`.
        address, proxy_address, public_address : str, optional
            Addresses of the gateway, of its schedulers, and of the gateway for a browser (default: ``gateway.*``).
        auth : str or GatewayAuth, optional
            Login: ``"jupyterhub"``, ``"basic"``, ``"kerberos"``, or an object of dask_gateway (default:
            ``af_kit.cluster.gateway.auth``).
        image : str, optional
            Image of scheduler and workers (default: ``af_kit.cluster.gateway.image``).
        environment : mapping, optional
            Environment variables of scheduler and workers, in addition to ``af_kit.cluster.environment``; None removes
            one.
        options : mapping, optional
            Further options by the gateway's own names, which ``dask_gateway.Gateway().cluster_options()`` lists.

        Raises
        ------
        InputError
            The gateway does not have an option, or refuses a value.
        ConnectError
            No gateway answers, it refuses the login, or the cluster does not start.
        """
        if request.security is not None:
            raise InputError("security=: a gateway creates the certificates of its clusters. Leave it out.")
        client = GatewayClient(address, proxy_address, public_address, auth)
        defaults = config.get("cluster.gateway")
        memory = request.memory or defaults["memory"]
        common: dict[str, Any] = {
            "cores": request.cores or defaults["cores"],
            "memory": None if memory is None else config.as_worker_memory(memory, "af_kit.cluster.gateway.memory"),
            "image": image or defaults["image"],
            "environment": environment,
            "name": request.name,
            "idle_timeout_s": request.idle_timeout_s,
            "default_idle_timeout_s": config.get("cluster.idle_timeout_s") if request.detach else None,
        }
        workers = defaults["n_workers"] if request.first is None else request.first
        running()  # removes the entry of a cluster with this name that has ended
        reserved = None if request.name is None else registry.reserve(request.name, "gateway")
        try:
            started = client.run(lambda: _start(client, common, options or {}, workers, request.timeout_s))
            cluster = _cluster_object(client, started, shutdown_on_close=not request.detach)
        except BaseException:
            for folder in reserved[2:] if reserved else ():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        if reserved or request.detach:
            idle_s = common["idle_timeout_s"] or common["default_idle_timeout_s"]
            reserved = reserved or registry.reserve(started, "gateway")
            _register(client, cluster, reserved, detached=request.detach, idle_timeout_s=idle_s)
        return cluster

    def rejoin(self, entry: registry.Entry) -> Cluster:
        """Return the cluster of an entry as an object of this session. Dask's configuration has the login."""
        client, name = GatewayClient.of_entry(entry), entry.more["cluster"]

        async def check() -> None:
            await client.check()
            await client.check_proxy()
            await client.check_scheduler(await client.report(name))

        client.run(check)
        cluster = _cluster_object(client, name, shutdown_on_close=False)
        cluster.entry = entry
        return cluster

    def find(self, name: str) -> registry.Entry | None:
        """Return a cluster of the configured gateway, by the name its user gave or the gateway's own.

        The gateway has the list, so this finds clusters that were started on any machine.
        """
        if not dask.config.get("gateway.address", default=None):
            return None
        client = GatewayClient()

        async def list_clusters() -> list[Any]:
            await client.check()
            return await client.clusters()

        for report in client.run(list_clusters):
            if name in (report.name, user_given_name(report.options)):
                started = report.start_time.timestamp()
                return _entry(client, report, name=name, job_name=name, started=started, detached=True)
        return None

    def is_running(self, entry: registry.Entry) -> bool:
        """Return whether the gateway still has the cluster; True if the gateway does not answer now."""
        return is_running(entry)

    def diagnose(self, cluster: Any) -> str:
        """Return why workers have not joined, as far as the gateway reports it."""
        try:
            status = _status(cluster)
        except ConnectError as error:
            return str(error)
        no_worker = ", but it has started no worker yet: the site or your share of it may be full"
        state = f"running{no_worker}" if status == "RUNNING" else status.lower()
        return f"The gateway reports that cluster {cluster.name} is {state}. The gateway's admin can see the reason."

    def fatal_reason(self, cluster: Any) -> str:
        """Return why no worker will ever join: the gateway has ended the cluster."""
        try:
            return "" if _status(cluster) in ("RUNNING", "PENDING") else self.diagnose(cluster)
        except ConnectError:
            return ""  # it may answer the next time


def survey() -> str:
    """Return what the gateway in Dask's configuration offers this user, in one line."""
    client = GatewayClient()

    async def ask() -> str:
        await client.check()
        await client.check_proxy()
        offered, clusters = ", ".join(await client.options()), await client.clusters()
        return f"{client.address} lets you in; {len(clusters)} clusters of yours; its options are {offered or 'none'}"

    return client.run(ask)


def _status(cluster: Any) -> str:
    client = GatewayClient.of_cluster(cluster)
    return str(client.run(lambda: client.report(cluster.name)).status.name)


async def _start(
    client: GatewayClient, common: Mapping[str, Any], options: Mapping[str, Any], workers: int, timeout_s: float
) -> str:
    """Start a cluster and ask for its workers; stop the cluster if that fails or is interrupted."""
    deadline = time.monotonic() + timeout_s
    await client.check()
    await client.check_proxy()
    name = common["name"]
    if name is not None and name in {user_given_name(report.options) for report in await client.clusters()}:
        raise InputError(
            f"A cluster named {name!r} already runs at the gateway: connect(name={name!r}) connects to it."
        )
    offered = await client.options()
    set_options(offered, client.address, common, options)
    cluster = await client.submit(offered)
    try:
        report = await _wait(client, cluster, deadline, timeout_s)
        await client.check_scheduler(report)
        if workers:
            await client.scale(cluster, workers)
    except BaseException:
        await client.stop(cluster)
        raise
    return cluster


async def _wait(client: GatewayClient, cluster: str, deadline: float, timeout_s: float) -> Any:
    """Return the report on a cluster once it runs."""
    while True:
        report = await client.report(cluster)
        status = report.status.name
        if status == "RUNNING":
            return report
        if status in ("FAILED", "STOPPED", "STOPPING"):
            raise ConnectError(
                f"The gateway at {client.address} accepted the request, but its cluster {cluster} failed to start "
                f"({status.lower()}). Its admin finds the reason in the log of that cluster. What users can cause: an "
                "image that does not exist or does not contain dask-gateway, variables in environment= that keep "
                "Python from starting, more memory than a machine has."
            )
        if time.monotonic() > deadline:
            raise ConnectError(
                f"The gateway at {client.address} accepted the request, but its cluster {cluster} is still "
                f"{status.lower()} after {timeout_s:g} s: the site may be full, or the image large. To wait longer: "
                "timeout_s=. The cluster was cancelled."
            )
        await asyncio.sleep(_POLL_S)


def _cluster_object(client: GatewayClient, name: str, *, shutdown_on_close: bool) -> Cluster:
    """Return Dask's object of a running cluster."""
    from af_kit.cluster.gateway.cluster import Cluster

    cluster: Cluster = Cluster.from_name(name, shutdown_on_close=shutdown_on_close, **client.arguments())
    return cluster


def _register(
    client: GatewayClient,
    cluster: Cluster,
    reserved: tuple[str, str, Path, Path],
    **fields: Any,
) -> None:
    """Save a cluster in the registry, with the certificates for its scheduler, and set ``cluster.entry``."""
    name, job_name, folder, logs = reserved
    certificate = str(write_private(folder / "certificate.pem", cluster.security.tls_cert))
    key = str(write_private(folder / "key.pem", cluster.security.tls_key))
    cluster.entry = _entry(
        client,
        cluster,
        name=name,
        job_name=job_name,
        started=time.time(),
        folder=str(folder),
        logs=str(logs),
        security={"tls_ca_file": certificate, "tls_client_cert": certificate, "tls_client_key": key},
        **fields,
    )
    registry.save(cluster.entry)


def _entry(client: GatewayClient, cluster: Any, **fields: Any) -> registry.Entry:
    """Return an entry for a cluster or a report on it."""
    # by default without files; the scheduler is not a process of this user
    defaults = {"idle_timeout_s": None, "folder": "", "logs": "", "host": "", "pid": 0, "born": 0}
    return registry.Entry(
        backend="gateway",
        address=cluster.scheduler_address or "",
        dashboard=cluster.dashboard_link or "",
        more={"cluster": cluster.name, **client.addresses},
        **{**defaults, **fields},
    )
