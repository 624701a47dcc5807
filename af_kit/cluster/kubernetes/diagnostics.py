"""Why pods do not start, from what Kubernetes reports about them.

Kubernetes reports problems in different places:

- a pod that does not fit on any node: in the pod's conditions
- an image that cannot be pulled: in the container's state
- a crash: in the container's last state and its log
- a pod that may not be created (quota, limit range, Pod Security): in the conditions of its Deployment
- if there is no Deployment, Dask's operator is not working
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from af_kit.cluster.kubernetes.api import Refused, error_text

Object = Mapping[str, Any]

_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_SETUP = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Problem:
    """Something that keeps a part of the cluster from running.

    Attributes
    ----------
    subject : str
        The part: ``"The scheduler's pod"``.
    reason : str
        The rest of a sentence that starts with ``subject``, in Kubernetes' own words.
    advice : str
        What the user can do.
    fatal : bool
        Whether it cannot go away by itself.
    log_pod : str
        The pod whose log has details; empty if there is none.
    """

    subject: str
    reason: str
    advice: str
    fatal: bool = False
    log_pod: str = ""

    def __str__(self) -> str:
        return f"{self.subject} {self.reason}. {self.advice}"


def find_problems(component: str, deployments: Sequence[Object], pods: Sequence[Object]) -> list[Problem]:
    """Return the problems of one component of the cluster, fatal ones first.

    Parameters
    ----------
    component : str
        ``"scheduler"`` or ``"worker"``.
    deployments, pods : sequence of mapping
        Its objects, as the API server returns them.
    """
    found = [*_of_deployments(component, deployments), *(one for pod in pods for one in _of_pod(component, pod))]
    return sorted(found, key=lambda problem: not problem.fatal)


def is_ready(pod: Object) -> bool:
    """Return whether a pod's containers run and answer."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def is_terminating(thing: Object) -> bool:
    """Return whether an object is being deleted."""
    return "deletionTimestamp" in thing["metadata"]


def _of_deployments(component: str, deployments: Iterable[Object]) -> Iterable[Problem]:
    for deployment in deployments:
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                yield _not_created(component, str(condition.get("message", condition.get("reason", ""))))


def _not_created(component: str, message: str) -> Problem:
    """Return the problem of a pod that the API server refuses to create."""
    # 'pods "NAME" is forbidden: ' repeats what the sentence says.
    reason = message.partition("is forbidden: ")[2] or message
    if "exceeded quota" in message:
        advice = (
            "Ask for less (memory=, cores=, n_workers=), or remove clusters that you no longer need: "
            "af-kit cluster list."
        )
    elif "violates PodSecurity" in message:
        advice = "The namespace does not allow pods with these privileges: leave them out of pod=."
    elif "limits.cpu" in message or "limits.memory" in message or "must specify" in message or "usage per" in message:
        advice = (
            "The namespace limits what a pod may ask for: change memory= or cores=, or set af_kit.cluster.kubernetes."
        )
    elif "serviceaccount" in message.lower() or "service account" in message.lower():
        advice = "Give an existing one: service_account=."
    else:
        advice = "The site's admin can tell you which rule this is."
    return Problem(f"The {component}'s pod", f"may not be created: {reason.rstrip('.')}", advice)


def _of_pod(component: str, pod: Object) -> Iterable[Problem]:
    if is_terminating(pod):
        return
    subject, status = f"The {component}'s pod", pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield Problem(
                subject,
                f"has no node to run on: {str(condition.get('message', condition.get('reason', ''))).rstrip('.')}",
                "Ask for less (memory=, cores=), check node_selector and tolerations, or wait for room.",
            )
    if status.get("reason") == "Evicted":
        yield Problem(subject, f"was evicted: {status.get('message', '')}", "Its node is short of resources.")
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        yield from _of_container(component, pod["metadata"]["name"], container)


def _of_container(component: str, pod: str, container: Object) -> Iterable[Problem]:
    state, last_state = container.get("state", {}), container.get("lastState", {})
    waiting = state.get("waiting", {})
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", "")).rstrip(".")
    if reason in _IMAGE:
        yield Problem(
            f"The {component}'s image {container['image']}",
            f"cannot be pulled ({reason}{': ' + message if message else ''})",
            "Is its name correct, and may you pull from the registry (image_pull_secrets=)?",
            fatal=reason in ("InvalidImageName", "ErrImageNeverPull"),
        )
    elif reason in _SETUP:
        yield Problem(
            f"The {component}'s container",
            f"cannot be created ({reason}: {message})",
            "Check volumes= and environment=.",
        )
    terminated = state.get("terminated") or last_state.get("terminated")
    if terminated:
        yield _of_terminated(component, pod, terminated)


def _of_terminated(component: str, pod: str, terminated: Object) -> Problem:
    if terminated.get("reason") == "OOMKilled":
        return Problem(
            f"The {component}",
            "was killed by the kernel because it used more memory than its pod's limit (OOMKilled)",
            "Give it more: memory= for workers, af_kit.cluster.kubernetes.scheduler.memory for the scheduler.",
            fatal=True,
        )
    message = str(terminated.get("message", "")).strip()
    details = f" ({' '.join(message.split())})" if message else ""
    return Problem(
        f"The {component}",
        f"ended with exit code {terminated.get('exitCode')}{details}",
        "Its image must have the packages of this session, and the command `dask`.",
        fatal=True,
        log_pod=pod,
    )


def pending_quota(error: Refused) -> list[Problem]:
    """Return the problem if a request was refused only because Kubernetes has not evaluated a new quota yet.

    This can take five minutes if the quota and the definition of DaskCluster are both new.
    """
    if "status unknown for quota" not in str(error):
        return []
    return [
        Problem(
            "A new quota",
            f"has not been evaluated yet: {error_text(error)}",
            "Kubernetes does this within five minutes after a resource is defined: try again then, or have the site's "
            "admin remove the resource from the quota.",
        )
    ]


def refusal_reason(error: Refused, name: str, namespace: str) -> str:
    """Return why the API server refused a cluster's manifest."""
    if error.code == 409:
        return f"Dask cluster {name} already exists in namespace {namespace}: connect('kubernetes', name={name!r})."
    if error.code == 404 and 'namespaces "' in str(error):
        return f"There is no namespace {namespace} in this Kubernetes cluster: {error}."
    if error.code == 404:
        return (
            "This Kubernetes cluster does not know the resource DaskCluster: Dask's operator and its custom resource "
            "definitions are not installed. The kit's Helm chart installs them; see docs/admin-guide.md."
        )
    return f"Kubernetes refuses the Dask cluster {name} in namespace {namespace}: {error_text(error)}."
