"""A Docker daemon, and a ``docker`` program that talks to it.

Images, containers and the socket are in the service's folder. The daemon has a separate bridge and leaves the machine's
firewall and routing alone, so a container reaches this machine and the other containers on the bridge, but nothing
else; a build uses the machine's network.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.common import DAEMONS, ROOT, Service, ServiceError, find_program, stop_all
from services.image.base import base_name, make_base
from services.image.machine import build_flags

__all__ = ["PROGRAMS", "Docker", "missing"]

PROGRAMS = ("dockerd", "containerd", "runc", "docker", "debootstrap", "ip")
"""The programs that the service needs."""


def missing() -> str:
    """Return why the daemon cannot run here, apart from missing `PROGRAMS`; empty if it can."""
    return "" if os.getuid() == 0 else "only root can start a daemon that runs containers"


class Docker(Service):
    """The daemon of one folder, which also has its images and containers."""

    name = "image"
    processes = ("dockerd",)

    @property
    def docker(self) -> Path:
        """The ``docker`` program for this daemon; it adds to a build what this machine needs (machine.py)."""
        return self.folder / "bin" / "docker"

    @property
    def bridge(self) -> str:
        """The name of this daemon's network interface, at most 15 characters."""
        return "afkit-" + hashlib.sha256(str(self.folder.absolute()).encode()).hexdigest()[:8]

    def environment(self) -> dict[str, str]:
        """Return the environment of a process whose ``docker`` is `docker`."""
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
        """Start the daemon if it is not running, and create the base image: a minute the first time.

        Parameters
        ----------
        flags : sequence of str, optional
            Options for every ``docker build`` (default: those of `build_flags`).
        """
        if reason := missing():
            raise ServiceError(f"{reason[0].upper()}{reason[1:]}.")
        super().start()
        with self._locked():
            self._write_client(build_flags(self.folder) if flags is None else flags)
            if self.run("image", "inspect", base_name(), check=False).returncode:
                make_base(str(self.docker), self.folder, self.log("dockerd"))
        return self

    def _start(self) -> None:
        for name in PROGRAMS:
            find_program(name)
        self._make_bridge()
        (self.folder / "dockerd.pid").unlink(missing_ok=True)
        # Debian installs docker-proxy and docker-init where not every user's PATH leads.
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *DAEMONS))
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
        self._spawn("dockerd", command, {"PATH": path})
        self._write_client([])
        self._wait_until("dockerd", self._answers, "dockerd does not answer")

    def _answers(self) -> bool:
        return self.run("version", check=False).returncode == 0

    def _stop(self) -> None:
        """Stop the daemon and its containers, and remove its bridges; images stay."""
        if self.is_running():
            containers = self.run("ps", "--all", "--quiet").stdout.split()
            if containers:
                self.run("rm", "--force", "--volumes", *containers)
            self.run("network", "prune", "--force")
            stop_all([self.process("dockerd")], within_s=20)
        if Path("/sys/class/net", self.bridge).exists():
            subprocess.run([find_program("ip"), "link", "delete", self.bridge], check=True)

    def remove(self) -> None:
        """Stop the daemon, and remove the folder with all images."""
        self.stop()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.folder.absolute()}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=True)
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------------------------------------------------------ use

    def run(self, *arguments: str, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run ``docker ARGUMENTS``; an error has its output."""
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
        """Run a line of the docs in the checkout, with this process's output."""
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

    # ---------------------------------------------------------------------------------------------------------- parts

    def _write_client(self, flags: Sequence[str]) -> None:
        """Write the `docker` script: it selects the daemon and the builder, and adds ``flags`` to a build."""
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
        """Return overlay2, or vfs if the folder itself is on an overlay (in a container), where overlay2 fails."""
        (self.folder / "data").mkdir(mode=0o711, exist_ok=True)
        filesystem = subprocess.run(
            ["stat", "--file-system", "--format=%T", self.folder / "data"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if filesystem in ("overlayfs", "overlay"):
            with self.log("dockerd").open("a") as log:
                log.write(
                    f"{self.folder} is on {filesystem}: the storage driver is vfs (slow and large), not overlay2\n"
                )
            return "vfs"
        return "overlay2"


def _free_network(addresses: str) -> ipaddress.IPv4Interface:
    """Return the first address of a private network that overlaps none of this machine's ``addresses``."""
    taken = [
        ipaddress.ip_interface(line.split()[1]).network
        for line in addresses.splitlines()
        if " inet " in f" {line.strip()}"
    ]
    for third in range(64, 128):
        network = ipaddress.ip_network(f"172.30.{third}.0/24")
        if not any(network.overlaps(other) for other in taken):
            return ipaddress.ip_interface(f"{network[1]}/24")
    raise ServiceError("This machine already uses all networks in 172.30.64.0/18.")


def _client(own: Path) -> str:
    """Return the machine's docker program that can build with BuildKit; newer ones need a plugin for it."""
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
    raise ServiceError("There is no docker program that can build with BuildKit. Install Debian's package docker.io.")
