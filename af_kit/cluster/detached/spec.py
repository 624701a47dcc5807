"""The cluster that a scheduler process is to start: a file in the cluster's folder, for its owner only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from af_kit.credentials.private_files import write_private

HANDLER = "af_kit_cluster"
"""The scheduler's handler through which a `handle.ClusterHandle` talks to the scheduler process."""


@dataclass(frozen=True)
class ClusterSpec:
    """The cluster to start.

    Attributes
    ----------
    backend, name, job_name, folder, logs : str
        See `registry.Entry`.
    n_workers, adapt, cores, memory, walltime_s, idle_timeout_s
        See `request.Request`.
    detached : bool
        Whether the cluster outlives the process that started it.
    parent : int or None
        The id of the process with which it ends.
    start_s : float
        Seconds until it must have started.
    security : dict
        Arguments of ``distributed.Security``.
    options : dict
        The backend's options, as values that JSON can represent.
    configuration : str
        The session's Dask configuration, serialized by Dask.
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
        """Write the spec to the cluster's folder."""
        write_private(Path(self.folder) / "spec.json", json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> ClusterSpec:
        """Return the spec of the cluster in this folder."""
        return cls(**json.loads((folder / "spec.json").read_text(encoding="utf-8")))
