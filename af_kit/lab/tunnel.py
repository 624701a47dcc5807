"""How a browser reaches a lab: by one ssh command, and a URL on the user's machine.

A worker can seldom be reached from outside, but the login node can. There are two ways from there:

- ``network``: ssh ends on the login node, which opens a plain connection to the worker's address. This works wherever
  login node and workers share a network, and is the default. The connection on that network is not encrypted.
- ``loopback``: ssh continues to the worker itself (``-J``), where the lab listens only on 127.0.0.1. The whole
  connection is encrypted. Workers must accept ssh from users with a job there.

In both cases, users who are logged in on the worker can reach the port. The token keeps them out.
"""

from __future__ import annotations

import getpass
import os
import re
import socket

from af_kit import config
from af_kit.errors import InputError, nearest
from af_kit.lab.labs import Endpoint, Lab

LISTEN = ("network", "loopback")
_LOGIN = re.compile(r"(?:(?P<user>[\w.+-]+)@)?(?P<host>[\w.-]+|\[[\da-fA-F:.]+\])(?::(?P<port>\d+))?")


def login(given: str | None) -> str:
    """Return the host to which users log in.

    This is the argument, else ``af_kit.lab.login``, else the machine from which this session's own job was submitted,
    else this machine.

    Raises
    ------
    InputError
        It is not of the form ``[user@]host[:port]``.
    """
    chosen = given or config.get("lab.login") or os.environ.get("SLURM_SUBMIT_HOST") or this_machine()
    if not _LOGIN.fullmatch(chosen):
        raise InputError(f"{chosen!r} is not a login host: give host, user@host or user@host:port.")
    return str(chosen)


def this_machine() -> str:
    """Return the name of this machine, with its domain if that is known."""
    name = socket.getfqdn()
    return socket.gethostname() if name.startswith("localhost") else name


def listen(given: str | None) -> str:
    """Return ``network`` or ``loopback``: the argument, else ``af_kit.lab.listen``.

    Raises
    ------
    InputError
        It is neither.
    """
    chosen = given or config.get("lab.listen")
    if chosen not in LISTEN:
        raise InputError(f"af_kit.lab.listen is {chosen!r}.{nearest(chosen, LISTEN)}")
    return str(chosen)


def login_host(login: str) -> str:
    """Return the host of a login, without user and port."""
    return _parts(login)["host"].strip("[]")


def ssh_line(lab: Lab, endpoint: Endpoint) -> str:
    """Return the ssh command that the user runs on their own machine.

    ``ExitOnForwardFailure`` ends it if the local port is taken, as the tunnel would lead nowhere.
    """
    parts = _parts(lab.login)
    user = parts["user"] or getpass.getuser()
    target = f"{user}@{parts['host'].strip('[]')}"
    far = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    forward = f"-L 127.0.0.1:{local_port(lab, endpoint)}:{far}:{endpoint.port}"
    begin = f"ssh -N -o ExitOnForwardFailure=yes {forward}"
    if lab.settings["listen"] == "loopback":
        jump = f"{user}@{parts['host']}" + (f":{parts['port']}" if parts["port"] else "")
        return f"{begin} -J {jump} {user}@{endpoint.host}"
    return f"{begin} " + (f"-p {parts['port']} " if parts["port"] else "") + target


def url(lab: Lab, endpoint: Endpoint) -> str:
    """Return the URL that the user opens while ssh runs. It contains the token."""
    return f"http://127.0.0.1:{local_port(lab, endpoint)}/lab?token={lab.token()}"


def local_port(lab: Lab, endpoint: Endpoint) -> int:
    """Return the port on the user's machine: by default the port of the lab, which no other lab has."""
    return int(lab.settings["local_port"] or endpoint.port)


def _parts(login: str) -> dict[str, str]:
    found = _LOGIN.fullmatch(login)
    assert found is not None
    return found.groupdict()
