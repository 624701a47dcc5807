"""The user's permissions in a namespace, checked first because the error of a forbidden request is unclear."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from af_kit.cluster.kubernetes.api import request

_DASK, _APPS = "kubernetes.dask.org", "apps"
# Requests at the same time. Each has its own connection, and opening one takes longer than four answers.
_CONCURRENT = 4


class Permission(NamedTuple):
    """Permission for one verb on one resource."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"


TO_START = (
    *(Permission(verb, "daskclusters", _DASK) for verb in ("get", "list", "create", "delete")),
    *(Permission(verb, "daskworkergroups", _DASK) for verb in ("get", "list", "patch")),
    *(Permission(verb, resource) for resource in ("pods", "services") for verb in ("get", "list")),
)
"""To start a cluster and to scale it."""

TO_ADAPT = tuple(Permission(verb, "daskautoscalers", _DASK) for verb in ("create", "patch", "delete"))
TO_ADD_GROUPS = tuple(Permission(verb, "daskworkergroups", _DASK) for verb in ("create", "delete"))
TO_FORWARD_PORTS = (Permission("get", "pods/portforward"),)
"""Only for sessions outside the Kubernetes cluster."""

TO_DIAGNOSE = (Permission("get", "pods/log"), Permission("list", "deployments", _APPS), Permission("list", "events"))
"""Optional: a cluster starts without these, but error messages have fewer details."""


async def missing(api: Any, namespace: str, permissions: Iterable[Permission]) -> list[Permission]:
    """Return those of ``permissions`` that this session does not have in ``namespace``."""
    permissions = list(permissions)
    limit = asyncio.Semaphore(_CONCURRENT)

    async def check(permission: Permission) -> bool:
        async with limit:
            return await _has(api, namespace, permission)

    granted = await asyncio.gather(*map(check, permissions))
    return [permission for permission, has in zip(permissions, granted, strict=True) if not has]


async def _has(api: Any, namespace: str, permission: Permission) -> bool:
    resource, _, subresource = permission.resource.partition("/")
    attributes = {"namespace": namespace, "verb": permission.verb, "group": permission.group, "resource": resource}
    if subresource:
        attributes["subresource"] = subresource
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await request(
        api, "POST", "selfsubjectaccessreviews", namespace=None, version="authorization.k8s.io/v1", body=review
    )
    return bool(answer["status"]["allowed"])
