"""The network policy of one cluster, for facilities whose chart blocks all connections to Dask pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes.context import SessionContext
from af_kit.cluster.kubernetes.manifest import DASHBOARD_PORT, SCHEDULER_PORT
from af_kit.cluster.kubernetes.permissions import Permission

API_VERSION = "networking.k8s.io/v1"
PERMISSION = Permission("create", "networkpolicies", "networking.k8s.io")
# The hub's spawner sets this label on each user's server; users cannot set it on other pods.
_USER_LABEL = "hub.jupyter.org/username"


def network_policy(cluster: Mapping[str, Any], context: SessionContext) -> dict[str, Any] | None:
    """Return the policy that lets a cluster's pods connect to each other, and its user's servers to the scheduler.

    Parameters
    ----------
    cluster : mapping
        The DaskCluster, as the API server returns it. The policy is removed with it.
    context : SessionContext
        Where this session runs.

    Returns
    -------
    dict or None
        None outside a hub's pod, because the user is unknown there.
    """
    user = context.pod.get("metadata", {}).get("labels", {}).get(_USER_LABEL)
    if user is None:
        return None
    metadata = cluster["metadata"]
    own = {"matchLabels": {"dask.org/cluster-name": metadata["name"]}}
    return {
        "apiVersion": API_VERSION,
        "kind": "NetworkPolicy",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "ownerReferences": [kube.owner_reference(cluster)],
        },
        "spec": {
            "podSelector": own,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": own}]},
                {
                    "from": [{"podSelector": {"matchLabels": {_USER_LABEL: user}}}],
                    "ports": [{"port": port, "protocol": "TCP"} for port in (SCHEDULER_PORT, DASHBOARD_PORT)],
                },
            ],
        },
    }
