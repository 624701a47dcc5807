"""Find out why a scheduler cannot be reached.

Dask's client retries an address until its timeout, and then reports the timeout. If another service answers, it may
wait indefinitely, or take the answer for the length of a message. So the address is probed first, with plain sockets. A
Dask server greets every connection with eight bytes of length and a short message that names its pickle protocol.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from dataclasses import dataclass

# Every greeting contains this: distributed's handshake requires it.
_GREETING = b"pickle-protocol"
# A greeting has a few hundred bytes: a longer "message" is text from another service.
_LONGEST_GREETING = 100_000
# A busy scheduler may take this long to greet.
_GREETING_S = 3.0
# A scheduler without TLS greets immediately, within a round trip over the network.
_PLAIN_GREETING_S = 0.2


@dataclass(frozen=True)
class Failure:
    """Why a scheduler cannot be reached.

    Attributes
    ----------
    reason : str
        The reason, as the end of a sentence that starts with the address.
    advice : str
        What the user can do.
    permanent : bool
        Whether trying again is useless.
    """

    reason: str
    advice: str
    permanent: bool = False


_START = "Is the scheduler running, and is this its current address?"


def probe(host: str, port: int, *, context: ssl.SSLContext | None, timeout_s: float) -> Failure | None:
    """Check that a Dask server listens.

    Parameters
    ----------
    host, port : str, int
        The server's address.
    context : ssl.SSLContext or None
        This session's certificates, if the server uses TLS.
    timeout_s : float
        Seconds for each step.

    Returns
    -------
    Failure or None
        None if a Dask server answered.
    """
    try:
        sock = socket.create_connection((host, port), timeout=timeout_s)
    except OSError as error:
        return _no_connection(host, port, error)
    with sock:
        greeting_s = min(timeout_s, _GREETING_S)
        sock.settimeout(greeting_s)
        return _probe_tls(sock, context) if context else _probe_plain(sock, host, port, greeting_s)


def connection(host: str, port: int, *, timeout_s: float) -> Failure | None:
    """Check that anything listens, for protocols without a greeting (web sockets)."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:
        return _no_connection(host, port, error)
    return None


def _no_connection(host: str, port: int, error: OSError) -> Failure:
    match error:
        case socket.gaierror(errno=socket.EAI_NONAME | socket.EAI_NODATA):
            return Failure(
                f"there is no host {host!r}", "Check the spelling, and whether this machine can resolve the name.", True
            )
        case socket.gaierror():
            return Failure(f"the name {host!r} cannot be looked up now ({error.strerror})", "Check the network.")
        case ConnectionRefusedError():
            return Failure(f"nothing listens on port {port} of {host} (connection refused)", _START)
        case TimeoutError():
            reason = f"{host} does not answer on port {port}"
            return Failure(reason, f"A firewall may block the connection, or the machine may be down. {_START}")
        case _:
            return Failure(f"{host} cannot be reached ({error.strerror or error})", "Check the network.")


def _probe_plain(sock: socket.socket, host: str, port: int, timeout_s: float) -> Failure | None:
    try:
        return _check_greeting(sock)
    except TimeoutError:
        return _explain_silence(host, port, timeout_s)
    except OSError as error:
        return _closed(str(error))


def _check_greeting(sock: socket.socket) -> Failure | None:
    start = _receive(sock, 8)
    if not start:
        return _closed("without sending anything")
    (length,) = struct.unpack("<Q", start.ljust(8, b"\0"))
    if length <= _LONGEST_GREETING and _GREETING in _receive(sock, length):
        return None
    text = start.decode("ascii", errors="replace").strip()
    return Failure(
        f"another service answers, not Dask (its first bytes are {text!r})",
        "Give the scheduler's address and port, as they appear in its log.",
        permanent=True,
    )


def _explain_silence(host: str, port: int, timeout_s: float) -> Failure:
    """Distinguish the services that wait for the client's first message."""
    if _speaks_tls(host, port, timeout_s):
        return Failure("the scheduler requires TLS", "Give tls:// instead of tcp://, and security=.", permanent=True)
    if _speaks_http(host, port, timeout_s):
        return Failure(
            "a web server answers",
            "This may be the dashboard's port. The scheduler uses another one, usually 8786.",
            permanent=True,
        )
    return Failure(
        "something listens there, but sends nothing", "The scheduler hangs or is very busy, or it is another service."
    )


def _speaks_tls(host: str, port: int, timeout_s: float) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False  # this only finds out whether it is TLS; no data is sent
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as sock,
            context.wrap_socket(sock, server_hostname=host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it refused the connection by a TLS alert
    except OSError:
        return False


def _speaks_http(host: str, port: int, timeout_s: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return _receive(sock, 5) == b"HTTP/"
    except OSError:
        return False


def _probe_tls(sock: socket.socket, context: ssl.SSLContext) -> Failure | None:
    not_tls = Failure("it does not use TLS", "Give tcp:// instead of tls://.", permanent=True)
    if select.select([sock], [], [], _PLAIN_GREETING_S)[0]:
        return not_tls  # a TLS server waits for the client; a TLS handshake would leave an error in this one's log
    try:
        # With TLS 1.3 the server checks our certificate after the handshake: a refusal arrives with the first byte.
        with context.wrap_socket(sock) as wrapped:
            return _check_greeting(wrapped)
    except ssl.SSLCertVerificationError as error:
        return Failure(
            f"its certificate is not trusted ({error.verify_message})",
            "Give the certificate of the cluster's authority: security=distributed.Security(tls_ca_file=...).",
            permanent=True,
        )
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or "") or "CERTIFICATE" in (error.reason or ""):
            return Failure(
                f"it refuses this session's certificate ({error.reason})",
                "Give one that the cluster's authority has signed: security=distributed.Security(tls_client_cert=...).",
                permanent=True,
            )
        return not_tls
    except TimeoutError:
        return Failure("it does not use TLS, or hangs", "If it listens without TLS, give tcp:// instead of tls://.")
    except OSError as error:
        return _closed(str(error))


def _closed(how: str) -> Failure:
    return Failure(
        f"it accepts the connection and closes it ({how})",
        "This may be a tunnel or port-forward whose other end is gone.",
    )


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data
