"""Choose the address of a worker on which a lab listens: the one that the login node reaches."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from af_kit.errors import ConnectError, InputError, nearest

# Any port: nothing is sent, the operating system only chooses a route.
_ANY_PORT = 9


def choose(*, interface: str | None = None, login_hosts: Iterable[str] = ()) -> str:
    """Return an address of this machine.

    Parameters
    ----------
    interface : str, optional
        A network interface (``"ib0"``) or an address of this machine, to use that one.
    login_hosts : iterable of str
        Names of the login node. The result is the address from which this machine reaches the first one that it knows.

    Raises
    ------
    InputError
        This machine has no such interface or address.
    ConnectError
        This machine knows none of the names, or has no route there.
    """
    if interface:
        return _interface_address(interface)
    reasons = []
    for host in login_hosts:
        try:
            return _own_address(host)
        except OSError as error:
            reasons.append(f"{host}: {error.strerror or error}")
    raise ConnectError(
        f"{socket.gethostname()} has no route to the login node ({'; '.join(reasons)}), so the address to listen on is "
        "unknown. Set af_kit.lab.interface to the worker's network, such as eth0 or ib0."
    )


def _own_address(host: str) -> str:
    """Return the address from which this machine reaches ``host``. Nothing is sent."""
    found = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)
    # ssh accepts both versions, but clusters usually use IPv4
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, socket_type, protocol, _, address = found[0]
    with socket.socket(family, socket_type, protocol) as sock:
        sock.connect(address)
        return str(sock.getsockname()[0])


def _interface_address(interface: str) -> str:
    from distributed.utils import get_ip_interface

    if interface in {name for _, name in socket.if_nameindex()}:
        return str(get_ip_interface(interface))
    try:
        with socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(ipaddress.ip_address(interface)), 0))  # fails unless it is an address of this machine
            return interface
    except (OSError, ValueError):
        raise InputError(
            f"{socket.gethostname()} has no network interface or address {interface!r} (af_kit.lab.interface)."
            f"{nearest(interface, (name for _, name in socket.if_nameindex()))}"
        ) from None
