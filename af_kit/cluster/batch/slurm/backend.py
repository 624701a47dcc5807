"""Workers as jobs of a Slurm farm."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from af_kit import config
from af_kit.cluster.backends import DetachedBackend
from af_kit.cluster.detached import launch
from af_kit.cluster.request import Request, lines
from af_kit.errors import ConnectError

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
            By default one worker.
        partition, account, qos, reservation, constraint : str, optional
            As in ``sbatch`` (defaults: ``af_kit.cluster.slurm``).
        directives : sequence of str, optional
            Further lines for the head of the job's script, such as ``"--exclusive"``; after those of the configuration.
        prologue : sequence of str, optional
            Lines of shell that the job runs before its worker; after ``af_kit.cluster.batch.prologue``.
        python : str, optional
            The Python that workers run (default: this session's own).
        environment : mapping, optional
            Variables for the workers, besides ``af_kit.cluster.environment``; None as a value removes one.
        local_directory : str, optional
            Where workers keep what does not fit into memory.

        Raises
        ------
        ConnectError
            This machine has no ``sbatch``, or the scheduler did not start.
        """
        if shutil.which("sbatch") is None:
            raise ConnectError(
                "There is no sbatch on this machine: connect from one that jobs are submitted from, such as a login "
                "node."
            )
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
        """The cluster itself, in its head process."""
        from af_kit.cluster.batch.slurm.jobs import SlurmCluster

        cluster: SpecCluster = await SlurmCluster(spec, cancel=self.cancel_command(spec))
        return cluster

    def cancel_command(self, spec: ClusterSpec) -> list[str]:
        """The command that cancels all jobs of a cluster, whoever submitted them last."""
        return ["scancel", f"--name={spec.job_name}"]
