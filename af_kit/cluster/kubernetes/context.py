"""Where this session runs: in a pod of the Kubernetes cluster or outside it; its namespace, its pod and its image."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from af_kit.cluster.kubernetes.api import Refused, owner_reference, request
from af_kit.errors import InputError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# KubeSpawner, which starts users' servers for hubs in Kubernetes, sets these in each server.
_HUB_IMAGE = ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE")


@dataclass(frozen=True)
class SessionContext:
    """Where this session runs.

    Attributes
    ----------
    inside : bool
        Whether it runs in a pod of the Kubernetes cluster, which can look up services by name.
    namespace : str
        Namespace for its Dask clusters.
    pod : mapping
        This session's pod, as the API server returns it. Empty outside, and if the session may not read it.
    """

    inside: bool
    namespace: str
    pod: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> dict[str, Any] | None:
        """The reference with which Kubernetes removes an object together with this session's pod."""
        return owner_reference(self.pod) if self.pod else None


def own_namespace() -> str | None:
    """Return the namespace of the pod in which this process runs, or None outside a pod."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


async def find_context(api: Any, namespace: str | None) -> SessionContext:
    """Return the context of this session.

    Parameters
    ----------
    api : kr8s.asyncio.Api
        Client of the Kubernetes cluster.
    namespace : str or None
        As given or configured; None for the pod's own namespace, or that of the kubeconfig.
    """
    own = own_namespace()
    inside = own is not None and _is_own_server(api.auth.server)
    if not inside:
        return SessionContext(inside=False, namespace=namespace or api.namespace or "default")
    pod: Mapping[str, Any] = {}
    if namespace in (None, own):  # an owner must be in the same namespace
        try:
            pod = await request(api, "GET", f"pods/{socket.gethostname()}", namespace=own)
        except Refused:  # not permitted, or the host has another name: only the idle timeout then removes clusters
            pod = {}
    return SessionContext(inside=True, namespace=namespace or str(own), pod=pod)


def _is_own_server(server: str) -> bool:
    """Return whether this is the API server of this pod's cluster. A kubeconfig may name that of another cluster."""
    host = urlsplit(server).hostname or ""
    own = os.environ.get("KUBERNETES_SERVICE_HOST", "").lower()
    return bool(own) and (host == own or host == "kubernetes" or host.startswith("kubernetes.default"))


def image_for(context: SessionContext, given: str | None, configured: str | None) -> str:
    """Return the image for scheduler and workers: the notebook's, unless another is given or configured.

    Raises
    ------
    InputError
        No image is given or configured, and the session does not run in a hub's pod.
    """
    from_hub = next((os.environ[name] for name in _HUB_IMAGE if os.environ.get(name)), None)
    containers = context.pod.get("spec", {}).get("containers", [])
    notebooks = [item for item in containers if item["name"] == "notebook"] or containers
    image = given or configured or from_hub or (notebooks[0]["image"] if notebooks else None)
    if not image:
        raise InputError(
            "Which image should the workers run? Outside a hub's pod there is no default: give image=, "
            "an image with this session's packages, or set af_kit.cluster.kubernetes.image."
        )
    return str(image)
