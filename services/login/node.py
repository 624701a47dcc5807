"""Start and stop a login node.

A network namespace is the login node, a pair of virtual interfaces the network between it and its worker, which this
machine plays. One sshd is in the namespace, and lets its user's key in. Another one is on the worker's address, for
sites that let users log in where their jobs run.
"""

from __future__ import annotations

import getpass
import hashlib
import ipaddress
import os
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common import (
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

__all__ = ["DAEMONS", "PROGRAMS", "LoginNode"]

PROGRAMS = ("sshd", "ssh", "ssh-keygen", "ip")
"""The programs that must be there."""
DAEMONS = ("login", "worker")
# The networks of two addresses that a node may take are parts of this private one (RFC 1918).
_NETWORK = ipaddress.ip_network("10.213.0.0/16")
_PORT = 22  # of the login node: nobody else is in its namespace

# No PAM and no check of the folders above the keys: nothing of this machine's own sshd plays a part.
_SSHD = """\
ListenAddress {address}
Port {port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/user_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowAgentForwarding no
X11Forwarding no
LogLevel VERBOSE
"""
_SSH = """\
IdentityFile {folder}/user_key
IdentitiesOnly yes
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking yes
BatchMode yes

Host {name}
    HostName {worker}
    Port {port}
"""


@dataclass(frozen=True)
class LoginNode:
    """The login node of one folder, running or not. It needs root, for the namespace.

    Parameters
    ----------
    folder : Path
        Keys, configuration and logs.
    """

    folder: Path = field(default_factory=lambda: default_folder("login"))

    def start(self) -> LoginNode:
        """Start what does not run, and wait until ssh gets in."""
        if os.geteuid() != 0:
            raise ServiceError("A login node has a network namespace, which only root can make.")
        with alone(make_folder(self.folder)):
            if len(self.running()) < len(DAEMONS):
                self.stop()
                self._start()
        return self

    def stop(self) -> None:
        """Stop the daemons, and the connections through them; remove the network."""
        state = load_state(self.folder)
        stop_all([state[name] for name in DAEMONS if name in state])
        with suppress(ServiceError):  # it is gone
            _ip("link", "delete", self._name)
        with suppress(ServiceError):
            _ip("netns", "delete", self._name)

    def running(self) -> dict[str, int]:
        """The daemons that run, and their process ids."""
        state = load_state(self.folder)
        return {name: state[name]["pid"] for name in DAEMONS if name in state and is_running(state[name])}

    @property
    def host(self) -> str:
        """The login node's address, for this machine and for the worker."""
        return str(load_state(self.folder)["addresses"]["login"])

    @property
    def worker(self) -> str:
        """The worker's address, for the login node: one of this machine's."""
        return str(load_state(self.folder)["addresses"]["worker"])

    def ssh_options(self) -> list[str]:
        """What to add to an ssh command, in place of a user's own configuration and keys."""
        return ["-F", str(self.folder / "ssh_config")]

    def log(self, name: str) -> Path:
        """The log of a daemon."""
        return self.folder / f"{name}.log"

    def inside(self, *command: str) -> list[str]:
        """A command as it is run on the login node."""
        return [find_program("ip"), "netns", "exec", self._name, *command]

    @property
    def _name(self) -> str:
        """Of the namespace and of the worker's interface, which has room for 15 characters."""
        return "akl" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]

    def _start(self) -> None:
        worker, login = _free_network()
        self._join(worker, login)
        ports = {"login": _PORT, "worker": _free_port(worker)}
        state: dict[str, Any] = {"addresses": {"login": login, "worker": worker}, "ports": ports}
        save_state(self.folder, state)
        self._make_keys(login, worker, ports["worker"])
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself in; nobody else may have made it
        for name in DAEMONS:
            configuration = self.folder / f"{name}.conf"
            address = state["addresses"][name]
            configuration.write_text(_SSHD.format(address=address, port=ports[name], folder=self.folder))
            sshd = [find_program("sshd"), "-D", "-e", "-f", str(configuration)]
            state[name] = spawn(self.inside(*sshd) if name == "login" else sshd, self.log(name))
            save_state(self.folder, state)
        for name, host in (("login", login), ("worker", socket.gethostname())):
            self._wait_until_open(name, host)

    def _join(self, worker: str, login: str) -> None:
        far = self._name + "f"
        _ip("netns", "add", self._name)
        _ip("link", "add", self._name, "type", "veth", "peer", "name", far, "netns", self._name)
        _ip("address", "add", f"{worker}/30", "dev", self._name)
        _ip("link", "set", self._name, "up")
        _ip("-netns", self._name, "address", "add", f"{login}/30", "dev", far)
        for name in (far, "lo"):
            _ip("-netns", self._name, "link", "set", name, "up")

    def _make_keys(self, login: str, worker: str, port: int) -> None:
        for name in ("host_key", "user_key"):
            if not (self.folder / name).exists():
                new = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
                subprocess.run([find_program("ssh-keygen"), *new], check=True)
        key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text("".join(f"{host} {key}" for host in (login, f"[{worker}]:{port}")))
        configuration = _SSH.format(folder=self.folder, name=socket.gethostname(), worker=worker, port=port)
        (self.folder / "ssh_config").write_text(configuration)

    def _wait_until_open(self, name: str, host: str) -> None:
        log = self.log(name)
        command = [find_program("ssh"), *self.ssh_options(), f"{getpass.getuser()}@{host}", "true"]

        def is_open() -> bool:
            if len(self.running()) < len(DAEMONS):
                raise ServiceError(f"sshd ended as it started: {log.read_text()}")
            return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0

        wait_until(is_open, f"ssh does not get in to {host}", within_s=20, log=log)


def _free_network() -> tuple[str, str]:
    """The two addresses of a network that this machine has not."""
    own = _ip("-4", "-oneline", "address", "show")
    for network in _NETWORK.subnets(new_prefix=30):
        worker, host = (str(address) for address in network.hosts())
        if f" {worker}/" not in own and f" {host}/" not in own:
            return worker, host
    raise ServiceError("No private network is free on this machine.")


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


def _ip(*arguments: str) -> str:
    done = subprocess.run([find_program("ip"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
