"""The submit description of an HTCondor job, and the script that the job runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster.request import lines, seconds
from af_kit.credentials.x509 import is_expired, proxy_path
from af_kit.errors import InputError, nearest

# Seconds that a held job stays in the queue, so that the user can examine it. Another job has replaced it by then.
_KEEP_HELD_S = 600
_CONTAINERS = ("container", "docker", "singularity")


@dataclass(frozen=True)
class Settings:
    """The options of the backend, completed and explained by ``af_kit.cluster.htcondor`` in ``af_kit.yaml``.

    Here ``disk`` is in bytes, and ``proxy`` is the path of the proxy that jobs get, or None.
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
    def from_options(cls, options: Mapping[str, Any], walltime_s: int | None = None) -> Settings:
        """Return the settings for arguments of ``connect``. None stands for the configured value.

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
                raise InputError(
                    f"submit: {line!r} is not a line of a submit description, such as '+MaxRuntime = 3600'."
                )
        return cls(
            disk=config.as_bytes(chosen["disk"], "disk"),
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
    """What the description of a job needs in addition to the `Settings`."""

    name: str
    script: Path
    logs: Path
    """The folder for the job's output and HTCondor's event log."""
    cores: int
    memory: int
    """In bytes."""
    files: tuple[Path, ...] = ()
    """Secret files that travel with the job, encrypted."""


def describe(job: Job, settings: Settings) -> str:
    """Return the submit description of a job."""
    description = [
        f"batch_name = {job.name}",
        f"executable = {job.script}",
        # One log for both outputs. It is written while the job runs, because many jobs are ended by a signal.
        f"output = {job.logs}/{job.name}-$(ClusterId).$(ProcId).log",
        "stream_output = True",
        f"log = {event_log(job.logs)}",
        # Files are transferred even if the machines share them: this does not depend on what the pool calls shared, and
        # gives each job its own working folder. Only the log comes back.
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
        description.append(f"requirements = {settings.requirements}")
    if settings.rank:
        description.append(f"rank = {settings.rank}")
    if settings.proxy:
        description.append(f"x509userproxy = {settings.proxy}")
    if settings.walltime_s:
        description += [line.format(seconds=settings.walltime_s) for line in settings.walltime_lines]
    further, files = _split(settings.submit)
    if job.files:
        description.append(f"encrypt_input_files = {','.join(file.name for file in job.files)}")
        files = [*map(str, job.files), *files]
    if files:
        description.append(f"transfer_input_files = {','.join(files)}")
    return "\n".join([*description, *further, "queue", ""])


def event_log(logs: Path) -> Path:
    """Return the file to which HTCondor writes the events of a cluster's jobs."""
    return logs / "events.log"


def write_script(path: Path, prologue: Sequence[str], command: str) -> None:
    """Write the script that a job runs, executable for its owner only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "w") as file:
        file.write("\n".join(["#!/bin/sh", "exec 2>&1", *prologue, command, ""]))


def _container(settings: Settings) -> list[str]:
    image = settings.container_image
    if not image:
        return []
    if settings.container == "singularity":
        return [f'+SingularityImage = "{image}"']
    if settings.container == "docker":
        return ["universe = docker", f"docker_image = {image.removeprefix('docker://')}"]
    # An image that all machines have is not transferred with each job.
    everywhere = image.startswith("/cvmfs/") or (image.startswith("/") and settings.shared_filesystem)
    transfer = ["transfer_container = False"] if everywhere else []
    return ["universe = container", f"container_image = {image}", *transfer]


def _split(submit: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the files in ``transfer_input_files``, of which a description has only one, from all other lines."""
    others, files = [], []
    for line in submit:
        key, _, value = line.partition("=")
        if key.strip().lower() == "transfer_input_files":
            files += [part.strip() for part in value.split(",")]
        else:
            others.append(line)
    return others, files


def find_proxy(wanted: bool | str) -> str | None:
    """Return the path of the proxy that jobs get, or None.

    Parameters
    ----------
    wanted : bool or str
        True for the user's proxy, if there is one that has not expired; False for none; or the path of another proxy.

    Raises
    ------
    InputError
        The proxy at that path does not exist or has expired.
    """
    if wanted is False:
        return None
    if isinstance(wanted, str):
        path = Path(wanted).expanduser().absolute()
        if is_expired(path):
            problem = "has expired, or is not a proxy" if path.is_file() else "does not exist"
            raise InputError(f"proxy={wanted!r}: {path} {problem}. Make one with voms-proxy-init, or use proxy=False.")
        return str(path)
    path = proxy_path().absolute()
    return None if is_expired(path) else str(path)
