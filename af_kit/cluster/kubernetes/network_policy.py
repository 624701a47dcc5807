"""Who may reach the pods of one cluster, where the facility's chart closes them to all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes import permissions
from af_kit.cluster.kubernetes.context import Place
from af_kit.cluster.kubernetes.manifest import DASHBOARD_PORT, SCHEDULER_PORT

VERSION = "networking.k8s.io/v1"
RIGHT = permissions.Right("create", "networkpolicies", "networking.k8s.io")
# Set by the hub's spawner on each user's server; users cannot give it to other pods.
_USER = "hub.jupyter.org/username"


def network_policy(cluster: Mapping[str, Any], place: Place) -> dict[str, Any] | None:
    """The policy that lets a cluster's pods reach each other, and its owner's servers reach the scheduler.

    Parameters
    ----------
    cluster : mapping
        The DaskCluster as the API server has it: the policy goes with it.
    place : Place
        Where this session is.

    Returns
    -------
    dict or None
        None where nobody can say who the owner is: outside a hub's pod.
    """
    owner = place.pod.get("metadata", {}).get("labels", {}).get(_USER)
    if owner is None:
        return None
    metadata = cluster["metadata"]
    own = {"matchLabels": {"dask.org/cluster-name": metadata["name"]}}
    return {
        "apiVersion": VERSION,
        "kind": "NetworkPolicy",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "ownerReferences": [kube.owner(cluster)],
        },
        "spec": {
            "podSelector": own,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": own}]},
                {
                    "from": [{"podSelector": {"matchLabels": {_USER: owner}}}],
                    "ports": [{"port": port, "protocol": "TCP"} for port in (SCHEDULER_PORT, DASHBOARD_PORT)],
                },
            ],
        },
    }
