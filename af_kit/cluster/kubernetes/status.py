"""What Kubernetes says of one Dask cluster: its pods, what keeps them from running, their logs."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.utils import Log, Logs

from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes.diagnostics import Obstacle, find_obstacles
from af_kit.errors import ConnectError

# Seconds until the operator has long made a Deployment, if it is at work.
OPERATOR_S = 10.0
# Of the end of a log: lines that are read, and lines that are shown.
_LOG_LINES, _SHOWN_LINES = 200, 12
# What a node gives for the log of a container that it has just removed, as it starts it again: the next one's will do.
_REMOVED = "unable to retrieve container logs"
_LOOKS, _LOOK_S = 4, 1.0


class View:
    """A Dask cluster as the API server sees it.

    Parameters
    ----------
    api : kr8s.asyncio.Api
        From `api.connected`.
    name, namespace : str
        The cluster's.
    """

    def __init__(self, api: Any, name: str, namespace: str) -> None:
        self._api, self.name, self.namespace = api, name, namespace

    async def listed(self, what: str, component: str, version: str = "v1") -> list[dict[str, Any]]:
        """The objects of a kind that belong to its ``scheduler`` or its ``worker``."""
        labels = {"dask.org/cluster-name": self.name, "dask.org/component": component}
        return await kube.listed(self._api, what, namespace=self.namespace, version=version, labels=labels)

    async def pods(self) -> list[dict[str, Any]]:
        """All of its pods."""
        both = await asyncio.gather(self.listed("pods", "scheduler"), self.listed("pods", "worker"))
        return [pod for some in both for pod in some]

    async def deployments(self, component: str) -> list[dict[str, Any]]:
        """What makes its pods; empty without the right to look."""
        try:
            return await self.listed("deployments", component, "apps/v1")
        except kube.Refused:  # without that right there is a reason less
            return []

    async def obstacles(self, component: str) -> list[Obstacle]:
        """Why its pods do not come up."""
        deployments, pods = await asyncio.gather(self.deployments(component), self.listed("pods", component))
        return find_obstacles(component, deployments, pods)

    async def idle_operator(self) -> Obstacle:
        """What to say where the operator has made nothing: its own complaint if there is one."""
        words = ""
        try:
            events = await kube.listed(
                self._api,
                "events",
                namespace=self.namespace,
                fields=f"involvedObject.name={self.name},involvedObject.kind=DaskCluster",
            )
            complaints = [event["message"] for event in events if event.get("type") != "Normal"]
            words = f" It complains: {' '.join(complaints[-1].split())[:300]}." if complaints else ""
        except (kube.Refused, LookupError):
            pass
        return Obstacle(
            "Dask's operator",
            f"has made nothing of this cluster's manifest for {OPERATOR_S:g} s.{words}"
            " Is it installed, does it run, and does it watch this namespace",
            f"Its admin can look: kubectl get pods -A -l app.kubernetes.io/name=dask-kubernetes-operator (namespace "
            f"{self.namespace}).",
            lasting=True,
        )

    async def last_words(self, pod: str) -> str:
        """The end of a container's log, also of one that is started again; empty without the right to read it."""
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(_LOOK_S)
            removed = False
            for previous in ("true", "false"):
                try:
                    text = await self._log(pod, {"tailLines": str(_LOG_LINES), "previous": previous})
                except (kube.Refused, ConnectError):
                    continue
                if text.startswith(_REMOVED):
                    removed = True
                    continue
                # The frames of a traceback are indented, and bury what it is about.
                telling = [line for line in text.splitlines() if line.strip() and not line[0].isspace()]
                if telling:
                    return "\nThe end of its log:\n" + "\n".join(telling[-_SHOWN_LINES:])
            if not removed:
                break
        return ""

    async def logs(self) -> Logs:
        """The logs of its pods, by their names."""
        logs = Logs()
        for pod in await self.pods():
            try:
                text = await self._log(pod["metadata"]["name"], {})
            except ConnectError as error:
                text = f"No log: {error}"
            logs[pod["metadata"]["name"]] = Log(text)
        return logs

    async def _log(self, pod: str, params: dict[str, str]) -> str:
        return await kube.text(self._api, f"pods/{pod}/log", namespace=self.namespace, params=params)
