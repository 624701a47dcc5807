"""How a browser gets to a lab: one ssh line, and the address at its near end.

A worker is seldom reachable from outside, the login node is. There are two ways from there:

- ``network``: ssh ends on the login node, which opens a plain connection to the worker's address. This works wherever
  login node and workers share a network, and is the default. On that network the connection is not encrypted.
- ``loopback``: ssh goes on to the worker itself (``-J``), where the lab listens on 127.0.0.1 alone. Nothing is readable
  on the way; it needs workers that let in whoever has a job there.

In both, users who are logged in on the worker can reach the port. The token keeps them out.
"""

from __future__ import annotations

import getpass
import os
import re
import socket

from af_kit import config
from af_kit.errors import InputError, nearest
from af_kit.lab.labs import Lab, Where

LISTEN = ("network", "loopback")
_LOGIN = re.compile(r"(?:(?P<user>[\w.+-]+)@)?(?P<host>[\w.-]+|\[[\da-fA-F:.]+\])(?::(?P<port>\d+))?")


def login(given: str | None) -> str:
    """The host that users' ssh reaches.

    The argument, else ``af_kit.lab.login``, else the machine from which this session's own job was submitted, else this
    one.

    Raises
    ------
    InputError
        It is no ``[user@]host[:port]``.
    """
    chosen = given or config.get("lab.login") or os.environ.get("SLURM_SUBMIT_HOST") or this_machine()
    if not _LOGIN.fullmatch(chosen):
        raise InputError(f"{chosen!r} is no host to log in to: give host, user@host or user@host:port.")
    return str(chosen)


def this_machine() -> str:
    """This machine's name, with its domain where it knows that."""
    name = socket.getfqdn()
    return socket.gethostname() if name.startswith("localhost") else name


def listen(given: str | None) -> str:
    """``network`` or ``loopback``: the argument, else ``af_kit.lab.listen``.

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
    """Its host alone, as a name or an address."""
    return _parts(login)["host"].strip("[]")


def ssh_line(lab: Lab, where: Where) -> str:
    """The command that the user types on his own machine, and leaves running.

    It ends at once where the port is taken there (``ExitOnForwardFailure``), in place of a tunnel that leads nowhere.
    """
    parts = _parts(lab.login)
    user = parts["user"] or getpass.getuser()
    target = f"{user}@{parts['host'].strip('[]')}"
    far = f"[{where.address}]" if ":" in where.address else where.address
    forward = f"-L 127.0.0.1:{near_port(lab, where)}:{far}:{where.port}"
    begin = f"ssh -N -o ExitOnForwardFailure=yes {forward}"
    if lab.settings["listen"] == "loopback":
        jump = f"{user}@{parts['host']}" + (f":{parts['port']}" if parts["port"] else "")
        return f"{begin} -J {jump} {user}@{where.host}"
    return f"{begin} " + (f"-p {parts['port']} " if parts["port"] else "") + target


def url(lab: Lab, where: Where) -> str:
    """What the user opens in his browser while that runs; it holds the token."""
    return f"http://127.0.0.1:{near_port(lab, where)}/lab?token={lab.token()}"


def near_port(lab: Lab, where: Where) -> int:
    """The port of the user's own machine: usually the lab's, which no other lab has."""
    return int(lab.settings["local_port"] or where.port)


def _parts(login: str) -> dict[str, str]:
    found = _LOGIN.fullmatch(login)
    assert found is not None
    return found.groupdict()
