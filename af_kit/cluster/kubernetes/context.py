"""Where this session is: in a pod of the cluster or outside it; in which namespace, with which image."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from af_kit.cluster.kubernetes.api import Refused, owner, request
from af_kit.errors import InputError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Set by KubeSpawner, the spawner of hubs in Kubernetes, in each user's server.
_HUBS_IMAGE = ("JUPYTER_IMAGE_SPEC", "JUPYTER_IMAGE")


@dataclass(frozen=True)
class Place:
    """Where this session is.

    Attributes
    ----------
    inside : bool
        In a pod of the cluster: services are found by their names.
    namespace : str
        Where the Dask cluster goes.
    pod : mapping
        This session's own pod as the API server knows it; empty outside, or without the right to look.
    """

    inside: bool
    namespace: str
    pod: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> dict[str, Any] | None:
        """The reference that makes Kubernetes remove an object together with this session's pod."""
        if not self.pod:
            return None
        return owner(self.pod)


def own_namespace() -> str | None:
    """The namespace of the pod that this process is in; None outside a cluster."""
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


async def find_place(api: Any, namespace: str | None) -> Place:
    """Look around.

    Parameters
    ----------
    api : kr8s.asyncio.Api
        Of the cluster.
    namespace : str or None
        As given or configured; None for this pod's own, or the one that the kubeconfig names.
    """
    own = own_namespace()
    inside = own is not None and _is_own(api.auth.server)
    if not inside:
        return Place(inside=False, namespace=namespace or api.namespace or "default")
    pod: Mapping[str, Any] = {}
    if namespace in (None, own):  # an owner must be in the same namespace
        try:
            pod = await request(api, "GET", f"pods/{socket.gethostname()}", namespace=own)
        except Refused:  # no right to look, or another host name: then the cluster has no owner, and an idle timeout
            pod = {}
    return Place(inside=True, namespace=namespace or str(own), pod=pod)


def _is_own(server: str) -> bool:
    """Whether an API server is that of the cluster that this pod is in: a kubeconfig may name another one's."""
    host = urlsplit(server).hostname or ""
    own = os.environ.get("KUBERNETES_SERVICE_HOST", "").lower()
    return bool(own) and (host == own or host == "kubernetes" or host.startswith("kubernetes.default"))


def image_for(place: Place, given: str | None, configured: str | None) -> str:
    """The image of the scheduler and the workers: the notebook's own, unless another was asked for.

    Raises
    ------
    InputError
        Nobody says which, as outside a cluster.
    """
    from_hub = next((os.environ[name] for name in _HUBS_IMAGE if os.environ.get(name)), None)
    containers = place.pod.get("spec", {}).get("containers", [])
    notebooks = [item for item in containers if item["name"] == "notebook"] or containers
    image = given or configured or from_hub or (notebooks[0]["image"] if notebooks else None)
    if not image:
        raise InputError(
            "Which image shall the workers run? Outside a hub's pod nobody says: give image=, "
            "the one with this session's packages, or set af_kit.cluster.kubernetes.image."
        )
    return str(image)
