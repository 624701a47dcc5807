"""Find clusters of a gateway again: in this user's registry, and in the gateway's own list."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit.cluster.detached import registry
from af_kit.cluster.gateway.client import GatewayClient
from af_kit.cluster.gateway.options import user_given_name
from af_kit.credentials.private_files import write_private
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from af_kit.cluster.gateway.cluster import Cluster

__all__ = ["find", "is_running", "register"]


def register(
    client: GatewayClient,
    cluster: Cluster,
    reserved: tuple[str, str, Path, Path],
    *,
    detached: bool,
    idle_timeout_s: float | None,
) -> None:
    """Save a cluster in the registry, with the certificates for its scheduler, and set ``cluster.entry``.

    ``reserved`` is from ``registry.reserve``.
    """
    name, job_name, folder, logs = reserved
    certificate = str(write_private(folder / "certificate.pem", cluster.security.tls_cert))
    key = str(write_private(folder / "key.pem", cluster.security.tls_key))
    cluster.entry = _entry(
        client,
        cluster,
        name=name,
        job_name=job_name,
        started=time.time(),
        detached=detached,
        idle_timeout_s=idle_timeout_s,
        folder=str(folder),
        logs=str(logs),
        security={"tls_ca_file": certificate, "tls_client_cert": certificate, "tls_client_key": key},
    )
    registry.save(cluster.entry)


def is_running(entry: registry.Entry) -> bool:
    """Return whether the gateway has the cluster of an entry; True if the gateway does not answer."""
    import dask_gateway  # noqa: F401 - lets Dask use addresses such as gateway://

    try:
        client = GatewayClient.of_entry(entry)
        return entry.more["cluster"] in {report.name for report in client.run(client.clusters)}
    except (InputError, ConnectError):
        return True


def find(name: str) -> registry.Entry | None:
    """Return a cluster of the configured gateway by its user's name for it or the gateway's, or None.

    The gateway has the list, so this finds clusters that were started on any machine.

    Raises
    ------
    ConnectError
        The gateway does not answer, or refuses.
    """
    client = GatewayClient()

    async def list_clusters() -> list[Any]:
        await client.check()
        return await client.clusters()

    for report in client.run(list_clusters):
        if name in (report.name, user_given_name(report.options)):
            started = report.start_time.timestamp()
            return _entry(client, report, name=name, job_name=name, started=started, detached=True)
    return None


def _entry(client: GatewayClient, cluster: Any, **fields: Any) -> registry.Entry:
    """Return an entry for a cluster or a report on it."""
    without_files = {"idle_timeout_s": None, "folder": "", "logs": ""}
    return registry.Entry(
        backend="gateway",
        address=cluster.scheduler_address or "",
        dashboard=cluster.dashboard_link or "",
        host="",  # the scheduler is not a process of this user
        pid=0,
        born=0,
        more={"cluster": cluster.name, **client.addresses()},
        **{**without_files, **fields},
    )
