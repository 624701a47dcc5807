"""A Dask cluster in Kubernetes: the operator starts it, within a deadline, and this session removes it."""

from __future__ import annotations

import asyncio
import subprocess
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dask_kubernetes.operator import KubeCluster
from distributed.core import Status, rpc
from distributed.deploy.cluster import Cluster
from distributed.utils import Logs, format_dashboard_link

from af_kit.cluster.detached import guard
from af_kit.cluster.detached.registry import Entry
from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes import listing, network_policy, permissions, readiness, removal, scaling
from af_kit.cluster.kubernetes.context import SessionContext, find_context
from af_kit.cluster.kubernetes.diagnostics import Problem, is_terminating, refusal_reason
from af_kit.cluster.kubernetes.manifest import DASHBOARD_PORT, SCHEDULER_PORT
from af_kit.cluster.kubernetes.port_forward import PortForward
from af_kit.cluster.kubernetes.proxy_secret import ProxySecret
from af_kit.cluster.kubernetes.status import ClusterStatus
from af_kit.errors import ConnectError

_POLL_S = 0.2
# Seconds for one attempt to connect to the scheduler.
_CONNECT_S = 0.5
# Seconds between two checks whether the user has renewed the proxy.
_RENEW_S = 5.0
# Seconds until a cluster's pods must be terminating after its removal.
_REMOVE_S = 30.0
# Seconds between two checks whether the cluster still exists.
_ALIVE_S = 5.0

MakeManifests = Callable[[SessionContext], list[dict[str, Any]]]


