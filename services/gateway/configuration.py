"""The gateway's configuration, as an admin would write it for one machine; the server executes it.

The variable ``AF_KIT_GATEWAY`` is the service's scratch folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from dask_gateway_server.options import Float, Integer, Mapping, Options

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821 - defined by the server

folder = Path(os.environ["AF_KIT_GATEWAY"])
ports = json.loads((folder / "ports.json").read_text())

c.DaskGateway.address = f"127.0.0.1:{ports['private']}"
c.Proxy.address = f"127.0.0.1:{ports['http']}"
c.Proxy.tcp_address = f"127.0.0.1:{ports['tcp']}"

# Anybody who knows the password can log in under any name: enough for one machine, and a wrong password is refused.
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = (folder / "password").read_text().strip()

# Processes of this user. Never LocalBackend: as root, it changes the owner of other folders.
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
(folder / "clusters").mkdir(mode=0o700, exist_ok=True)
c.UnsafeLocalBackend.clusters_directory = str(folder / "clusters")
c.UnsafeLocalBackend.sigint_timeout = 3
c.UnsafeLocalBackend.sigterm_timeout = 3
# Short periods, because clusters only live for seconds here.
c.UnsafeLocalBackend.cluster_heartbeat_period = 1
c.UnsafeLocalBackend.cluster_heartbeat_timeout = 30  # a busy machine may be late
c.UnsafeLocalBackend.cluster_status_period = 1
c.UnsafeLocalBackend.worker_status_period = 1
c.ClusterConfig.adaptive_period = 0.5

# Dask does not install the gateway's defaults, the commands dask-scheduler and dask-worker.
dask = str(Path(sys.executable).with_name("dask"))
c.ClusterConfig.scheduler_cmd = [dask, "scheduler"]
c.ClusterConfig.worker_cmd = [dask, "worker", "--host", "127.0.0.1"]

c.ClusterConfig.cluster_max_workers = 4
c.ClusterConfig.cluster_max_cores = 5  # including the scheduler's


def _settings(options: Any) -> dict[str, Any]:
    return {
        "worker_cores": options.worker_cores,
        "worker_memory": int(options.worker_memory * 2**30),
        "environment": {name: str(value) for name, value in options.environment.items()},
        "idle_timeout": options.idle_timeout,
    }


c.Backend.cluster_options = Options(
    Integer("worker_cores", default=1, min=1, max=2, label="Cores of a worker"),
    Float("worker_memory", default=1, min=0.25, max=4, label="Memory of a worker (GiB)"),
    Mapping("environment", default={}, label="Environment variables"),
    Float("idle_timeout", default=0, min=0, max=3600, label="Seconds without work until the cluster ends"),
    handler=_settings,
)
