"""``connect("slurm")``: workers as Slurm jobs. In the notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from af_kit import config
from af_kit.cluster.backends import DetachedBackend
from af_kit.cluster.batch.command import require
from af_kit.cluster.detached import launch
from af_kit.cluster.request import Request, lines

if TYPE_CHECKING:
    from distributed.deploy.spec import SpecCluster

    from af_kit.cluster.detached.handle import ClusterHandle
    from af_kit.cluster.detached.spec import ClusterSpec

__all__ = ["Slurm"]


class Slurm(DetachedBackend):
    """Workers as Slurm jobs; the scheduler is a process on this machine."""

    timeout_key = "cluster.batch.timeout_s"

    def start(
        self,
        request: Request,
        *,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        reservation: str | None = None,
        constraint: str | None = None,
        directives: Sequence[str] | None = None,
        prologue: Sequence[str] | None = None,
        python: str | None = None,
        environment: Mapping[str, Any] | None = None,
        local_directory: str | None = None,
    ) -> ClusterHandle:
        """Start a scheduler on this machine, and submit a job for each worker.

        Parameters
        ----------
        request : Request
            The common options of `connect`; one worker by default.
        partition, account, qos, reservation, constraint : str, optional
            Options of ``sbatch`` (defaults: ``af_kit.cluster.slurm``).
        directives : sequence of str, optional
            Additional ``#SBATCH`` lines such as ``"--exclusive"``, after the configured ones.
        prologue : sequence of str, optional
            Shell commands that a job runs before its worker, after those in ``af_kit.cluster.batch.prologue``.
        python : str, optional
            The Python interpreter of the workers (default: this session's).
        environment : mapping, optional
            Environment variables of the workers, in addition to ``af_kit.cluster.environment``; None removes one.
        local_directory : str, optional
            Folder on the worker's machine for data that does not fit into memory.

        Raises
        ------
        ConnectError
            This machine has no ``sbatch``, or the scheduler did not start.
        """
        require("sbatch")
        options = {
            "partition": partition,
            "account": account,
            "qos": qos,
            "reservation": reservation,
            "constraint": constraint,
            "directives": lines("directives", directives),
            "prologue": lines("prologue", prologue),
            "python": python,
            "environment": None if environment is None else dict(environment),
            "local_directory": local_directory,
        }
        return launch.start("slurm", request, options, by_default_tls=config.get("cluster.batch.tls"))

    async def build(self, spec: ClusterSpec) -> SpecCluster:
        """Return the running cluster, without workers. Called in the scheduler process."""
        from af_kit.cluster.batch.slurm.cluster import SlurmCluster

        cluster: SpecCluster = await SlurmCluster(spec, cancel=self.cancel_command(spec))
        return cluster

    def cancel_command(self, spec: ClusterSpec) -> list[str]:
        """Return the command that cancels all jobs of a cluster."""
        return ["scancel", f"--name={spec.job_name}"]
