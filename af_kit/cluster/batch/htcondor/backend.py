"""``connect("htcondor")``: workers as HTCondor jobs. In the notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from af_kit import config
from af_kit.cluster.backends import DetachedBackend
from af_kit.cluster.batch.command import require
from af_kit.cluster.batch.htcondor import queue
from af_kit.cluster.detached import launch
from af_kit.cluster.request import Request, lines

if TYPE_CHECKING:
    from distributed.deploy.spec import SpecCluster

    from af_kit.cluster.detached.handle import ClusterHandle
    from af_kit.cluster.detached.spec import ClusterSpec

__all__ = ["HTCondor"]


class HTCondor(DetachedBackend):
    """Workers as HTCondor jobs; the scheduler is a process on this machine."""

    timeout_key = "cluster.batch.timeout_s"

    def start(
        self,
        request: Request,
        *,
        disk: str | int | None = None,
        container_image: str | None = None,
        requirements: str | None = None,
        rank: str | None = None,
        submit: Sequence[str] | None = None,
        shared_filesystem: bool | None = None,
        proxy: bool | str | None = None,
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
        disk : str or int, optional
            Disk space of a job: ``"10 GiB"``, or bytes (default of this and the next options:
            ``af_kit.cluster.htcondor``).
        container_image : str, optional
            Image that workers run in: ``"docker://..."``, or a path such as one below ``/cvmfs``.
        requirements, rank : str, optional
            Which machines can run a job, and which are preferred: HTCondor expressions.
        submit : sequence of str, optional
            Additional lines of the submit description such as ``'+JobFlavour = "workday"'``, after the configured
            ones.
        shared_filesystem : bool, optional
            Whether the worker machines see this machine's files. If not, a job brings the certificates of its cluster.
        proxy : bool or str, optional
            Whether HTCondor delivers the user's X.509 proxy to jobs, if there is one; or the path of another proxy.
        prologue : sequence of str, optional
            Shell commands that a job runs before its worker, after those in ``af_kit.cluster.batch.prologue``.
        python : str, optional
            The Python interpreter of the workers (default: ``python3`` of the image, or without one this session's).
        environment : mapping, optional
            Environment variables of the workers, in addition to ``af_kit.cluster.environment``; None removes one.
        local_directory : str, optional
            Folder on the worker's machine for data that does not fit into memory (default: the job's folder).

        Raises
        ------
        ConnectError
            This machine has no ``condor_submit``, or the scheduler did not start.
        InputError
            An option has an invalid value.
        """
        require("condor_submit")
        options = {
            "disk": disk,
            "container_image": container_image,
            "requirements": requirements,
            "rank": rank,
            "submit": lines("submit", submit),
            "shared_filesystem": shared_filesystem,
            "proxy": proxy,
            "prologue": lines("prologue", prologue),
            "python": python,
            "environment": None if environment is None else dict(environment),
            "local_directory": local_directory,
        }
        from af_kit.cluster.batch.htcondor.submit import Settings

        Settings.from_options(options)  # reports a wrong value before anything starts
        return launch.start("htcondor", request, options, by_default_tls=config.get("cluster.batch.tls"))

    async def build(self, spec: ClusterSpec) -> SpecCluster:
        """Return the running cluster, without workers. Called in the scheduler process."""
        from af_kit.cluster.batch.htcondor.cluster import HTCondorCluster

        cluster: SpecCluster = await HTCondorCluster(
            spec, cancel=self.cancel_command(spec), constraint=constraint(spec)
        )
        return cluster

    def cancel_command(self, spec: ClusterSpec) -> list[str]:
        """Return the command that cancels all jobs of a cluster."""
        return queue.cancel_command(constraint(spec))


def constraint(spec: ClusterSpec) -> str:
    """Return the HTCondor expression that selects the jobs of this cluster."""
    return f'JobBatchName == "{spec.job_name}"'
