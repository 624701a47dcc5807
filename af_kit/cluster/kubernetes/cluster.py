"""A Dask cluster in Kubernetes: started by the operator, awaited with a deadline, and removed."""

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
from distributed.utils import Logs

from af_kit.cluster.detached import guard
from af_kit.cluster.detached.registry import Entry
from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes import listing, permissions, readiness, removal, scaling
from af_kit.cluster.kubernetes.context import Place, find_place
from af_kit.cluster.kubernetes.diagnostics import Obstacle, is_going, uncounted, why_not_created
from af_kit.cluster.kubernetes.manifest import DASHBOARD_PORT, SCHEDULER_PORT
from af_kit.cluster.kubernetes.network_policy import RIGHT as POLICY_RIGHT
from af_kit.cluster.kubernetes.network_policy import network_policy
from af_kit.cluster.kubernetes.port_forward import Forward
from af_kit.cluster.kubernetes.proxy_secret import ProxySecret
from af_kit.cluster.kubernetes.status import View
from af_kit.errors import ConnectError

# Seconds between two looks at what Kubernetes has made so far.
_LOOK_S = 0.2
# Seconds between two tries where Kubernetes has yet to count what a quota is for.
_COUNT_S = 1.0
# Seconds for one try to connect to the scheduler.
_TRY_S = 0.5
# Seconds between two looks at the user's proxy.
_RENEW_S = 5.0
# Seconds until a cluster's pods are told to end.
_REMOVE_S = 30.0
# Seconds between two looks whether it is there.
_ALIVE_S = 5.0

Describe = Callable[[Place], list[dict[str, Any]]]


