"""The user's Dask clusters as the API server lists them: list them, end them, fetch their logs.

None of this needs a connection to their schedulers. Functions raise ConnectError if Kubernetes does not answer or
refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster.coroutines import run_sync
from af_kit.cluster.detached import registry
from af_kit.cluster.detached.registry import Entry
from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes import names, removal
from af_kit.cluster.kubernetes.context import find_context
from af_kit.cluster.kubernetes.diagnostics import is_ready, is_terminating
from af_kit.cluster.kubernetes.manifest import SCHEDULER_PORT
from af_kit.cluster.kubernetes.status import ClusterStatus
from af_kit.credentials.private_files import write_private

KIT_LABELS = {"app.kubernetes.io/managed-by": "af-kit"}
USER_LABEL = "dask.org/user"


def to_entry(cluster: Mapping[str, Any], address: str = "", dashboard: str = "", workers: int | None = None) -> Entry:
    """Return the registry entry that describes a DaskCluster of the API server."""
    metadata = cluster["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    owned = metadata.get("ownerReferences") or removal.SESSION_ANNOTATION in metadata.get("annotations", {})
    return Entry(
        name=name,
        backend="kubernetes",
        job_name=name,
        address=address or f"tcp://{name}-scheduler.{namespace}:{SCHEDULER_PORT}",
        dashboard=dashboard,
        host="",  # the scheduler is not a process of this user
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
    """Return the user's clusters in the namespace in which `connect` would start one."""
    return run_sync(_entries)


async def _entries() -> list[Entry]:
    api = await kube.connect()
    namespace = (await find_context(api, config.get("cluster.kubernetes.namespace"))).namespace
    labels = {**KIT_LABELS, USER_LABEL: names.escape(names.user())}
    found = await kube.list_objects(api, "daskclusters", namespace=namespace, version=kube.DASK, labels=labels)

    async def entry(cluster: Mapping[str, Any]) -> Entry:
        pods = await ClusterStatus(api, cluster["metadata"]["name"], namespace).list_objects("pods", "worker")
        return to_entry(cluster, workers=sum(is_ready(pod) and not is_terminating(pod) for pod in pods))

    return list(await asyncio.gather(*(entry(cluster) for cluster in found if not is_terminating(cluster))))


def end(entry: Entry) -> None:
    """End a cluster, as its ``shutdown`` method does."""

    async def delete() -> None:
        metadata = {"name": entry.name, "namespace": entry.more["namespace"], "uid": entry.more["uid"]}
        await removal.delete(await kube.connect(), {"metadata": metadata})

    run_sync(delete)


def fetch_logs(entry: Entry) -> list[Path]:
    """Write the logs of a cluster's pods to files. Kubernetes removes a log together with its pod."""

    async def fetch() -> Mapping[str, str]:
        return await ClusterStatus(await kube.connect(), entry.name, entry.more["namespace"]).logs()

    return write_logs(entry.name, run_sync(fetch))


def write_logs(name: str, logs: Mapping[str, str]) -> list[Path]:
    """Write the logs of pods below the registry's folder; ``scheduler.log`` is the scheduler's."""
    folder = registry.base() / "logs" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {"scheduler" if pod.startswith(f"{name}-scheduler-") else pod: text for pod, text in logs.items()}
    return [write_private(folder / f"{pod}.log", f"{text}\n") for pod, text in sorted(files.items())]
