"""A user's Dask clusters as the API server has them: listed and ended without a word with their schedulers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster.detached import registry
from af_kit.cluster.detached.registry import Entry
from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes import names, removal
from af_kit.cluster.kubernetes.context import find_place
from af_kit.cluster.kubernetes.diagnostics import is_going, is_ready
from af_kit.cluster.kubernetes.manifest import SCHEDULER_PORT
from af_kit.cluster.kubernetes.status import View

OF_THE_KIT = {"app.kubernetes.io/managed-by": "af-kit"}
USER = "dask.org/user"


def entry_of(cluster: Mapping[str, Any], address: str = "", dashboard: str = "", workers: int | None = None) -> Entry:
    """What the registry would know of a DaskCluster, as the API server has it."""
    metadata = cluster["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    owned = metadata.get("ownerReferences") or removal.MARK in metadata.get("annotations", {})
    return Entry(
        name=name,
        backend="kubernetes",
        job_name=name,
        address=address or f"tcp://{name}-scheduler.{namespace}:{SCHEDULER_PORT}",
        dashboard=dashboard,
        host="",  # no process of this user's: Kubernetes has it
        pid=0,
        born=0,
        started=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
        detached=not owned,
        idle_timeout_s=cluster["spec"].get("idleTimeout") or None,
        folder="",
        logs="",
        more={"namespace": namespace, "uid": metadata["uid"], "workers": workers},
    )


def entries() -> list[Entry]:
    """The user's clusters in the namespace in which `connect` would make one.

    Raises
    ------
    ConnectError
        Kubernetes cannot be asked, or does not tell.
    """
    return asyncio.run(_entries())


async def _entries() -> list[Entry]:
    api = await kube.connected()
    place = await find_place(api, config.get("cluster.kubernetes.namespace"))
    labels = {**OF_THE_KIT, USER: names.escaped(names.user())}
    found = await kube.listed(api, "daskclusters", namespace=place.namespace, version=kube.DASK, labels=labels)

    async def entry(cluster: Mapping[str, Any]) -> Entry:
        pods = await View(api, cluster["metadata"]["name"], place.namespace).listed("pods", "worker")
        return entry_of(cluster, workers=sum(is_ready(pod) and not is_going(pod) for pod in pods))

    return list(await asyncio.gather(*(entry(cluster) for cluster in found if not is_going(cluster))))


def end(entry: Entry) -> None:
    """End a cluster, as `connect`'s ``shutdown`` does.

    Raises
    ------
    ConnectError
        Kubernetes cannot be asked, or refuses.
    """

    async def delete() -> None:
        metadata = {"name": entry.name, "namespace": entry.more["namespace"], "uid": entry.more["uid"]}
        await removal.delete(await kube.connected(), {"metadata": metadata})

    asyncio.run(delete())


def fetch_logs(entry: Entry) -> list[Path]:
    """Write the logs of a cluster's pods into files, as long as the pods are there: nobody keeps them.

    Raises
    ------
    ConnectError
        Kubernetes cannot be asked, or does not tell.
    """

    async def fetch() -> Mapping[str, str]:
        return await View(await kube.connected(), entry.name, entry.more["namespace"]).logs()

    return write_logs(entry.name, asyncio.run(fetch()))


def write_logs(name: str, logs: Mapping[str, str]) -> list[Path]:
    """Put the logs of pods where those of other clusters are; ``scheduler.log`` is the scheduler's."""
    folder = registry.base() / "logs" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {"scheduler" if pod.startswith(f"{name}-scheduler-") else pod: text for pod, text in logs.items()}
    return [registry.write_private(folder / f"{pod}.log", f"{text}\n") for pod, text in sorted(files.items())]
