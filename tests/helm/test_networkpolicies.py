"""The network policies of the chart and of connect(), evaluated for each pair of pods and port.

Small test clusters store policies but do not enforce them, so the tests evaluate them here.
"""

from __future__ import annotations

from typing import Any

import pytest
from helm_tools import NAMESPACE, Pod, allowed, rendered

from af_kit.cluster.kubernetes.context import SessionContext
from af_kit.cluster.kubernetes.network_policy import network_policy

USER, CLUSTER, COMPONENT = "hub.jupyter.org/username", "dask.org/cluster-name", "dask.org/component"


def server(user: str) -> Pod:
    return Pod(f"server of {user}", {"component": "singleuser-server", USER: user})


def dask(user: str, component: str) -> Pod:
    return Pod(f"{component} of {user}", {CLUSTER: f"dask-{user}", COMPONENT: component, "dask.org/user": user})


PODS = [
    *(server(user) for user in ("alice", "bob")),
    *(dask(user, component) for user in ("alice", "bob") for component in ("scheduler", "worker")),
    Pod("hub", {"component": "hub"}),
    Pod("operator", {"app.kubernetes.io/name": "dask-kubernetes-operator"}, namespace="dask-operator"),
    Pod("stranger", {COMPONENT: "scheduler", USER: "alice", CLUSTER: "dask-alice"}, namespace="elsewhere"),
    Pod("API server", address="10.96.0.1"),
    Pod("storage", address="188.184.1.1"),
    Pod("metadata server", address="169.254.169.254"),
]
NAMED = {pod.name: pod for pod in PODS}


def cluster_policy(user: str) -> dict[str, Any]:
    cluster = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": f"dask-{user}", "namespace": NAMESPACE, "uid": "1"},
    }
    pod = {"metadata": {"labels": dict(server(user).labels), "name": "jupyter", "uid": "2"}}
    policy = network_policy(cluster, SessionContext(inside=True, namespace=NAMESPACE, pod=pod))
    assert policy is not None
    return policy


def policies(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    ours = [item for item in rendered(values) if item["kind"] == "NetworkPolicy"]
    assert len(ours) == 2
    return [*ours, *(cluster_policy(user) for user in ("alice", "bob"))]


# The pods that may connect to a port of a target; all others may not.
TABLE = {
    "scheduler of alice": {
        8786: {"server of alice", "scheduler of alice", "worker of alice", "operator"},
        8787: {"server of alice", "scheduler of alice", "worker of alice", "operator"},
        22: {"scheduler of alice", "worker of alice"},
    },
    "worker of alice": {
        8786: {"scheduler of alice", "worker of alice", "operator"},
        40000: {"scheduler of alice", "worker of alice"},
    },
    "scheduler of bob": {8786: {"server of bob", "scheduler of bob", "worker of bob", "operator"}},
    "API server": {
        443: {pod.name for pod in PODS} - {"API server"},
        22: {pod.name for pod in PODS} - {"API server", "server of alice", "server of bob"},
    },
    "storage": {
        1094: {pod.name for pod in PODS} - {"storage", "server of alice", "server of bob"},
        443: {pod.name for pod in PODS} - {"storage"},
    },
    "metadata server": {
        80: {pod.name for pod in PODS if COMPONENT not in pod.labels or pod.namespace != NAMESPACE}
        - {"metadata server", "server of alice", "server of bob"},
    },
}


@pytest.mark.parametrize(("target", "port"), [(target, port) for target, ports in TABLE.items() for port in ports])
def test_only_the_listed_pods_can_connect(target, port):
    rules = policies()
    sources = {pod.name for pod in PODS if pod.name != target or pod.labels}
    found = {name for name in sources if allowed(rules, NAMED[name], NAMED[target], port)}
    assert found == TABLE[target][port]


def test_all_pods_can_use_dns():
    dns = Pod("dns", {"k8s-app": "kube-dns"}, namespace="kube-system")
    for pod in PODS:
        if pod.labels:
            assert allowed(policies(), pod, dns, 53, "UDP"), pod.name


def test_a_site_can_open_schedulers_to_all_users():
    rules = [item for item in rendered({"networkPolicy": {"schedulers": "users"}}) if item["kind"] == "NetworkPolicy"]
    assert allowed(rules, NAMED["server of bob"], NAMED["scheduler of alice"], 8786)
    assert allowed(rules, NAMED["worker of alice"], NAMED["scheduler of alice"], 8786)
    assert not allowed(rules, NAMED["hub"], NAMED["scheduler of alice"], 8786)


def test_a_scheduler_is_closed_without_the_policy_of_connect():
    rules = [item for item in rendered() if item["kind"] == "NetworkPolicy"]
    assert not allowed(rules, NAMED["server of alice"], NAMED["scheduler of alice"], 8786)


def test_connect_creates_no_policy_outside_a_hub():
    assert network_policy({"metadata": {}}, SessionContext(inside=False, namespace=NAMESPACE)) is None
