"""What a cluster's head process is told: a file in the cluster's folder, for its owner only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from af_kit.cluster.detached.registry import write_private

# The scheduler's handler by which `handle.ClusterHandle` speaks to the `head` process.
HANDLER = "af_kit_cluster"


@dataclass(frozen=True)
class ClusterSpec:
    """The cluster to start.

    Attributes
    ----------
    backend, name, job_name : str
        See `registry.Entry`.
    folder, logs : str
        The cluster's own folder, and that of its logs.
    n_workers, adapt : int or None, list of two int or None
        Workers to start with, and their limits where they follow the load.
    cores, memory, walltime_s : int or None
        Of each worker, as they were asked for.
    idle_timeout_s : float or None
        Seconds without a task until it ends by itself.
    detached : bool
        Whether it outlives the process that started it.
    parent : int or None
        That process.
    start_s : float
        Seconds until it must have started.
    security : dict
        Arguments of ``distributed.Security``.
    options : dict
        The kind's own, in words that JSON knows.
    configuration : str
        Dask's configuration of the session, serialised by Dask.
    """

    backend: str
    name: str
    job_name: str
    folder: str
    logs: str
    n_workers: int | None
    adapt: tuple[int, int] | None
    cores: int | None
    memory: int | None
    walltime_s: int | None
    idle_timeout_s: float | None
    detached: bool
    parent: int | None
    start_s: float
    security: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    configuration: str = ""

    def write(self) -> None:
        """Put it where the head process reads it."""
        write_private(Path(self.folder) / "spec.json", json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> ClusterSpec:
        """The spec of the cluster in this folder."""
        return cls(**json.loads((folder / "spec.json").read_text(encoding="utf-8")))
