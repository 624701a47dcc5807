"""What Kubernetes reports about one Dask cluster: its pods, their problems and their logs."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.utils import Log, Logs

from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes.diagnostics import Problem, find_problems
from af_kit.errors import ConnectError

# Seconds within which a working operator certainly creates a Deployment.
OPERATOR_S = 10.0
# Lines of a log's end that are read, and that are shown.
_LOG_LINES, _SHOWN_LINES = 200, 12
# A node answers this for the log of a container that it has just removed because it restarts it: then try again.
_REMOVED = "unable to retrieve container logs"
_LOG_TRIES, _LOG_WAIT_S = 4, 1.0


class ClusterStatus:
    """The status of a Dask cluster, as the API server reports it at each call.

    Parameters
    ----------
    api : kr8s.asyncio.Api
        From `api.connect`.
    name, namespace : str
        Name and namespace of the cluster.
    """

    def __init__(self, api: Any, name: str, namespace: str) -> None:
        self._api, self.name, self.namespace = api, name, namespace

    async def list_objects(self, resource: str, component: str, version: str = "v1") -> list[dict[str, Any]]:
        """Return the objects of a resource that belong to the ``scheduler`` or the ``worker``."""
        labels = {"dask.org/cluster-name": self.name, "dask.org/component": component}
        return await kube.list_objects(self._api, resource, namespace=self.namespace, version=version, labels=labels)

    async def pods(self) -> list[dict[str, Any]]:
        """Return all pods of the cluster."""
        both = await asyncio.gather(self.list_objects("pods", "scheduler"), self.list_objects("pods", "worker"))
        return [pod for pods in both for pod in pods]

    async def deployments(self, component: str) -> list[dict[str, Any]]:
        """Return the Deployments of a component's pods, or none if the user may not list them."""
        try:
            return await self.list_objects("deployments", component, "apps/v1")
        except kube.Refused:  # without this permission, diagnostics have fewer details
            return []

    async def problems(self, component: str) -> list[Problem]:
        """Return why pods of a component do not start."""
        deployments, pods = await asyncio.gather(self.deployments(component), self.list_objects("pods", component))
        return find_problems(component, deployments, pods)

    async def operator_problem(self) -> Problem:
        """Return the problem of an operator that has created nothing, with its own warning if there is one."""
        complaint = ""
        try:
            events = await kube.list_objects(
                self._api,
                "events",
                namespace=self.namespace,
                fields=f"involvedObject.name={self.name},involvedObject.kind=DaskCluster",
            )
            messages = [event["message"] for event in events if event.get("type") != "Normal"]
            complaint = f" Its warning: {' '.join(messages[-1].split())[:300]}." if messages else ""
        except (kube.Refused, LookupError):
            pass
        return Problem(
            "Dask's operator",
            f"has created nothing for this cluster within {OPERATOR_S:g} s.{complaint}"
            " Is it installed, does it run, and does it watch this namespace",
            f"Its admin can check: kubectl get pods -A -l app.kubernetes.io/name=dask-kubernetes-operator (namespace "
            f"{self.namespace}).",
            fatal=True,
        )

    async def log_tail(self, pod: str) -> str:
        """Return the end of a container's log, also of one that restarts; empty if the user may not read it."""
        for attempt in range(_LOG_TRIES):
            if attempt:
                await asyncio.sleep(_LOG_WAIT_S)
            removed = False
            for previous in ("true", "false"):
                try:
                    text = await self._log(pod, {"tailLines": str(_LOG_LINES), "previous": previous})
                except (kube.Refused, ConnectError):
                    continue
                if text.startswith(_REMOVED):
                    removed = True
                    continue
                # Leave out the frames of tracebacks, which are indented and hide the error itself.
                lines = [line for line in text.splitlines() if line.strip() and not line[0].isspace()]
                if lines:
                    return "\nThe end of its log:\n" + "\n".join(lines[-_SHOWN_LINES:])
            if not removed:
                break
        return ""

    async def logs(self) -> Logs:
        """Return the logs of the pods, by pod name."""
        logs = Logs()
        for pod in await self.pods():
            try:
                text = await self._log(pod["metadata"]["name"], {})
            except ConnectError as error:
                text = f"No log: {error}"
            logs[pod["metadata"]["name"]] = Log(text)
        return logs

    async def _log(self, pod: str, params: dict[str, str]) -> str:
        return await kube.fetch_text(self._api, f"pods/{pod}/log", namespace=self.namespace, params=params)