class KubernetesCluster(KubeCluster):
    """A cluster of Dask's operator, whose start has a deadline and ends in a reason.

    The operator's own phases are not looked at: two of its handlers race for them, and a cluster that runs may stay
    "Pending" for ever. What counts is whether the scheduler's pod is ready and a worker has joined.

    Parameters
    ----------
    name : str
        The cluster's.
    namespace : str or None
        Where it is; None for this session's.
    describe : callable
        Gives the manifests for the place that this session is in: the cluster's, then those of further groups.
    join : bool
        Whether to take a cluster of this name that runs already; it then outlives this object.
    start_s : float
        Seconds for the whole start.
    patience_s : float
        Seconds that an obstacle may last that could go away by itself, as a node may be added.
    shutdown_on_close : bool
        Whether the cluster ends with this object.
    rights_needed : sequence of Right
        Asked for before anything is made.
    proxy : ProxySecret, optional
        Made with the cluster, and renewed as long as this object lives.

    Attributes
    ----------
    manifest : dict
        The DaskCluster as the API server had it when it was made or found.
    guard : subprocess.Popen or None
        Removes the cluster should this process be killed, where Kubernetes would not do so.
    """

    def __init__(
        self,
        *,
        name: str,
        namespace: str | None,
        describe: Describe,
        join: bool = False,
        start_s: float,
        patience_s: float,
        shutdown_on_close: bool,
        rights_needed: Sequence[permissions.Right] = (),
        proxy: ProxySecret | None = None,
        **options: Any,
    ) -> None:
        self.namespace: str | None = namespace
        self._describe, self._join = describe, join
        self._start_s, self._patience_s = start_s, patience_s
        self._rights = tuple(rights_needed)
        self._proxy = proxy
        self._renewing: asyncio.Task[None] | None = None
        self._forwards: list[Forward] = []
        self.guard: subprocess.Popen[bytes] | None = None
        self._place: Place | None = None
        self._api: Any = None
        self._looked, self._gone, self._unsure = 0.0, False, False
        self.manifest: dict[str, Any] = {}
        super().__init__(name=name, namespace=namespace, shutdown_on_close=shutdown_on_close, quiet=True, **options)

    @property
    def dashboard_link(self) -> str:
        """The dashboard's address, as it can be opened from this session."""
        from distributed.utils import format_dashboard_link

        host = self.scheduler_address.partition("://")[2].rpartition(":")[0]
        return str(format_dashboard_link(host, self.forwarded_dashboard_port))

    def diagnose(self) -> str:
        """Why there are no (more) workers, in Kubernetes' words; empty where nothing is wrong."""
        found: list[Obstacle] = self.sync(self._view.obstacles, "worker")
        return str(found[0]) if found else ""

    @property
    def entry(self) -> Entry:
        """The cluster as `registry` has those of other kinds."""
        return listing.entry_of(self.manifest, self.scheduler_address, self.dashboard_link)

    def fetch_logs(self) -> list[Path]:
        """Write the logs of its pods into files, as long as the pods are there: nobody keeps them."""
        return listing.write_logs(self.name, self.get_logs())

    def is_alive(self) -> bool:
        """Whether Kubernetes has it; asked every few seconds, and taken for granted where there is no answer."""
        if self.status == Status.closed:
            return False
        if time.monotonic() > self._looked + _ALIVE_S:
            self._looked = time.monotonic()
            self._gone = not self.sync(self._is_there)
        return not self._gone

    def shutdown(self) -> None:
        """End the cluster for good, also a detached one."""
        self.shutdown_on_close = True
        self.close()

    async def _start(self) -> None:
        made = False
        seen: list[Obstacle] = []
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._start_s):
                self._api = api = await kube.connected()
                self._place = await find_place(api, self.namespace)
                self.namespace = self._place.namespace
                await self._check_rights(api)
                if self._join and await self._found(api):
                    self.shutdown_on_close = False
                else:
                    self.manifest, *groups = self._describe(self._place)
                    if self.shutdown_on_close and self._place.owner is None:
                        self.guard = removal.start_guard(self.manifest, api.auth.active_context)
                    await self._create(api, seen)
                    made = True
                    await self._create_companions(api, groups)
                await readiness.wait_for_scheduler(self._view, self._patience_s, seen)
                await self._reach_scheduler()
                if made and self.manifest["spec"]["worker"]["replicas"]:
                    await readiness.wait_for_worker(self._view, self._has_worker, self._patience_s, seen)
                await Cluster._start(self)
                if self._proxy is not None:
                    self._renewing = asyncio.create_task(self._renew_proxy(self._proxy))
        except BaseException as error:
            # Nothing must be left behind, whatever comes while it is removed.
            await asyncio.shield(self._give_up(made))
            if isinstance(error, TimeoutError):
                why = f" {seen[0]}" if seen else " Kubernetes tells no reason. `kubectl get pods` may show more."
                raise ConnectError(
                    f"The Dask cluster {self.name} did not come up within {time.monotonic() - began:.0f} s "
                    f"(timeout_s={self._start_s:g}).{why}"
                ) from error
            raise

    async def _renew_proxy(self, proxy: ProxySecret) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            await proxy.renew(self._api, self.name, self._namespace)

    async def _check_rights(self, api: Any) -> None:
        wanted = [*self._rights, *(() if self._inside else permissions.FROM_OUTSIDE)]
        missing = await permissions.missing(api, self._namespace, wanted)
        if missing:
            raise ConnectError(
                f"You may not make a Dask cluster in namespace {self._namespace}: missing are the rights to "
                f"{', '.join(map(str, missing))}. The kit's Helm chart has a Role with all that is needed; ask the "
                "site's admin to bind it to you, or give another namespace=."
            )

    async def _found(self, api: Any) -> bool:
        """Take the cluster of this name, if there is one."""
        try:
            path = f"daskclusters/{self.name}"
            self.manifest = await kube.request(api, "GET", path, namespace=self.namespace, version=kube.DASK)
        except kube.Refused as error:
            if error.code == 404:
                return False
            raise
        if is_going(self.manifest):
            raise ConnectError(f"The Dask cluster {self.name} is just being removed. Try again in a minute.")
        return True

    async def _is_there(self) -> bool:
        path = f"daskclusters/{self.name}"
        try:
            now = await kube.request(self._api, "GET", path, namespace=self.namespace, version=kube.DASK)
        except ConnectError as error:
            return getattr(error, "code", None) != 404
        return not is_going(now) and bool(now["metadata"]["uid"] == self.manifest["metadata"]["uid"])

    async def _create(self, api: Any, seen: list[Obstacle]) -> None:
        self._unsure = True
        while True:
            try:
                self.manifest = await kube.request(
                    api, "POST", "daskclusters", namespace=self.namespace, version=kube.DASK, body=self.manifest
                )
            except kube.Refused as error:
                seen[:] = uncounted(error)
                if not seen:
                    self._unsure = False
                    raise ConnectError(why_not_created(error, self.name, self._namespace)) from error
                await asyncio.sleep(_COUNT_S)
            else:
                self._unsure, seen[:] = False, []
                return

    async def _create_companions(self, api: Any, groups: Sequence[dict[str, Any]]) -> None:
        """Make what belongs to the cluster, and goes with it."""
        where: dict[str, Any] = {"namespace": self.namespace, "version": kube.DASK}
        for group in groups:
            group["metadata"]["ownerReferences"] = [kube.owner(self.manifest)]
            await kube.request(api, "POST", "daskworkergroups", body=group, **where)
        if self._proxy is not None:
            await self._proxy.create(api, self.manifest)
        assert self._place is not None
        policy = network_policy(self.manifest, self._place)
        if policy is not None and not await permissions.missing(api, self._namespace, [POLICY_RIGHT]):
            path = "networkpolicies"
            await kube.request(api, "POST", path, namespace=self.namespace, version=policy["apiVersion"], body=policy)

    async def _has_worker(self) -> bool:
        return bool((await self.scheduler_comm.identity()).get("workers"))

    async def _reach_scheduler(self) -> None:
        service = f"{self.name}-scheduler"
        if self._inside:
            # By name, as a service's address is given anew when it is made again. The name was never looked up before
            # it was there: a name server would remember for a while that it is not.
            address, self.forwarded_dashboard_port = (
                f"tcp://{service}.{self.namespace}:{SCHEDULER_PORT}",
                DASHBOARD_PORT,
            )
        else:
            self._forwards = [
                Forward(self._namespace, service, port, self._api.auth.active_context)
                for port in (SCHEDULER_PORT, DASHBOARD_PORT)
            ]
            ports = await asyncio.gather(*(forward.open(self._start_s) for forward in self._forwards))
            address, self.forwarded_dashboard_port = f"tcp://127.0.0.1:{ports[0]}", ports[1]
        while True:  # the deadline is the whole start's
            try:
                async with rpc(address, timeout=_TRY_S) as scheduler:  # a first one may get no answer: see `arrival`
                    await asyncio.wait_for(scheduler.identity(), 5)
                break
            except (OSError, TimeoutError):
                await asyncio.sleep(_LOOK_S)
        self.scheduler_comm = rpc(address)

    @property
    def _inside(self) -> bool:
        return self._place is not None and self._place.inside

    @property
    def _namespace(self) -> str:
        return str(self.namespace)

    @property
    def _view(self) -> View:
        return View(self._api, self.name, self._namespace)

    async def _get_logs(self) -> Logs:
        return await self._view.logs()

    async def _scale(self, n: int, worker_group: str = "default") -> None:
        await scaling.scale(self._api, self.manifest, n, worker_group)

    async def _adapt(self, minimum: int | None = None, maximum: int | None = None) -> None:
        await scaling.adapt(self._api, self.manifest, minimum, maximum)

    # ------------------------------------------------------------------------------------------------------ the end

    async def _give_up(self, made: bool) -> None:
        if not made:
            self.shutdown_on_close = False  # not ours to remove
        await self._close()

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
            if self.guard is not None and self._unsure and self.guard.stdin is not None:
                self.guard.stdin.close()  # it was asked for, and there was no answer: the guard looks
            elif self.guard is not None:  # one that is left has yet to do what failed here
                guard.stand_down(self.guard)

    async def _remove(self, within_s: float) -> None:
        """Have Kubernetes remove the cluster, and return when its pods end."""
        deadline = time.monotonic() + within_s
        if not await removal.delete(self._api, self.manifest):
            return
        while time.monotonic() < deadline:
            if all(map(is_going, await self._view.pods())):
                return
            await asyncio.sleep(_LOOK_S)
        warnings.warn(
            f"The Dask cluster {self.name} was told to end, and its pods still run after {within_s:g} s: see `kubectl "
            f"describe daskcluster {self.name}`.",
            stacklevel=2,
        )
