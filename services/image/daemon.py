"""Start and stop the daemon, and hand out a ``docker`` that talks to it.

It keeps to its folder: images, containers and socket are there. It has a bridge of its own and leaves the machine's
firewall and routing alone, so a container reaches this machine and the others on its bridge, and nothing beyond;
a build uses the machine's network.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.common import (
    DAEMONS,
    ServiceError,
    alone,
    default_folder,
    find_program,
    is_running,
    load_state,
    make_folder,
    save_state,
    spawn,
    stop_all,
    wait_until,
)
from services.image.base import base_name, make_base
from services.image.machine import build_flags

__all__ = ["PROGRAMS", "Docker", "missing"]

PROGRAMS = ("dockerd", "containerd", "runc", "docker", "debootstrap", "ip")
"""The programs that must be there."""
ROOT = Path(__file__).parents[2]


def missing() -> str:
    """Why the daemon cannot run here, besides absent `PROGRAMS`; empty if it can."""
    return "" if os.getuid() == 0 else "a daemon that runs containers must be started as root"


@dataclass(frozen=True)
class Docker:
    """The daemon of one folder, running or not.

    Parameters
    ----------
    folder : Path
        Socket, log, images and containers.
    """

    folder: Path = field(default_factory=lambda: default_folder("image"))

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self.folder / "dockerd.log"

    @property
    def docker(self) -> Path:
        """The ``docker`` program for this daemon; it adds to a build what this machine needs (machine.py)."""
        return self.folder / "bin" / "docker"

    @property
    def bridge(self) -> str:
        """The name of this daemon's network interface (15 characters at most)."""
        return "afkit-" + hashlib.sha256(str(self.folder.absolute()).encode()).hexdigest()[:8]

    def environment(self) -> dict[str, str]:
        """For a process whose ``docker`` is to be this one."""
        return {
            **os.environ,
            "PATH": f"{self.docker.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "DOCKER_HOST": self._address,
        }

    @property
    def _address(self) -> str:
        return f"unix://{self.folder.absolute()}/docker.sock"

    # ---------------------------------------------------------------------------------------------- start and stop

    def start(self, *, flags: Sequence[str] | None = None) -> Docker:
        """Start the daemon if it does not run, with the base image; the first time that takes a minute.

        Parameters
        ----------
        flags : sequence of str, optional
            What is added to every ``docker build`` (default: what `build_flags` finds).
        """
        if reason := missing():
            raise ServiceError(f"{reason[0].upper()}{reason[1:]}.")
        with alone(make_folder(self.folder)):
            if not self.is_running():
                self._start()
            self._write_client(build_flags(self.folder) if flags is None else flags)
            if self.run("image", "inspect", base_name(), check=False).returncode:
                make_base(str(self.docker), self.folder, self.log)
        return self

    def _start(self) -> None:
        for name in PROGRAMS:
            find_program(name)
        self._make_bridge()
        command = [
            find_program("dockerd"),
            f"--host={self._address}",
            f"--data-root={self.folder / 'data'}",
            f"--exec-root={self.folder / 'exec'}",
            f"--pidfile={self.folder / 'dockerd.pid'}",
            f"--storage-driver={self._storage()}",
            f"--bridge={self.bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--shutdown-timeout=5",
        ]
        (self.folder / "dockerd.pid").unlink(missing_ok=True)
        # Debian keeps docker-proxy and docker-init where not every user's PATH leads.
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *DAEMONS))
        process = spawn(command, self.log, environment={"PATH": path})
        save_state(self.folder, {"dockerd": process})
        self._write_client([])

        def answers() -> bool:
            if not is_running(process):
                end = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
                raise ServiceError(f"dockerd ended as it started. The end of {self.log}:\n{end}")
            return self.run("version", check=False).returncode == 0

        wait_until(answers, "dockerd does not answer", within_s=30, log=self.log)

    def stop(self) -> None:
        """Stop the daemon and its containers, and remove its bridges; images stay."""
        with alone(make_folder(self.folder)):
            process = load_state(self.folder).get("dockerd")
            if process and is_running(process):
                containers = self.run("ps", "--all", "--quiet").stdout.split()
                if containers:
                    self.run("rm", "--force", "--volumes", *containers)
                self.run("network", "prune", "--force")
                stop_all([process], within_s=20)
            if Path("/sys/class/net", self.bridge).exists():
                subprocess.run([find_program("ip"), "link", "delete", self.bridge], check=True)

    def remove(self) -> None:
        """Stop, and remove all images with the folder."""
        self.stop()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.folder.absolute()}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=True)
        shutil.rmtree(self.folder)

    def is_running(self) -> bool:
        """Whether the daemon that was started here runs."""
        process = load_state(self.folder).get("dockerd")
        return process is not None and is_running(process)

    # ------------------------------------------------------------------------------------------------------- its use

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run ``docker ARGUMENTS`` to its end; an error has what it said."""
        done = subprocess.run(
            [self.docker, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise ServiceError(f"docker {shlex.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def shell(self, line: str, *, timeout_s: float = 1500) -> None:
        """Run a line as it stands in a page of the docs, in the checkout; its output goes to this process's."""
        done = subprocess.run(
            ["sh", "-ec", line],
            cwd=ROOT,
            env=self.environment(),
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise ServiceError(f"{line!r} failed, exit code {done.returncode}.")

    # -------------------------------------------------------------------------------------------------------- its parts

    def _write_client(self, flags: Sequence[str]) -> None:
        """A ``docker`` of our own before the machine's: which daemon, which builder, and ``flags`` for a build."""
        self.docker.parent.mkdir(exist_ok=True)
        added = shlex.join(flags)
        script = (
            "#!/bin/sh\n"
            f"export DOCKER_HOST={shlex.quote(self._address)} DOCKER_BUILDKIT=1\n"
            f"export DOCKER_CONFIG={shlex.quote(str(self.folder.absolute() / 'client'))}\n"
            f'case "${{1:-}}" in build) shift; set -- build {added} "$@" ;; esac\n'
            f'exec {shlex.quote(_client(self.docker.parent))} "$@"\n'
        )
        new = self.docker.with_suffix(".new")
        new.write_text(script)
        new.chmod(0o755)
        new.replace(self.docker)

    def _make_bridge(self) -> None:
        if Path("/sys/class/net", self.bridge).exists():
            return
        ip = find_program("ip")
        address = _free_network(subprocess.run([ip, "-4", "addr"], capture_output=True, text=True, check=True).stdout)
        for command in (
            ["link", "add", "name", self.bridge, "type", "bridge"],
            ["addr", "add", str(address), "dev", self.bridge],
            ["link", "set", self.bridge, "up"],
        ):
            subprocess.run([ip, *command], check=True)

    def _storage(self) -> str:
        """overlay2, but where the folder is itself an overlay (in a container), on which it cannot stand."""
        (self.folder / "data").mkdir(mode=0o711, exist_ok=True)
        kind = subprocess.run(
            ["stat", "--file-system", "--format=%T", self.folder / "data"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if kind in ("overlayfs", "overlay"):
            with self.log.open("a") as log:
                log.write(f"{self.folder} is on {kind}: storage driver vfs, slow and large, in place of overlay2\n")
            return "vfs"
        return "overlay2"


def _free_network(addresses: str) -> ipaddress.IPv4Interface:
    """The first address of a private network that no interface of this machine has."""
    taken = [
        ipaddress.ip_interface(line.split()[1]).network
        for line in addresses.splitlines()
        if " inet " in f" {line.strip()}"
    ]
    for third in range(64, 128):
        network = ipaddress.ip_network(f"172.30.{third}.0/24")
        if not any(network.overlaps(other) for other in taken):
            return ipaddress.ip_interface(f"{network[1]}/24")
    raise ServiceError("There is no free network in 172.30.64.0/18.")


def _client(own: Path) -> str:
    """The machine's docker program that can build with BuildKit: newer ones need a plugin for it."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin", *DAEMONS]
    found = [shutil.which("docker", path=folder) for folder in folders if Path(folder) != own]
    environment: Mapping[str, str] = {**os.environ, "DOCKER_HOST": "unix:///nowhere"}
    for docker in filter(None, found):
        if subprocess.run([docker, "buildx", "version"], capture_output=True, check=False).returncode == 0:
            return docker
        ask = [docker, "version", "--format", "{{.Client.Version}}"]
        version = subprocess.run(ask, capture_output=True, text=True, env=environment, check=False).stdout
        if version.split(".")[0].isdecimal() and int(version.split(".")[0]) < 23:
            return docker
    raise ServiceError("There is no docker program that can build with BuildKit. Debian's package docker.io has one.")
