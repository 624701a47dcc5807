"""In a pod: whether the API server can be reached, and what this pod may do there.

Without a right, Dask's Kubernetes cluster ends in a bare connection error or hangs; asking first costs a tenth of a
second.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from af_kit.checkup.findings import Finding, ok, problem, warning

__all__ = ["check_pod"]

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Group, resource, verbs. Without the first Dask's operator starts no clusters, without the second nobody learns why.
NEEDED = (
    ("kubernetes.dask.org", "daskclusters", ("get", "list", "create", "delete")),
    ("kubernetes.dask.org", "daskworkergroups", ("get", "list", "patch")),
    ("kubernetes.dask.org", "daskautoscalers", ("create", "patch", "delete")),
    ("", "pods", ("get", "list")),
    ("", "services", ("get", "list")),
)
USEFUL = (
    ("", "pods/log", ("get",)),
    ("apps", "deployments", ("list",)),
    ("", "events", ("list",)),
)


def check_pod(within_s: float, account: Path = ACCOUNT) -> Iterator[Finding]:
    """Egress to the API server and to the name service, and the rights of this pod's account."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        yield ok("Kubernetes", "this session does not run in a pod")
        return
    try:
        socket.create_connection((host, int(port)), timeout=within_s / 2).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "A network policy forbids egress to it: the deployment must allow it to users' pods."
        yield problem("egress", f"the API server {host}:{port} cannot be reached ({reason})", advice)
        return
    yield ok("egress", f"the API server {host}:{port} can be reached")
    yield _names()
    try:
        token = (account / "token").read_text().strip()
        namespace = (account / "namespace").read_text().strip()
    except OSError:
        advice = "The deployment gives users' pods no account: singleuser.serviceAccountName in the hub's chart."
        yield warning("account", f"no token in {account}: this pod may not start clusters", advice)
        return
    try:
        refused = _refused(host, int(port), token, account / "ca.crt", namespace, within_s)
    except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
        yield problem("rights", f"the API server did not tell ({type(error).__name__}: {error})", "Ask its admin.")
        return
    yield from _rights(refused, namespace)


def _names() -> Finding:
    name = "kubernetes.default.svc"
    try:
        socket.getaddrinfo(name, 443)
    except OSError as error:
        advice = "Egress to the name service (port 53) must be allowed to users' pods."
        return problem("name service", f"{name} cannot be looked up ({error.strerror})", advice)
    return ok("name service", f"{name} is known")


def _refused(
    host: str, port: int, token: str, authority: Path, namespace: str, within_s: float
) -> set[tuple[str, str, str]]:
    """Which of the rights this account does not have: it asks about itself, which everybody may."""
    context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    connection = http.client.HTTPSConnection(host, port, timeout=within_s, context=context)
    refused = set()
    try:
        for group, resource, verbs in (*NEEDED, *USEFUL):
            for verb in verbs:
                name, _, part = resource.partition("/")
                attributes = {
                    "namespace": namespace,
                    "verb": verb,
                    "group": group,
                    "resource": name,
                    "subresource": part,
                }
                review = {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": attributes},
                }
                connection.request(
                    "POST",
                    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                    json.dumps(review),
                    {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                )
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if answer.status >= 400:
                    raise ValueError(f"status {answer.status}, {content.get('message', '')}")
                if not content["status"].get("allowed", False):
                    refused.add((group, resource, verb))
    finally:
        connection.close()
    return refused


def _rights(refused: set[tuple[str, str, str]], namespace: str) -> Iterator[Finding]:
    for rights, check, need in ((NEEDED, "rights", True), (USEFUL, "rights to see reasons", False)):
        lines = [
            f"{resource}{f'.{group}' if group else ''} ({', '.join(missing)})"
            for group, resource, verbs in rights
            if (missing := [verb for verb in verbs if (group, resource, verb) in refused])
        ]
        if not lines:
            yield ok(check, f"all there in the namespace {namespace}")
            continue
        advice = "The Role of users' pods needs them; the kit's chart has it."
        seen = f"in the namespace {namespace} this pod may not: {'; '.join(lines)}"
        yield (problem if need else warning)(check, seen, advice)
