"""What an HTCondor job is told: its submit description, and the script that it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster.request import lines, seconds
from af_kit.credentials.x509 import is_expired, proxy_path
from af_kit.errors import InputError, nearest

# A held job is told of and replaced; it stays in the queue for so long, to be looked at.
_KEEP_HELD_S = 600
_CONTAINERS = ("container", "docker", "singularity")


@dataclass(frozen=True)
class Settings:
    """The options of the kind, with the defaults of ``af_kit.cluster.htcondor``.

    Attributes
    ----------
    disk : int
        Bytes.
    container_image, container : str or None, str
        The image, and how the pool wants to be told of it.
    requirements, rank : str or None
        HTCondor's expressions.
    submit : list of str
        Further lines.
    shared_filesystem : bool
        Whether the workers' machines see this one's files.
    proxy : str or None
        The path of the proxy that jobs get.
    walltime_s : int or None
        A job's time limit.
    walltime_lines : list of str
        How the pool wants to be told of it.
    """

    disk: int
    container_image: str | None
    container: str
    requirements: str | None
    rank: str | None
    submit: list[str]
    shared_filesystem: bool
    proxy: str | None
    walltime_s: int | None
    walltime_lines: list[str]

    @classmethod
    def of(cls, options: Mapping[str, Any], walltime_s: int | None = None) -> Settings:
        """From the arguments of ``connect``; None leaves an option to the configuration.

        Raises
        ------
        InputError
            A value cannot be used.
        """
        configured = config.get("cluster.htcondor")
        chosen = {**configured, **{name: value for name, value in options.items() if value is not None}}
        if (container := chosen["container"]) not in _CONTAINERS:
            raise InputError(f"af_kit.cluster.htcondor.container is {container!r}.{nearest(container, _CONTAINERS)}")
        if not isinstance(chosen["shared_filesystem"], bool):
            raise InputError(f"shared_filesystem={chosen['shared_filesystem']!r}: give True or False.")
        for name in ("container_image", "requirements", "rank"):
            if chosen[name] is not None and ("\n" in str(chosen[name]) or not str(chosen[name]).strip()):
                raise InputError(f"{name}={chosen[name]!r}: give one line.")
        submit = [*configured["submit"], *lines("submit", options.get("submit"))]
        for line in submit:
            if "\n" in line or not re.fullmatch(r"\s*[+A-Za-z][\w.]*\s*=.*", line):
                raise InputError(f"submit: {line!r} is no line of a submit description, such as '+MaxRuntime = 3600'.")
        return cls(
            disk=_bytes(chosen["disk"]),
            container_image=chosen["container_image"],
            container=chosen["container"],
            requirements=chosen["requirements"],
            rank=chosen["rank"],
            submit=submit,
            shared_filesystem=chosen["shared_filesystem"],
            proxy=find_proxy(chosen["proxy"]),
            walltime_s=walltime_s or (seconds(configured["walltime"]) if configured["walltime"] else None),
            walltime_lines=configured["walltime_lines"],
        )


@dataclass(frozen=True)
class Job:
    """What differs between clusters and jobs.

    Attributes
    ----------
    name : str
        Of all jobs of this cluster.
    script : Path
        What it runs.
    logs : Path
        The folder for its output and for HTCondor's events.
    cores, memory : int
        Threads, bytes.
    files : tuple of Path
        What it needs on a machine that does not see this one's files.
    """

    name: str
    script: Path
    logs: Path
    cores: int
    memory: int
    files: tuple[Path, ...] = ()


def describe(job: Job, settings: Settings) -> str:
    """The submit description of a job."""
    made = [
        f"batch_name = {job.name}",
        f"executable = {job.script}",
        # One log: the script sends both there. It is written while the job runs, as many are ended by a signal.
        f"output = {job.logs}/{job.name}-$(ClusterId).$(ProcId).log",
        "stream_output = True",
        f"log = {events(job.logs)}",
        # Files are carried also where the machines share them: nothing then depends on what the pool calls shared, and
        # a job works in a folder of its own. Nothing but the log comes back.
        "should_transfer_files = YES",
        "when_to_transfer_output = ON_EXIT",
        'transfer_output_files = ""',
        f"request_cpus = {job.cores}",
        f"request_memory = {-(-job.memory // 2**20)}",
        f"request_disk = {-(-settings.disk // 2**10)}",
        "notification = Never",
        f"periodic_remove = JobStatus == 5 && time() - EnteredCurrentStatus > {_KEEP_HELD_S}",
        *_container(settings),
    ]
    if settings.requirements:
        made.append(f"requirements = {settings.requirements}")
    if settings.rank:
        made.append(f"rank = {settings.rank}")
    if settings.proxy:
        made.append(f"x509userproxy = {settings.proxy}")
    if settings.walltime_s:
        made += [line.format(seconds=settings.walltime_s) for line in settings.walltime_lines]
    further, files = _split(settings.submit)
    if job.files:
        made.append(f"encrypt_input_files = {','.join(file.name for file in job.files)}")
        files = [*map(str, job.files), *files]
    if files:
        made.append(f"transfer_input_files = {','.join(files)}")
    return "\n".join([*made, *further, "queue", ""])


def events(logs: Path) -> Path:
    """The file to which HTCondor writes what happens to the jobs of a cluster."""
    return logs / "events.log"


def script(prologue: Sequence[str], command: str) -> str:
    """What a job runs."""
    return "\n".join(["#!/bin/sh", "exec 2>&1", *prologue, command, ""])


def _container(settings: Settings) -> list[str]:
    image = settings.container_image
    if not image:
        return []
    if settings.container == "singularity":
        return [f'+SingularityImage = "{image}"']
    if settings.container == "docker":
        return ["universe = docker", f"docker_image = {image.removeprefix('docker://')}"]
    path = image.startswith("/")
    # An image that every machine has is not sent along with each job.
    there = path and (settings.shared_filesystem or image.startswith("/cvmfs/"))
    return ["universe = container", f"container_image = {image}", *(["transfer_container = False"] if there else [])]


def _split(submit: Sequence[str]) -> tuple[list[str], list[str]]:
    """Lines, without those that name files to take along, and these files: there can be only one such line."""
    kept, files = [], []
    for line in submit:
        key, _, value = line.partition("=")
        if key.strip().lower() == "transfer_input_files":
            files += [part.strip() for part in value.split(",")]
        else:
            kept.append(line)
    return kept, files


def find_proxy(wanted: bool | str) -> str | None:
    """The proxy that jobs get: the user's, where it has not expired; one that was named must be there.

    Raises
    ------
    InputError
        The named one cannot be used.
    """
    if wanted is False:
        return None
    if isinstance(wanted, str):
        path = Path(wanted).expanduser().absolute()
        if is_expired(path):
            problem = "has expired, or is no proxy" if path.is_file() else "does not exist"
            raise InputError(
                f"proxy={wanted!r}: {path} {problem}. Make one: voms-proxy-init; without one: proxy=False."
            )
        return str(path)
    path = proxy_path().absolute()
    return None if is_expired(path) else str(path)


def _bytes(disk: Any) -> int:
    from dask.utils import parse_bytes

    try:
        size = 0 if isinstance(disk, bool) else int(parse_bytes(disk))
    except (ValueError, TypeError, AttributeError):
        size = 0
    if size < 1:
        raise InputError(f"disk={disk!r}: give what a job may write on its machine, such as '10 GiB', or bytes.")
    return size
