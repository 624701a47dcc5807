"""What the user may do in a namespace, asked before it is tried: a refused try has no such clear words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from af_kit.cluster.kubernetes.api import request

_DASK, _APPS = "kubernetes.dask.org", "apps"
# Questions at a time: each has a connection of its own, and opening one takes longer than to answer four.
_AT_A_TIME = 4


class Right(NamedTuple):
    """To do something with one kind of objects."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"


NEEDED = (
    *(Right(verb, "daskclusters", _DASK) for verb in ("get", "list", "create", "delete")),
    *(Right(verb, "daskworkergroups", _DASK) for verb in ("get", "list", "patch")),
    *(Right(verb, resource) for resource in ("pods", "services") for verb in ("get", "list")),
)
"""To start a cluster and to scale it."""

FOR_ADAPT = tuple(Right(verb, "daskautoscalers", _DASK) for verb in ("create", "patch", "delete"))
FOR_GROUPS = tuple(Right(verb, "daskworkergroups", _DASK) for verb in ("create", "delete"))
FROM_OUTSIDE = (Right("get", "pods/portforward"),)
FOR_REASONS = (Right("get", "pods/log"), Right("list", "deployments", _APPS), Right("list", "events"))
"""Without these a cluster comes up as well, and one that does not says less."""


async def missing(api: Any, namespace: str, rights: Iterable[Right]) -> list[Right]:
    """Those of ``rights`` that this session does not have in ``namespace``."""
    rights = list(rights)
    turn = asyncio.Semaphore(_AT_A_TIME)

    async def may(right: Right) -> bool:
        async with turn:
            return await _may(api, namespace, right)

    allowed = await asyncio.gather(*map(may, rights))
    return [right for right, may in zip(rights, allowed, strict=True) if not may]


async def _may(api: Any, namespace: str, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": resource}
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
