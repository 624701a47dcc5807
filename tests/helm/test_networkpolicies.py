"""Who reaches whom: the policies of the chart and of connect(), evaluated for each pair of pods and port.

Small clusters for tests store such policies and do not enforce them, so their meaning is looked at here.
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


# Who may open a connection to a port of whom; whatever is not here is closed.
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
def test_who_reaches(target, port):
    rules = policies()
    who = {pod.name for pod in PODS if pod.name != target or pod.labels}
    found = {name for name in who if allowed(rules, NAMED[name], NAMED[target], port)}
    assert found == TABLE[target][port]


def test_names_are_found_by_all():
    dns = Pod("dns", {"k8s-app": "kube-dns"}, namespace="kube-system")
    for pod in PODS:
        if pod.labels:
            assert allowed(policies(), pod, dns, 53, "UDP"), pod.name


def test_schedulers_open_to_all_users_where_a_site_wants_it():
    rules = [item for item in rendered({"networkPolicy": {"schedulers": "users"}}) if item["kind"] == "NetworkPolicy"]
    assert allowed(rules, NAMED["server of bob"], NAMED["scheduler of alice"], 8786)
    assert allowed(rules, NAMED["worker of alice"], NAMED["scheduler of alice"], 8786)
    assert not allowed(rules, NAMED["hub"], NAMED["scheduler of alice"], 8786)


def test_without_connects_policy_a_scheduler_is_closed():
    rules = [item for item in rendered() if item["kind"] == "NetworkPolicy"]
    assert not allowed(rules, NAMED["server of alice"], NAMED["scheduler of alice"], 8786)


def test_outside_a_hub_connect_makes_no_policy():
    assert network_policy({"metadata": {}}, SessionContext(inside=False, namespace=NAMESPACE)) is None