class KubernetesCluster(KubeCluster):
    """A cluster of Dask's operator, whose start has a deadline and fails with a reason.

    The cluster counts as started when the scheduler's pod is ready and a worker has joined. The operator's own phases
    are not used: two of its handlers race, and a cluster that runs may stay "Pending".

    Parameters
    ----------
    name : str
        Name of the cluster.
    namespace : str or None
        Its namespace; None for that of this session.
    make_manifests : callable
        Takes this session's context and returns the manifests of the cluster and of its further worker groups.
    may_exist : bool
        Whether to connect to a running cluster of this name. That cluster then outlives this object.
    start_s : float
        Seconds for the whole start.
    patience_s : float
        Seconds to wait for problems that may go away, for example when a node is added.
    shutdown_on_close : bool
        Whether the cluster ends with this object.
    required : sequence of Permission
        Checked before anything is created.
    proxy : ProxySecret, optional
        Created with the cluster, and renewed while this object exists.

    Attributes
    ----------
    manifest : dict
        The DaskCluster, as the API server returned it when it was created or found.
    guard : subprocess.Popen or None
        Removes the cluster if this process is killed, unless Kubernetes does so together with this session's pod.
    """

    def __init__(
        self,
        *,
        name: str,
        namespace: str | None,
        make_manifests: MakeManifests,
        may_exist: bool = False,
        start_s: float,
        patience_s: float,
        shutdown_on_close: bool,
        required: Sequence[permissions.Permission] = (),
        proxy: ProxySecret | None = None,
        **options: Any,
    ) -> None:
        self.namespace: str | None = namespace
        self.manifest: dict[str, Any] = {}
        self.guard: subprocess.Popen[bytes] | None = None
        self._make_manifests, self._may_exist, self._required = make_manifests, may_exist, tuple(required)
        self._start_s, self._patience_s = start_s, patience_s
        self._proxy = proxy
        self._renewing: asyncio.Task[None] | None = None
        self._forwards: list[PortForward] = []
        self._context: SessionContext | None = None
        self._api: Any = None
        self._last_check, self._is_gone = 0.0, False
        # Whether the API server may have created the cluster without an answer to this session.
        self._creation_unknown = False
        super().__init__(name=name, namespace=namespace, shutdown_on_close=shutdown_on_close, quiet=True, **options)

    @property
    def dashboard_link(self) -> str:
        """The dashboard's address, for a browser on this session's machine."""
        host = self.scheduler_address.partition("://")[2].rpartition(":")[0]
        return str(format_dashboard_link(host, self.forwarded_dashboard_port))

    def diagnose(self) -> str:
        """Return why workers are missing, as Kubernetes reports it; empty if there is no problem."""
        found: list[Problem] = self.sync(self._kube_status.problems, "worker")
        return str(found[0]) if found else ""

    @property
    def entry(self) -> Entry:
        """The cluster as a registry entry."""
        return listing.to_entry(self.manifest, self.scheduler_address, self.dashboard_link)

    def fetch_logs(self) -> list[Path]:
        """Write the logs of the pods to files. Kubernetes removes a log together with its pod."""
        return listing.write_logs(self.name, self.get_logs())

    def is_alive(self) -> bool:
        """Return whether the cluster exists: checked every few seconds, and assumed if Kubernetes does not answer."""
        if self.status == Status.closed:
            return False
        if time.monotonic() > self._last_check + _ALIVE_S:
            self._last_check = time.monotonic()
            self._is_gone = not self.sync(self._exists)
        return not self._is_gone

    def shutdown(self) -> None:
        """End the cluster, even if it is detached."""
        self.shutdown_on_close = True
        self.close()

    async def _start(self) -> None:
        created = False
        problems: list[Problem] = []
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._start_s):
                self._api = await kube.connect()
                self._context = await find_context(self._api, self.namespace)
                self.namespace = self._context.namespace
                await self._check_permissions()
                if self._may_exist and await self._find():
                    self.shutdown_on_close = False
                else:
                    self.manifest, *groups = self._make_manifests(self._context)
                    if self.shutdown_on_close and self._context.owner is None:
                        self.guard = removal.start_guard(self.manifest, self._api.auth.active_context)
                    await self._create(problems)
                    created = True
                    await self._create_companions(groups, self._context)
                await readiness.wait_for_scheduler(self._kube_status, self._patience_s, problems)
                await self._connect_to_scheduler()
                if created and self.manifest["spec"]["worker"]["replicas"]:
                    await readiness.wait_for_worker(self._kube_status, self._has_worker, self._patience_s, problems)
                await Cluster._start(self)
                if self._proxy is not None:
                    self._renewing = asyncio.create_task(self._renew_proxy(self._proxy))
        except BaseException as error:
            if not created:
                self.shutdown_on_close = False  # another session's cluster, or none
            await asyncio.shield(self._close())  # also if this task is cancelled again
            if isinstance(error, TimeoutError):
                why = (
                    f" {problems[0]}" if problems else " Kubernetes reports no problem; `kubectl get pods` shows more."
                )
                raise ConnectError(
                    f"The Dask cluster {self.name} did not start within {time.monotonic() - began:.0f} s "
                    f"(timeout_s={self._start_s:g}).{why}"
                ) from error
            raise

    async def _renew_proxy(self, proxy: ProxySecret) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            await proxy.renew(self._api, self.name, str(self.namespace))

    async def _check_permissions(self) -> None:
        required = [*self._required, *(() if self._is_inside else permissions.TO_FORWARD_PORTS)]
        missing = await permissions.missing(self._api, str(self.namespace), required)
        if missing:
            raise ConnectError(
                f"You may not start a Dask cluster in namespace {self.namespace}: you need permission to "
                f"{', '.join(map(str, missing))}. The kit's Helm chart has a Role with all permissions; ask the "
                "site's admin to bind it to you, or give another namespace=."
            )

    async def _get(self) -> dict[str, Any]:
        """Return the DaskCluster of this name from the API server."""
        return await kube.request(
            self._api, "GET", f"daskclusters/{self.name}", namespace=self.namespace, version=kube.DASK
        )

    async def _find(self) -> bool:
        """Use the running cluster of this name, and return whether there is one."""
        try:
            self.manifest = await self._get()
        except kube.Refused as error:
            if error.code == 404:
                return False
            raise
        if is_terminating(self.manifest):
            raise ConnectError(f"The Dask cluster {self.name} is being removed. Try again in a minute.")
        return True

    async def _exists(self) -> bool:
        try:
            found = await self._get()
        except ConnectError as error:
            return getattr(error, "code", None) != 404
        return not is_terminating(found) and bool(found["metadata"]["uid"] == self.manifest["metadata"]["uid"])

    async def _create(self, problems: list[Problem]) -> None:
        self._creation_unknown = True
        try:
            self.manifest = await readiness.create(self._post, problems)
        except kube.Refused as error:
            self._creation_unknown = False
            raise ConnectError(refusal_reason(error, self.name, str(self.namespace))) from error
        self._creation_unknown = False

    async def _post(self) -> dict[str, Any]:
        return await kube.request(
            self._api, "POST", "daskclusters", namespace=self.namespace, version=kube.DASK, body=self.manifest
        )

    async def _create_companions(self, groups: Sequence[dict[str, Any]], context: SessionContext) -> None:
        """Create the objects that belong to the cluster and that Kubernetes removes with it."""
        namespace = str(self.namespace)
        for group in groups:
            group["metadata"]["ownerReferences"] = [kube.owner_reference(self.manifest)]
            await kube.request(
                self._api, "POST", "daskworkergroups", namespace=namespace, version=kube.DASK, body=group
            )
        if self._proxy is not None:
            await self._proxy.create(self._api, self.manifest)
        policy = network_policy.network_policy(self.manifest, context)
        if policy and not await permissions.missing(self._api, namespace, [network_policy.PERMISSION]):
            version = policy["apiVersion"]
            await kube.request(self._api, "POST", "networkpolicies", namespace=namespace, version=version, body=policy)

    async def _has_worker(self) -> bool:
        return bool((await self.scheduler_comm.identity()).get("workers"))

    async def _connect_to_scheduler(self) -> None:
        service = f"{self.name}-scheduler"
        if self._is_inside:
            # By name: a service that is created again gets another address. The scheduler is ready by now, so the name
            # exists; a failed look-up would be cached by the name server.
            address = f"tcp://{service}.{self.namespace}:{SCHEDULER_PORT}"
            self.forwarded_dashboard_port = DASHBOARD_PORT
        else:
            self._forwards = [
                PortForward(str(self.namespace), service, port, self._api.auth.active_context)
                for port in (SCHEDULER_PORT, DASHBOARD_PORT)
            ]
            ports = await asyncio.gather(*(forward.open(self._start_s) for forward in self._forwards))
            address, self.forwarded_dashboard_port = f"tcp://127.0.0.1:{ports[0]}", ports[1]
        while True:  # until the deadline of the whole start
            try:
                # A first attempt may get no answer: see `connect_preload`.
                async with rpc(address, timeout=_CONNECT_S) as scheduler:
                    await asyncio.wait_for(scheduler.identity(), 5)
                break
            except (OSError, TimeoutError):
                await asyncio.sleep(_POLL_S)
        self.scheduler_comm = rpc(address)

    @property
    def _is_inside(self) -> bool:
        return self._context is not None and self._context.inside

    @property
    def _kube_status(self) -> ClusterStatus:
        return ClusterStatus(self._api, self.name, str(self.namespace))

    async def _get_logs(self) -> Logs:
        return await self._kube_status.logs()

    async def _scale(self, n: int, worker_group: str = "default") -> None:
        await scaling.scale(self._api, self.manifest, n, worker_group)

    async def _adapt(self, minimum: int | None = None, maximum: int | None = None) -> None:
        await scaling.adapt(self._api, self.manifest, minimum, maximum)

    async def _close(self, timeout: float = _REMOVE_S) -> None:
        if self.status == Status.closed:
            return
        remove, self.shutdown_on_close = self.shutdown_on_close, False
        if self._renewing is not None:
            self._renewing.cancel()
        try:
            await Cluster._close(self)
        finally:
            for forward in self._forwards:
                forward.close()
            if remove:
                await self._remove(timeout)
            if self.guard is not None and self._creation_unknown and self.guard.stdin is not None:
                self.guard.stdin.close()  # the guard then removes the cluster, if it was created
            elif self.guard is not None:  # not reached if the removal failed: then the guard still has to do it
                guard.stand_down(self.guard)

    async def _remove(self, within_s: float) -> None:
        """Have Kubernetes delete the cluster, and return when its pods are terminating."""
        deadline = time.monotonic() + within_s
        if not await removal.delete(self._api, self.manifest):
            return
        while time.monotonic() < deadline:
            if all(map(is_terminating, await self._kube_status.pods())):
                return
            await asyncio.sleep(_POLL_S)
        warnings.warn(
            f"The Dask cluster {self.name} is being removed, but its pods still run after {within_s:g} s: see "
            f"`kubectl describe daskcluster {self.name}`.",
            stacklevel=2,
        )
