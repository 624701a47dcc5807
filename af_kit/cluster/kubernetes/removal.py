"""The end of a Dask cluster: by its session, or by the guard that outlives a session outside the Kubernetes cluster.

The guard knows its cluster by a mark, not by its name: somebody else may have one of that name by then.
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

MARK = "af-kit/session"
"""The annotation by which a cluster's guard knows it."""


async def delete(api: Any, cluster: Mapping[str, Any]) -> bool:
    """Have Kubernetes remove a DaskCluster, as the API server has it; False if it is gone already.

    In the foreground: the pods go first. Otherwise they stay until the operator lets go of the DaskCluster, for which
    it may take a minute if it is just looking at it.
    """
    name, namespace, uid = (cluster["metadata"][key] for key in ("name", "namespace", "uid"))
    how: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
    how["preconditions"] = {"uid": uid}
    where: dict[str, Any] = {"namespace": namespace, "version": kube.DASK}
    with contextlib.suppress(kube.Refused):  # there is none, mostly
        # First, while the scheduler answers: the operator asks it for the autoscaler, and lets go of that afterwards.
        await kube.request(api, "DELETE", f"daskautoscalers/{name}", **where)
    try:
        await kube.request(api, "DELETE", f"daskclusters/{name}", body=how, **where)
    except kube.Refused as error:
        if error.code in (404, 409):  # none of this name, or a later one
            return False
        raise
    return True


def start_guard(cluster: dict[str, Any], context: str) -> subprocess.Popen[bytes]:
    """Have a DaskCluster that is about to be made removed when this process has ended.

    Parameters
    ----------
    cluster : dict
        Its manifest, which gets the mark.
    context : str
        The part of the kubeconfig that is in use; empty for its own choice.
    """
    metadata, mark = cluster["metadata"], secrets.token_hex(8)
    metadata["annotations"] = {**metadata.get("annotations", {}), MARK: mark}
    command = [sys.executable, "-m", __name__, metadata["namespace"], metadata["name"], mark, context]
    return guard.start(None, command, _environment())


def _environment() -> dict[str, str]:
    """This session's, with the same credentials also in another folder."""
    paths = [path for path in os.environ.get("KUBECONFIG", "").split(":") if path]
    absolute = {"KUBECONFIG": ":".join(str(Path(path).expanduser().absolute()) for path in paths)} if paths else {}
    return {**os.environ, **absolute}


async def _delete_marked(namespace: str, name: str, mark: str, context: str) -> None:
    api = await kube.connected(context or None)
    path = f"daskclusters/{name}"
    try:
        cluster = await kube.request(api, "GET", path, namespace=namespace, version=kube.DASK)
    except kube.Refused as error:
        if error.code == 404:
            return
        raise
    metadata = cluster["metadata"]
    if metadata.get("annotations", {}).get(MARK) == mark and "deletionTimestamp" not in metadata:
        await delete(api, cluster)


def main() -> None:
    """For the guard: remove the cluster of a mark; nothing if it is gone."""
    asyncio.run(_delete_marked(*sys.argv[1:]))


if __name__ == "__main__":
    main()
