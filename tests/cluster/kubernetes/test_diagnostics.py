from __future__ import annotations

import pytest

from af_kit.cluster.kubernetes.api import Refused
from af_kit.cluster.kubernetes.diagnostics import find_problems, is_ready, pending_quota, refusal_reason


def pod(conditions=(), state=None, last=None) -> dict:
    container = {"name": "worker", "image": "kit:1", "state": state or {}, "lastState": last or {}}
    return {"metadata": {"name": "p"}, "status": {"conditions": list(conditions), "containerStatuses": [container]}}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient memory.",
}


def waiting(reason: str, message: str) -> dict:
    return pod(state={"waiting": {"reason": reason, "message": message}})


@pytest.mark.parametrize(
    ("pod", "message", "fatal"),
    [
        (pod([UNSCHEDULABLE]), "no node to run on: 0/1 nodes are available: 1 Insufficient memory", False),
        (waiting("ErrImagePull", "not found"), "image kit:1 cannot be pulled", False),
        (waiting("InvalidImageName", "x"), "InvalidImageName: x", True),
        (waiting("CreateContainerConfigError", "no secret"), "no secret", False),
        (pod(state={"terminated": {"exitCode": 3, "reason": "Error"}}), "ended with exit code 3", True),
        (pod(last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "OOMKilled", True),
    ],
)
def test_the_problem_of_a_pod(pod, message, fatal):
    (problem,) = find_problems("worker", [], [pod])
    assert message in str(problem)
    assert problem.fatal is fatal
    assert str(problem).rstrip().endswith((".", "?"))


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ('pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1', "Ask for less"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": ...', "does not allow pods with these"),
        ('pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi', "limits what a pod may"),
        ('pods "x" is forbidden: error looking up service account u/x: not found', "service_account="),
    ],
)
def test_a_pod_that_may_not_be_created(message, advice):
    deployment = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}}
    (problem,) = find_problems("worker", [deployment], [])
    assert advice in problem.advice
    assert message.partition("forbidden: ")[2].rstrip(".") in str(problem)


def test_fatal_problems_come_first_and_pods_that_are_deleted_do_not_count():
    crashed = pod(state={"terminated": {"exitCode": 1}})
    found = find_problems("worker", [], [pod([UNSCHEDULABLE]), crashed])
    assert [problem.fatal for problem in found] == [True, False]
    terminating = {**crashed, "metadata": {"name": "p", "deletionTimestamp": "now"}}
    assert not find_problems("worker", [], [terminating])
    assert not is_ready(crashed)
    assert is_ready(pod([{"type": "Ready", "status": "True"}]))


def test_a_quota_that_is_not_evaluated_yet_is_not_a_refusal():
    message = 'daskclusters "dask-a" is forbidden: status unknown for quota: af-kit, resources: count/daskclusters'
    (problem,) = pending_quota(Refused(message, 403))
    assert "status unknown for quota: af-kit" in str(problem)
    assert pending_quota(Refused("exceeded quota: af-kit", 403)) == []


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("exceeded quota: af-kit", 403, "Kubernetes refuses the Dask cluster dask-a in namespace af: exceeded quota"),
        ("exists", 409, "connect('kubernetes', name='dask-a')"),
        ('namespaces "af" not found', 404, "no namespace af"),
        ("the server could not find the requested resource", 404, "does not know the resource DaskCluster"),
    ],
)
def test_why_the_api_server_refused_a_cluster(message, code, reason):
    assert reason in refusal_reason(Refused(message, code), "dask-a", "af")
