"""A login node: a network namespace, and a pair of virtual interfaces that connects it to its worker, this machine.

An sshd in the namespace accepts its user's key. Another sshd listens on the worker's address, as on sites that let
users log in to the nodes of their jobs.
"""

from __future__ import annotations

import getpass
import hashlib
import ipaddress
import os
import socket
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from services.common import Service, ServiceError, find_program

__all__ = ["PROGRAMS", "LoginNode"]

PROGRAMS = ("sshd", "ssh", "ssh-keygen", "ip")
"""The programs that the service needs."""
# Each login node takes a network of two addresses from this private one (RFC 1918).
_NETWORK = ipaddress.ip_network("10.213.0.0/16")
_PORT = 22  # of the login node, whose namespace has no other services

# No PAM, and no check of the folders above the keys: the configuration of this machine's sshd plays no part.
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


class LoginNode(Service):
    """The login node of one folder. It needs root, for the namespace."""

    name = "login"
    processes = ("login", "worker")

    def _start(self) -> None:
        if os.geteuid() != 0:
            raise ServiceError("A login node needs a network namespace, which only root can create.")
        worker, login = _free_network()
        self._save("addresses", {"login": login, "worker": worker})
        self._connect(worker, login)
        ports = {"login": _PORT, "worker": _free_port(worker)}
        self._make_keys(login, worker, ports["worker"])
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd confines itself to it
        for name, address in (("login", login), ("worker", worker)):
            configuration = self.folder / f"{name}.conf"
            configuration.write_text(_SSHD.format(address=address, port=ports[name], folder=self.folder))
            sshd = [find_program("sshd"), "-D", "-e", "-f", str(configuration)]
            self._spawn(name, self.inside(*sshd) if name == "login" else sshd)
        for name, host in (("login", login), ("worker", socket.gethostname())):
            ssh = [find_program("ssh"), *self.ssh_options(), f"{getpass.getuser()}@{host}", "true"]
            self._wait_until(name, partial(_succeeds, ssh), f"ssh cannot log in to {host}", within_s=20)

    def _stop(self) -> None:
        """Stop the daemons with the connections through them, and remove the network."""
        super()._stop()
        for command in (["link", "delete", self._interface], ["netns", "delete", self._interface]):
            with suppress(ServiceError):  # it does not exist
                _ip(*command)

    @property
    def host(self) -> str:
        """The login node's address, for this machine and for the worker."""
        return str(self._saved("addresses", "login"))

    @property
    def worker(self) -> str:
        """The worker's address, for the login node: an address of this machine."""
        return str(self._saved("addresses", "worker"))

    def ssh_options(self) -> list[str]:
        """Return the options of ssh that replace a user's own configuration and keys."""
        return ["-F", str(self.folder / "ssh_config")]

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs ``command`` on the login node."""
        return [find_program("ip"), "netns", "exec", self._interface, *command]

    @property
    def _interface(self) -> str:
        """The name of the worker's interface, at most 15 characters, and of the namespace."""
        return "akl" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]

    def _connect(self, worker: str, login: str) -> None:
        near, far = self._interface, self._interface + "f"
        _ip("netns", "add", near)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", near)
        _ip("address", "add", f"{worker}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-netns", near, "address", "add", f"{login}/30", "dev", far)
        for name in (far, "lo"):
            _ip("-netns", near, "link", "set", name, "up")

    def _make_keys(self, login: str, worker: str, port: int) -> None:
        for name in ("host_key", "user_key"):
            if not (self.folder / name).exists():
                new = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
                subprocess.run([find_program("ssh-keygen"), *new], check=True)
        key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text("".join(f"{host} {key}" for host in (login, f"[{worker}]:{port}")))
        configuration = _SSH.format(folder=self.folder, name=socket.gethostname(), worker=worker, port=port)
        (self.folder / "ssh_config").write_text(configuration)


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


def _free_network() -> tuple[str, str]:
    """Return the two addresses of a network that this machine does not use."""
    own = _ip("-4", "-oneline", "address", "show")
    for network in _NETWORK.subnets(new_prefix=30):
        worker, host = (str(address) for address in network.hosts())
        if f" {worker}/" not in own and f" {host}/" not in own:
            return worker, host
    raise ServiceError(f"This machine already uses all networks of two addresses in {_NETWORK}.")


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


def _ip(*arguments: str) -> str:
    done = subprocess.run([find_program("ip"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
