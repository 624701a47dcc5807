"""Why a scheduler cannot be reached.

Dask's client tries an address again until its time is over and then says that; with a service that is not Dask's it may
wait for ever, or take the answer for the length of a message. So the address is looked at first, with plain sockets. A
Dask server greets whoever connects: eight bytes of length and a short message that names its pickle protocol.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from dataclasses import dataclass

# Every greeting holds this word; distributed's handshake cannot do without.
_GREETING = b"pickle-protocol"
# A greeting has some hundred bytes: a longer "message" is text of another service.
_LONGEST_GREETING = 100_000
# A scheduler that is at work may let a greeting wait this long.
_PATIENCE_S = 3.0
# One that listens without TLS greets at once: a round trip over the network.
_GREETS_WITHIN_S = 0.2


@dataclass(frozen=True)
class Obstacle:
    """What stands between this session and a scheduler.

    Attributes
    ----------
    reason : str
        The end of a sentence that begins with the address.
    advice : str
        What the user can do.
    lasting : bool
        Trying again is of no use.
    """

    reason: str
    advice: str
    lasting: bool = False


_START = "Is the scheduler running, and is this its address (not an old one)?"


def probe(host: str, port: int, *, context: ssl.SSLContext | None, timeout_s: float) -> Obstacle | None:
    """Look for a Dask server.

    Parameters
    ----------
    host, port : str, int
        Where it listens.
    context : ssl.SSLContext or None
        This session's certificates, for a server that listens with TLS.
    timeout_s : float
        Seconds for each step.

    Returns
    -------
    Obstacle or None
        None where a Dask server answered.
    """
    try:
        sock = socket.create_connection((host, port), timeout=timeout_s)
    except OSError as error:
        return _no_connection(host, port, error)
    with sock:
        patience_s = min(timeout_s, _PATIENCE_S)
        sock.settimeout(patience_s)
        return _look_tls(sock, context) if context else _look_plain(sock, host, port, patience_s)


def connection(host: str, port: int, *, timeout_s: float) -> Obstacle | None:
    """Look whether anything listens, for protocols that do not greet (web sockets)."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:
        return _no_connection(host, port, error)
    return None


def _no_connection(host: str, port: int, error: OSError) -> Obstacle:
    match error:
        case socket.gaierror(errno=socket.EAI_NONAME | socket.EAI_NODATA):
            return Obstacle(f"there is no host {host!r}", "Is the name spelled right, and known on this machine?", True)
        case socket.gaierror():
            return Obstacle(f"the name {host!r} cannot be looked up now ({error.strerror})", "Does the network work?")
        case ConnectionRefusedError():
            return Obstacle(f"nothing listens on port {port} of {host} (connection refused)", _START)
        case TimeoutError():
            reason = f"{host} does not answer on port {port}"
            return Obstacle(reason, f"A firewall may be between, or the machine is down. {_START}")
        case _:
            return Obstacle(f"{host} cannot be reached ({error.strerror or error})", "Does the network work?")


def _look_plain(sock: socket.socket, host: str, port: int, patience_s: float) -> Obstacle | None:
    try:
        return _look_at_greeting(sock)
    except TimeoutError:
        return _look_at_silence(host, port, patience_s)
    except OSError as error:
        return _closed(str(error))


def _look_at_greeting(sock: socket.socket) -> Obstacle | None:
    head = _receive(sock, 8)
    if not head:
        return _closed("without a word")
    (length,) = struct.unpack("<Q", head.ljust(8, b"\0"))
    if length <= _LONGEST_GREETING and _GREETING in _receive(sock, length):
        return None
    text = head.decode("ascii", errors="replace").strip()
    return Obstacle(
        f"another service than Dask's answers (its first bytes are {text!r})",
        "Give the scheduler's address and port, as its log names them.",
        lasting=True,
    )


def _look_at_silence(host: str, port: int, patience_s: float) -> Obstacle:
    """Tell apart those who wait for us to speak first."""
    if _speaks_tls(host, port, patience_s):
        return Obstacle("the scheduler wants TLS", "Give tls:// in place of tcp://, and security=.", lasting=True)
    if _speaks_http(host, port, patience_s):
        return Obstacle(
            "a web server answers",
            "Is this the dashboard's port? The scheduler's own is another one, usually 8786.",
            lasting=True,
        )
    return Obstacle(
        "something listens there, but says nothing", "The scheduler hangs or is very busy, or it is another service."
    )


def _speaks_tls(host: str, port: int, patience_s: float) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False  # only whether it is TLS; nothing is sent
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=patience_s) as sock,
            context.wrap_socket(sock, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it refused us, in TLS
    except OSError:
        return False


def _speaks_http(host: str, port: int, patience_s: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout=patience_s) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return _receive(sock, 5) == b"HTTP/"
    except OSError:
        return False


def _look_tls(sock: socket.socket, context: ssl.SSLContext) -> Obstacle | None:
    not_tls = Obstacle("it does not speak TLS", "Give tcp:// in place of tls://.", lasting=True)
    if select.select([sock], [], [], _GREETS_WITHIN_S)[0]:
        return not_tls  # with TLS it would wait for us; a greeting to a plain scheduler would upset its log
    try:
        # With TLS 1.3 the server looks at our certificate after the handshake: a refusal comes with the first byte.
        with context.wrap_socket(sock) as wrapped:
            return _look_at_greeting(wrapped)
    except ssl.SSLCertVerificationError as error:
        return Obstacle(
            f"its certificate is not trusted ({error.verify_message})",
            "Give the cluster's own authority: security=distributed.Security(tls_ca_file=...).",
            lasting=True,
        )
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or "") or "CERTIFICATE" in (error.reason or ""):
            return Obstacle(
                f"it refuses this session's certificate ({error.reason})",
                "Give one that the cluster's authority signed: security=distributed.Security(tls_client_cert=...).",
                lasting=True,
            )
        return not_tls
    except TimeoutError:
        return Obstacle("it does not speak TLS, or hangs", "If it listens without TLS, give tcp:// in place of tls://.")
    except OSError as error:
        return _closed(str(error))


def _closed(how: str) -> Obstacle:
    return Obstacle(
        f"it takes the connection and closes it ({how})",
        "Is this a tunnel or port-forward whose far end is gone?",
    )


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data
