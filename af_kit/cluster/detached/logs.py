"""The logs of a cluster, also after its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from af_kit.cluster.detached import registry
from af_kit.errors import InputError


def logs(cluster: Any) -> list[Path]:
    """Return the log files of a cluster: those of its jobs, oldest first, then ``scheduler.log``.

    The files stay when the cluster ends; those of the last ``af_kit.cluster.keep_logs`` clusters are retained. Their
    names contain the job ids.

    Parameters
    ----------
    cluster : str, distributed.Client or Cluster
        The name of a cluster, or a client or cluster from `connect`.

    Raises
    ------
    InputError
        No cluster had this name, or its workers are not jobs.
    """
    cluster = getattr(cluster, "cluster", cluster)
    if isinstance(cluster, str):
        folder = registry.log_folder(registry.check_name(cluster))
    elif hasattr(cluster, "fetch_logs"):  # not in files: the cluster returns them while it runs
        return list(cluster.fetch_logs())
    elif hasattr(cluster, "entry"):
        folder = Path(cluster.entry.logs)
    else:
        raise InputError(
            f"{type(cluster).__name__}: only jobs, and clusters that were started with a name, have log files. "
            "While other workers run, client.get_worker_logs() returns their logs."
        )
    return sorted(folder.glob("*.log"), key=lambda path: (path.name == "scheduler.log", path.stat().st_mtime))
