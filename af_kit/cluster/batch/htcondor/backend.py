"""Workers as jobs of an HTCondor pool."""

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

__all__ = ["HTCondor"]


# condor_rm fails where there is nothing to remove, as it does where it cannot reach the queue: told apart first.
_CANCEL = 'jobs=$(condor_q -constraint "$0" -af ClusterId) && { test -z "$jobs" || condor_rm -constraint "$0"; }'


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
            By default one worker.
        disk : str or int, optional
            What a job may write on its machine: ``"10 GiB"``, or bytes (defaults of this and the next ones:
            ``af_kit.cluster.htcondor``).
        container_image : str, optional
            The image that workers run in: ``"docker://..."``, or a path such as one below ``/cvmfs``.
        requirements, rank : str, optional
            Which machines can run a job, and which are best: expressions of HTCondor's.
        submit : sequence of str, optional
            Further lines of the submit description, such as ``'+JobFlavour = "workday"'``; after those of the
            configuration.
        shared_filesystem : bool, optional
            Whether the workers' machines see this one's files. If not, a job takes along the certificates of
            its cluster and the proxy.
        proxy : bool or str, optional
            Whether jobs get the user's X.509 proxy from HTCondor, or the path of another one. True: if there is one.
        prologue : sequence of str, optional
            Lines of shell that the job runs before its worker; after ``af_kit.cluster.batch.prologue``.
        python : str, optional
            The Python that workers run (default: ``python3`` of the image, without one this session's own).
        environment : mapping, optional
            Variables for the workers, besides ``af_kit.cluster.environment``; None as a value removes one.
        local_directory : str, optional
            Where workers keep what does not fit into memory (default: the job's own folder).

        Raises
        ------
        ConnectError
            This machine has no ``condor_submit``, or the scheduler did not start.
        InputError
            A value cannot be used.
        """
        if shutil.which("condor_submit") is None:
            raise ConnectError(
                "There is no condor_submit on this machine: connect from one that jobs are submitted from, such as a "
                "login node."
            )
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

        Settings.of(options)  # a wrong value is told here, before anything is started
        return launch.start("htcondor", request, options, by_default_tls=config.get("cluster.batch.tls"))

    async def build(self, spec: ClusterSpec) -> SpecCluster:
        """The cluster itself, in its head process."""
        from af_kit.cluster.batch.htcondor.jobs import HTCondorCluster

        cluster: SpecCluster = await HTCondorCluster(
            spec, cancel=self.cancel_command(spec), constraint=constraint(spec)
        )
        return cluster

    def cancel_command(self, spec: ClusterSpec) -> list[str]:
        """The command that cancels all jobs of a cluster, whoever submitted them last."""
        return ["sh", "-c", _CANCEL, constraint(spec)]


def constraint(spec: ClusterSpec) -> str:
    """What only the jobs of this cluster are, as an expression of HTCondor's."""
    return f'JobBatchName == "{spec.job_name}"'
