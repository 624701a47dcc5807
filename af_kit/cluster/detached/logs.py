"""The logs of a cluster's jobs, kept after their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from af_kit.cluster.detached import registry
from af_kit.errors import InputError


def logs(cluster: Any) -> list[Path]:
    """The log files of a cluster: its jobs', oldest first, and that of its scheduler (``scheduler.log``).

    They stay when the cluster ends (``af_kit.cluster.keep_logs`` of them), and are told apart by the job's id.

    Parameters
    ----------
    cluster : str, distributed.Client or Cluster
        A cluster's name, or a client or a cluster that `connect` gave.

    Raises
    ------
    InputError
        There are none: no cluster had this name, or its workers are no jobs.
    """
    cluster = getattr(cluster, "cluster", cluster)
    if isinstance(cluster, str):
        folder = registry.log_folder(registry.check_name(cluster))
    elif hasattr(cluster, "fetch_logs"):  # nobody keeps them: they are had from the cluster itself while it runs
        return list(cluster.fetch_logs())
    elif hasattr(cluster, "entry"):
        folder = Path(cluster.entry.logs)
    else:
        raise InputError(
            f"{type(cluster).__name__}: the kit keeps the logs of jobs, and of clusters that it started with a name. "
            "Those of other workers, as long as they run: client.get_worker_logs()."
        )
    return sorted(folder.glob("*.log"), key=lambda path: (path.name == "scheduler.log", path.stat().st_mtime))
