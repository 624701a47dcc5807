"""On which of its addresses a worker listens, so that the login node reaches it and nobody else need."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from af_kit.errors import ConnectError, InputError, nearest

# Any port will do: nothing is sent, the system only chooses a route.
_ANY_PORT = 9


def choose(*, interface: str | None = None, towards: Iterable[str] = ()) -> str:
    """One address of this machine.

    Parameters
    ----------
    interface : str, optional
        A network interface (``"ib0"``) or one of this machine's addresses: that one.
    towards : iterable of str
        Names of the login node: the address from which this machine would speak to the first that is known here.

    Raises
    ------
    InputError
        This machine has no such interface or address.
    ConnectError
        No name is known here, or no network leads there.
    """
    if interface:
        return _of_interface(interface)
    reasons = []
    for host in towards:
        try:
            return _own_address(host)
        except OSError as error:
            reasons.append(f"{host}: {error.strerror or error}")
    raise ConnectError(
        f"From {socket.gethostname()} no way leads to the login node ({'; '.join(reasons)}), so it is not clear on "
        "which address to listen. Name the worker's network: af_kit.lab.interface, such as eth0 or ib0."
    )


def _own_address(host: str) -> str:
    """The address from which this machine would speak to ``host``; nothing is sent."""
    found = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)
    # ssh takes both, but addresses of version 4 are those that clusters have
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.connect(address)
        return str(sock.getsockname()[0])


def _of_interface(interface: str) -> str:
    from distributed.utils import get_ip_interface

    if interface in {name for _, name in socket.if_nameindex()}:
        return str(get_ip_interface(interface))
    try:
        with socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(ipaddress.ip_address(interface)), 0))  # possible with an address of this machine only
            return interface
    except (OSError, ValueError):
        raise InputError(
            f"{socket.gethostname()} has no network interface or address {interface!r} (af_kit.lab.interface)."
            f"{nearest(interface, (name for _, name in socket.if_nameindex()))}"
        ) from None
