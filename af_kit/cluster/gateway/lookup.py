"""Clusters of a gateway that are found again: in this user's registry, and in the list that the gateway keeps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from af_kit.cluster.detached import registry
from af_kit.cluster.gateway.client import Contact, answer, greet, run
from af_kit.cluster.gateway.options import name_of
from af_kit.errors import ConnectError, InputError

if TYPE_CHECKING:
    from af_kit.cluster.gateway.cluster import Cluster

__all__ = ["find", "is_running", "keep"]


def keep(contact: Contact, cluster: Cluster, kept: tuple[str, str, Path, Path], detached: bool, idle_s: Any) -> None:
    """Put the cluster into the registry, with the certificates by which its scheduler is reached."""
    name, job_name, folder, logs = kept
    certificate = str(registry.write_private(folder / "certificate.pem", cluster.security.tls_cert))
    key = str(registry.write_private(folder / "key.pem", cluster.security.tls_key))
    cluster.entry = registry.Entry(
        name=name,
        backend="gateway",
        job_name=job_name,
        address=cluster.scheduler_address,
        dashboard=cluster.dashboard_link or "",
        host="",  # no process of this user's: the gateway has it
        pid=0,
        born=0,
        started=time.time(),
        detached=detached,
        idle_timeout_s=idle_s,
        folder=str(folder),
        logs=str(logs),
        security={"tls_ca_file": certificate, "tls_client_cert": certificate, "tls_client_key": key},
        more={"cluster": cluster.name, **contact.places()},
    )
    registry.save(cluster.entry)


def is_running(entry: registry.Entry) -> bool:
    """Whether a cluster of the registry runs; yes, where the gateway cannot be asked now."""
    import dask_gateway  # noqa: F401 - Dask then knows addresses such as gateway://

    more = entry.more

    async def look() -> bool:
        async with contact.gateway() as gateway:
            found = await answer(contact, gateway.list_clusters(), "list your clusters")
            return more["cluster"] in {report.name for report in found}

    try:
        contact = Contact(more["address"], more["proxy_address"], more["public_address"], None)
        return run(look)
    except (InputError, ConnectError):
        return True


def find(name: str) -> registry.Entry | None:
    """A cluster of the configured gateway, by the name that its user gave or by the gateway's own; None without one.

    The gateway keeps the list, so it is found from every machine, whoever's registry knows it.

    Raises
    ------
    ConnectError
        The gateway cannot be asked.
    """
    contact = Contact(None, None, None, None)

    async def look() -> Any:
        async with contact.gateway() as gateway:
            await greet(contact, gateway)
            return await answer(contact, gateway.list_clusters(), "list your clusters")

    for report in run(look):
        if name in (report.name, name_of(report.options)):
            return registry.Entry(
                name=name,
                backend="gateway",
                job_name=name,
                address=report.scheduler_address or "",
                dashboard=report.dashboard_link or "",
                host="",
                pid=0,
                born=0,
                started=report.start_time.timestamp(),
                detached=True,
                idle_timeout_s=None,
                folder="",
                logs="",
                more={"cluster": report.name, **contact.places()},
            )
    return None
