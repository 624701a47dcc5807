"""Check Kubernetes, from a pod or from outside: the API server answers, and this session has the permissions it needs.

Without a permission, Dask's own cluster object fails with a bare connection error, or hangs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from af_kit.cluster.kubernetes import api as kube
from af_kit.cluster.kubernetes import permissions, proxy_secret
from af_kit.cluster.kubernetes.context import SERVICE_ACCOUNT, find_context
from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem, warning
from af_kit.errors import ConnectError, MissingExtraError

__all__ = ["check_kubernetes"]

Severity = Callable[[str, str, str], Finding]
_ROLE = "Ask the site's admin for them; the kit's Helm chart has a Role with all of them."


def check_kubernetes(within_s: float, client: Any = None) -> Iterator[Finding]:
    """Check egress to the API server and DNS, the permissions that `connect` needs, and Dask's operator."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    cluster: Any = getattr(client, "cluster", None)
    is_ours = hasattr(cluster, "manifest")
    wanted = is_ours or setting("cluster.backend") == "kubernetes"
    if not host and not wanted:
        yield ok("Kubernetes", "this session does not run in a pod, and Kubernetes is not the configured backend")
        return
    severity = problem if wanted else warning  # a pod may not use Dask's operator at all
    if host:
        found = list(_egress(host, port, within_s / 2, severity))
        yield from found
        if any(finding.state != "ok" for finding in found):
            return
    try:
        answers = asyncio.run(asyncio.wait_for(_ask(cluster.namespace if is_ours else None), within_s))
    except (ConnectError, TimeoutError) as error:
        reason = kube.error_text(error) if isinstance(error, ConnectError) else f"no answer within {within_s:g} s"
        yield severity("Kubernetes", reason, "connect('kubernetes') needs it. Check the access: `kubectl get pods`.")
        return
    except MissingExtraError as error:
        yield severity("Kubernetes", "dask-kubernetes is missing", str(error))
        return
    if not host:
        yield ok("Kubernetes", f"the API server {answers.server} answers")
    yield from _permissions(answers, severity)
    if answers.knows_dask is False:
        advice = "Dask's operator and its custom resource definitions are not installed: see docs/admin-guide.md."
        yield severity("Dask in Kubernetes", "Kubernetes does not know the kind DaskCluster", advice)
    if answers.inside and not answers.owner:
        seen = "this pod was not found by its host name, so Kubernetes does not remove clusters when the pod ends"
        yield warning(
            "lifetime", seen, "Close clients, or give idle_timeout_s. Check that the host name is the pod's name."
        )


def _egress(host: str, port: str, within_s: float, severity: Severity) -> Iterator[Finding]:
    """Check what a pod needs to reach the API server, up to the first failure."""
    try:
        socket.create_connection((host, int(port)), timeout=within_s).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "A network policy blocks it: the deployment must allow this egress to users' pods."
        yield severity("egress", f"the API server {host}:{port} cannot be reached ({reason})", advice)
        return
    yield ok("egress", f"the API server {host}:{port} can be reached")
    name = "kubernetes.default.svc"
    try:
        socket.getaddrinfo(name, 443)
    except OSError as error:
        advice = "The deployment must allow users' pods egress to DNS (port 53)."
        yield problem("name service", f"{name} cannot be looked up ({error.strerror})", advice)
        return
    yield ok("name service", f"{name} can be looked up")
    if not (SERVICE_ACCOUNT / "token").exists() and not os.environ.get("KUBECONFIG"):
        advice = (
            "The deployment must give users' pods a service account: singleuser.serviceAccountName in the hub's chart."
        )
        yield severity("account", f"no token in {SERVICE_ACCOUNT}: this pod cannot start clusters", advice)


@dataclass(frozen=True)
class _Answers:
    """Answers of the API server, with the missing permissions: those that clusters need, and other useful ones."""

    server: str
    namespace: str
    inside: bool
    owner: bool
    needed: list[permissions.Permission]
    useful: dict[str, list[permissions.Permission]]
    knows_dask: bool | None


async def _ask(namespace: str | None) -> _Answers:
    api = await kube.connect()
    place = await find_context(api, namespace or setting("cluster.kubernetes")["namespace"])
    needed = [*permissions.TO_START, *permissions.TO_ADAPT, *(() if place.inside else permissions.TO_FORWARD_PORTS)]
    if setting("cluster.kubernetes")["proxy_secret"]:
        needed += proxy_secret.PERMISSIONS
    useful = {
        "permissions to diagnose": permissions.TO_DIAGNOSE,
        "permissions to add worker groups": permissions.TO_ADD_GROUPS,
    }

    async def missing(some: Any) -> list[permissions.Permission]:
        return await permissions.missing(api, place.namespace, some)

    first, *others = await asyncio.gather(missing(needed), *map(missing, useful.values()))
    knows: bool | None = True
    try:
        await kube.request(
            api, "GET", "daskclusters", namespace=place.namespace, version=kube.DASK, params={"limit": "1"}
        )
    except kube.Refused as error:
        knows = False if error.code == 404 else None
    return _Answers(
        server=str(api.auth.server),
        namespace=place.namespace,
        inside=place.inside,
        owner=place.owner is not None,
        needed=first,
        useful=dict(zip(useful, others, strict=True)),
        knows_dask=knows,
    )


def _permissions(answers: _Answers, severity: Severity) -> Iterator[Finding]:
    where = f"in the namespace {answers.namespace}"
    for check, missing in {"permissions": answers.needed, **answers.useful}.items():
        if missing:
            seen = f"{where} you may not: {', '.join(map(str, missing))}"
            yield (severity if check == "permissions" else warning)(check, seen, _ROLE)
        else:
            yield ok(check, f"all granted {where}")
