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
from af_kit.lab.labs import Lab
from af_kit.lab.serve import Endpoint

LISTEN = ("network", "loopback")
_LOGIN = re.compile(r"(?:(?P<user>[\w.+-]+)@)?(?P<host>[\w.-]+)(?::(?P<port>\d+))?")


def login(given: str | None) -> str:
    """Return the host to which users log in.

    This is the argument, else ``af_kit.lab.login``, else the machine from which this session's own job was submitted,
    else this machine.
    """
    here = socket.getfqdn()
    if here.startswith("localhost"):
        here = socket.gethostname()
    chosen = str(given or config.get("lab.login") or os.environ.get("SLURM_SUBMIT_HOST") or here)
    _parts(chosen)
    return chosen


def listen(given: str | None) -> str:
    """Return ``network`` or ``loopback``: the argument, else ``af_kit.lab.listen``."""
    chosen = given or config.get("lab.listen")
    if chosen not in LISTEN:
        raise InputError(f"af_kit.lab.listen is {chosen!r}.{nearest(chosen, LISTEN)}")
    return str(chosen)


def login_host(login: str) -> str:
    """Return the host of a login, without user and port."""
    return _parts(login)[1]


def ssh_line(lab: Lab, endpoint: Endpoint) -> str:
    """Return the ssh command that the user runs on their own machine.

    ``ExitOnForwardFailure`` ends it if the local port is taken, as the tunnel would lead nowhere.
    """
    user, host, port = _parts(lab.login)
    user = user or getpass.getuser()
    far = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    forward = f"127.0.0.1:{_local_port(lab, endpoint)}:{far}:{endpoint.port}"
    if lab.settings["listen"] == "loopback":
        way = f"-J {user}@{host}{f':{port}' if port else ''} {user}@{endpoint.host}"
    else:
        way = f"{f'-p {port} ' if port else ''}{user}@{host}"
    return f"ssh -N -o ExitOnForwardFailure=yes -L {forward} {way}"


def url(lab: Lab, endpoint: Endpoint) -> str:
    """Return the URL that the user opens while ssh runs. It contains the token."""
    return f"http://127.0.0.1:{_local_port(lab, endpoint)}/lab?token={lab.token()}"


def _local_port(lab: Lab, endpoint: Endpoint) -> int:
    """Return the port on the user's machine: by default the port of the lab, which no other lab has."""
    return int(lab.settings["local_port"] or endpoint.port)


def _parts(login: str) -> tuple[str | None, str, str | None]:
    """Return user, host and port of a login, or raise InputError."""
    found = _LOGIN.fullmatch(login)
    if found is None:
        raise InputError(f"{login!r} is not a login host: give host, user@host or user@host:port.")
    return found["user"], found["host"], found["port"]
