"""Set the number of a cluster's workers, or let it follow the load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from af_kit.cluster.kubernetes import api as kube
from af_kit.errors import ConnectError


async def scale(api: Any, cluster: Mapping[str, Any], n: int, group: str) -> None:
    """Set the number of workers in a group of a DaskCluster, and stop following the load.

    Raises
    ------
    ConnectError
        Kubernetes refuses.
    """
    name, where = _locate(cluster)
    try:
        await kube.request(api, "DELETE", f"daskautoscalers/{name}", **where)
    except kube.Refused as error:
        if error.code not in (403, 404):  # without permission to create one, or without one, there is none to remove
            raise
    try:
        path, body = f"daskworkergroups/{name}-{group}", {"spec": {"worker": {"replicas": n}}}
        await kube.request(api, "PATCH", path, body=body, **where)
    except kube.Refused as error:
        raise ConnectError(f"The worker group {group} of {name} cannot be scaled: {error}") from error


async def adapt(api: Any, cluster: Mapping[str, Any], minimum: int | None, maximum: int | None) -> None:
    """Have the operator adapt the number of workers to the load.

    The autoscaler gets its owner here. The operator would set it a moment later, which is too late if the cluster ends
    at once.
    """
    name, where = _locate(cluster)
    limits = {"cluster": name, "minimum": minimum, "maximum": maximum}
    try:
        await kube.request(api, "PATCH", f"daskautoscalers/{name}", body={"spec": limits}, **where)
    except kube.Refused as error:
        if error.code != 404:
            raise
        labels = {"dask.org/cluster-name": name, "dask.org/component": "autoscaler"}
        metadata = {"name": name, "labels": labels, "ownerReferences": [kube.owner_reference(cluster)]}
        body = {"apiVersion": kube.DASK, "kind": "DaskAutoscaler", "metadata": metadata, "spec": limits}
        await kube.request(api, "POST", "daskautoscalers", body=body, **where)


def _locate(cluster: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    metadata = cluster["metadata"]
    return metadata["name"], {"namespace": metadata["namespace"], "version": kube.DASK}
