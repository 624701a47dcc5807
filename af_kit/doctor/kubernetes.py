"""Kubernetes: whether its API server can be reached and what this session may do there, in a pod or from outside.

Without a right, Dask's own object ends in a bare connection error or hangs; asking first costs a tenth of a second.
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

Told = Callable[[str, str, str], Finding]
_ROLE = "The kit's Helm chart has a Role with all of them; ask the site's admin to bind it."


def check_kubernetes(within_s: float, client: Any = None) -> Iterator[Finding]:
    """Egress to the API server and the name service, the rights that `connect` asks for, and whether it knows Dask."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    cluster: Any = getattr(client, "cluster", None)
    is_ours = hasattr(cluster, "manifest")
    wanted = is_ours or setting("cluster.backend") == "kubernetes"
    if not host and not wanted:
        yield ok("Kubernetes", "this session does not run in a pod, and is not configured for it")
        return
    told = problem if wanted else warning  # a pod may have nothing to do with Dask's operator
    if host:
        found = list(_surroundings(host, port, within_s / 2, told))
        yield from found
        if any(finding.state != "ok" for finding in found):
            return
    try:
        answers = asyncio.run(asyncio.wait_for(_ask(cluster.namespace if is_ours else None), within_s))
    except (ConnectError, TimeoutError) as error:
        reason = kube.error_text(error) if isinstance(error, ConnectError) else f"no answer within {within_s:g} s"
        yield told(
            "Kubernetes", reason, "connect('kubernetes') needs it; `kubectl get pods` shows whether it is there."
        )
        return
    except MissingExtraError as error:
        yield told("Kubernetes", "dask-kubernetes is missing", str(error))
        return
    if not host:
        yield ok("Kubernetes", f"the API server {answers.server} answers")
    yield from _rights(answers, told)
    if answers.knows_dask is False:
        advice = "Its operator and its custom resource definitions are not installed: docs/admin-guide.md."
        yield told("Dask in Kubernetes", "Kubernetes does not know what a DaskCluster is", advice)
    if answers.inside and not answers.owner:
        seen = "this pod cannot be found, so Kubernetes does not remove clusters together with it"
        yield warning(
            "lifetime", seen, "Close clients, or give idle_timeout_s. Is the host name another than the pod's?"
        )


def _surroundings(host: str, port: str, within_s: float, told: Told) -> Iterator[Finding]:
    """What a pod needs to speak to the API server; the first that is missing ends it."""
    try:
        socket.create_connection((host, int(port)), timeout=within_s).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "A network policy forbids egress to it: the deployment must allow it to users' pods."
        yield told("egress", f"the API server {host}:{port} cannot be reached ({reason})", advice)
        return
    yield ok("egress", f"the API server {host}:{port} can be reached")
    name = "kubernetes.default.svc"
    try:
        socket.getaddrinfo(name, 443)
    except OSError as error:
        advice = "Egress to the name service (port 53) must be allowed to users' pods."
        yield problem("name service", f"{name} cannot be looked up ({error.strerror})", advice)
        return
    yield ok("name service", f"{name} is known")
    if not (SERVICE_ACCOUNT / "token").exists() and not os.environ.get("KUBECONFIG"):
        advice = "The deployment gives users' pods no account: singleuser.serviceAccountName in the hub's chart."
        yield told("account", f"no token in {SERVICE_ACCOUNT}: this pod may not start clusters", advice)


@dataclass(frozen=True)
class _Answers:
    """What the API server says: the rights that are missing, to make clusters and for more than that."""

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
        "rights to see reasons": permissions.TO_DIAGNOSE,
        "rights for groups of workers": permissions.TO_ADD_GROUPS,
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


def _rights(answers: _Answers, told: Told) -> Iterator[Finding]:
    where = f"in the namespace {answers.namespace}"
    for check, missing in {"rights": answers.needed, **answers.useful}.items():
        if missing:
            seen = f"{where} you may not: {', '.join(map(str, missing))}"
            yield (told if check == "rights" else warning)(check, seen, _ROLE)
        else:
            yield ok(check, f"all there {where}")
