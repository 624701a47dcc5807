"""The number of a cluster's workers: what is asked for, or what the load asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from af_kit.cluster.kubernetes import api as kube
from af_kit.errors import ConnectError


async def scale(api: Any, cluster: Mapping[str, Any], n: int, group: str) -> None:
    """Have ``n`` workers in a group of a DaskCluster, whatever the load.

    Raises
    ------
    ConnectError
        Kubernetes refuses.
    """
    name, where = _where(cluster)
    try:
        await kube.request(api, "DELETE", f"daskautoscalers/{name}", **where)
    except kube.Refused as error:
        if error.code not in (403, 404):  # there is none, or nobody who may make one
            raise
    try:
        path, body = f"daskworkergroups/{name}-{group}", {"spec": {"worker": {"replicas": n}}}
        await kube.request(api, "PATCH", path, body=body, **where)
    except kube.Refused as error:
        raise ConnectError(f"The workers {group} of {name} cannot be scaled: {error}") from error


async def adapt(api: Any, cluster: Mapping[str, Any], minimum: int | None, maximum: int | None) -> None:
    """Have the operator follow the load.

    Its autoscaler belongs to the cluster from the start: the operator would see to that a moment later, which is too
    late for a cluster that ends at once.
    """
    name, where = _where(cluster)
    limits = {"cluster": name, "minimum": minimum, "maximum": maximum}
    try:
        await kube.request(api, "PATCH", f"daskautoscalers/{name}", body={"spec": limits}, **where)
    except kube.Refused as error:
        if error.code != 404:
            raise
        labels = {"dask.org/cluster-name": name, "dask.org/component": "autoscaler"}
        metadata = {"name": name, "labels": labels, "ownerReferences": [kube.owner(cluster)]}
        body = {"apiVersion": kube.DASK, "kind": "DaskAutoscaler", "metadata": metadata, "spec": limits}
        await kube.request(api, "POST", "daskautoscalers", body=body, **where)


def _where(cluster: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    metadata = cluster["metadata"]
    return metadata["name"], {"namespace": metadata["namespace"], "version": kube.DASK}
