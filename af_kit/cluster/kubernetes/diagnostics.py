"""Why pods do not come up, from what Kubernetes itself says of them.

What is wrong stands in different places: a pod that cannot be placed in its conditions, an image that cannot be had in
its container's state, a crash in the container's last state and its log, a pod that may not even be made (quota, limit
range, Pod Security) in the Deployment that should make it; and where there is no Deployment, the operator is not at
work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from af_kit.cluster.kubernetes.api import Refused, said

Object = Mapping[str, Any]

_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_SETUP = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Obstacle:
    """What keeps a part of the cluster from running.

    Attributes
    ----------
    what : str
        The part: ``"The scheduler's pod"``.
    reason : str
        Kubernetes' own words, as the end of a sentence that begins with ``what``.
    advice : str
        What the user can do.
    lasting : bool
        Waiting is of no use.
    log_of : str
        The pod whose log tells more; empty if there is none.
    """

    what: str
    reason: str
    advice: str
    lasting: bool = False
    log_of: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.reason}. {self.advice}"


def find_obstacles(what: str, deployments: Sequence[Object], pods: Sequence[Object]) -> list[Obstacle]:
    """What stands in the way of one part of the cluster, the gravest first.

    Parameters
    ----------
    what : str
        ``"scheduler"`` or ``"worker"``.
    deployments, pods : sequence of mapping
        As the API server has them.
    """
    found = [*_of_deployments(what, deployments), *(one for pod in pods for one in _of_pod(what, pod))]
    return sorted(found, key=lambda obstacle: not obstacle.lasting)


def is_ready(pod: Object) -> bool:
    """Whether a pod's containers run and answer."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def is_going(thing: Object) -> bool:
    """Whether an object is being deleted."""
    return "deletionTimestamp" in thing["metadata"]


def _of_deployments(what: str, deployments: Iterable[Object]) -> Iterable[Obstacle]:
    for deployment in deployments:
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                yield _not_made(what, str(condition.get("message", condition.get("reason", ""))))


def _not_made(what: str, message: str) -> Obstacle:
    """A pod that the API server does not let come into being."""
    # 'pods "NAME" is forbidden: ' says nothing that the rest does not.
    words = message.partition("is forbidden: ")[2] or message
    if "exceeded quota" in message:
        advice = "Ask for less (memory=, cores=, n_workers=), or remove what you no longer need: af-kit cluster list."
    elif "violates PodSecurity" in message:
        advice = "The namespace allows only pods that give up these rights: leave out what pod= asks for."
    elif "limits.cpu" in message or "limits.memory" in message or "must specify" in message or "usage per" in message:
        advice = (
            "The namespace limits what a pod may ask for: change memory= or cores=, or set af_kit.cluster.kubernetes."
        )
    elif "serviceaccount" in message.lower() or "service account" in message.lower():
        advice = "Give one that is there: service_account=."
    else:
        advice = "The site's admin can tell which rule that is."
    return Obstacle(f"The {what}'s pod", f"may not be made: {words.rstrip('.')}", advice)


def _of_pod(what: str, pod: Object) -> Iterable[Obstacle]:
    if is_going(pod):
        return
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield Obstacle(
                f"The {what}'s pod",
                f"has no node to run on: {str(condition.get('message', condition.get('reason', ''))).rstrip('.')}",
                "Ask for less (memory=, cores=), check node_selector and tolerations, or wait for room.",
            )
    if status.get("reason") == "Evicted":
        yield Obstacle(f"The {what}'s pod", f"was evicted: {status.get('message', '')}", "Its node is short of room.")
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        yield from _of_container(what, name, container)


def _of_container(what: str, pod: str, container: Object) -> Iterable[Obstacle]:
    state, last = container.get("state", {}), container.get("lastState", {})
    waiting = state.get("waiting", {})
    reason, words = str(waiting.get("reason", "")), str(waiting.get("message", "")).rstrip(".")
    if reason in _IMAGE:
        yield Obstacle(
            f"The {what}'s image {container['image']}",
            f"cannot be had ({reason}{': ' + words if words else ''})",
            "Is the name right, and does the registry know you (image_pull_secrets=)?",
            lasting=reason in ("InvalidImageName", "ErrImageNeverPull"),
        )
    elif reason in _SETUP:
        yield Obstacle(
            f"The {what}'s container", f"cannot be made ({reason}: {words})", "Check volumes= and environment=."
        )
    ended = state.get("terminated") or last.get("terminated")
    if ended:
        yield _ended(what, pod, ended)


def _ended(what: str, pod: str, ended: Object) -> Obstacle:
    if ended.get("reason") == "OOMKilled":
        return Obstacle(
            f"The {what}",
            "was killed by the kernel, as it took more memory than its pod may (OOMKilled)",
            "Give it more: memory= for workers, af_kit.cluster.kubernetes.scheduler.memory for the scheduler.",
            lasting=True,
        )
    message = str(ended.get("message", "")).strip()
    words = f" ({' '.join(message.split())})" if message else ""
    return Obstacle(
        f"The {what}",
        f"ended with exit code {ended.get('exitCode')}{words}",
        "Its image must have the packages of this session, and the command `dask`.",
        lasting=True,
        log_of=pod,
    )


def uncounted(error: Refused) -> list[Obstacle]:
    """What a refusal means that goes away by itself: Kubernetes has not counted yet what a quota is for.

    That may take it five minutes where the definition of a DaskCluster is as new as the quota.
    """
    if "status unknown for quota" not in str(error):
        return []
    return [
        Obstacle(
            "A new quota",
            f"is not counted yet: {said(error)}",
            "Kubernetes does so within five minutes of a kind's definition: try again then, or have the site's admin "
            "take it out of the quota.",
        )
    ]


def why_not_created(error: Refused, name: str, namespace: str) -> str:
    """What a refusal of the cluster's manifest means."""
    if error.code == 409:
        return f"There is a Dask cluster {name} in namespace {namespace} already: connect('kubernetes', name={name!r})."
    if error.code == 404 and 'namespaces "' in str(error):
        return f"There is no namespace {namespace} in this Kubernetes cluster: {error}."
    if error.code == 404:
        return (
            "This Kubernetes cluster does not know what a DaskCluster is: Dask's operator and its custom resource "
            "definitions are not installed. The kit's Helm chart brings them; see docs/admin-guide.md."
        )
    return f"Kubernetes refuses the Dask cluster {name} in namespace {namespace}: {said(error)}."
