"""Delete a Dask cluster: by its session, or by a guard process after the session was killed.

Sessions outside the Kubernetes cluster have a guard. It identifies its cluster by an annotation, because another
cluster may have the same name by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from af_kit.cluster.detached import guard
from af_kit.cluster.kubernetes import api as kube

SESSION_ANNOTATION = "af-kit/session"
"""The annotation by which a guard identifies its cluster."""


async def delete(api: Any, cluster: Mapping[str, Any]) -> bool:
    """Have Kubernetes delete a DaskCluster of the API server. Return False if it is already gone.

    The deletion is in the foreground, so that pods go first. Otherwise they stay until the operator releases the
    DaskCluster, which may take a minute if it is just handling it.
    """
    name, namespace, uid = (cluster["metadata"][key] for key in ("name", "namespace", "uid"))
    how: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
    how["preconditions"] = {"uid": uid}
    where: dict[str, Any] = {"namespace": namespace, "version": kube.DASK}
    with contextlib.suppress(kube.Refused):  # most clusters have no autoscaler
        # It goes first, while the scheduler answers: the operator asks the scheduler before it releases an autoscaler.
        await kube.request(api, "DELETE", f"daskautoscalers/{name}", **where)
    try:
        await kube.request(api, "DELETE", f"daskclusters/{name}", body=how, **where)
    except kube.Refused as error:
        if error.code in (404, 409):  # none of this name, or a later one
            return False
        raise
    return True


def start_guard(manifest: dict[str, Any], kube_context: str) -> subprocess.Popen[bytes]:
    """Start a process that deletes a DaskCluster when this process has ended. Call it before creating the cluster.

    Parameters
    ----------
    manifest : dict
        Manifest of the cluster. It gets the annotation.
    kube_context : str
        The context of the kubeconfig that is in use; empty for its current one.
    """
    metadata, token = manifest["metadata"], secrets.token_hex(8)
    metadata["annotations"] = {**metadata.get("annotations", {}), SESSION_ANNOTATION: token}
    command = [sys.executable, "-m", __name__, metadata["namespace"], metadata["name"], token, kube_context]
    return guard.start(None, command, _environment())


def _environment() -> dict[str, str]:
    """Return this process's environment with absolute paths in $KUBECONFIG: the guard runs in another folder."""
    paths = [path for path in os.environ.get("KUBECONFIG", "").split(":") if path]
    absolute = {"KUBECONFIG": ":".join(str(Path(path).expanduser().absolute()) for path in paths)} if paths else {}
    return {**os.environ, **absolute}


async def _delete_annotated(namespace: str, name: str, token: str, kube_context: str) -> None:
    api = await kube.connect(kube_context or None)
    path = f"daskclusters/{name}"
    try:
        cluster = await kube.request(api, "GET", path, namespace=namespace, version=kube.DASK)
    except kube.Refused as error:
        if error.code == 404:
            return
        raise
    metadata = cluster["metadata"]
    if metadata.get("annotations", {}).get(SESSION_ANNOTATION) == token and "deletionTimestamp" not in metadata:
        await delete(api, cluster)


def main() -> None:
    """Delete the guard's cluster, if it still exists."""
    asyncio.run(_delete_annotated(*sys.argv[1:]))


if __name__ == "__main__":
    main()
