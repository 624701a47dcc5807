"""A scheduler that runs already, at an address that is known."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Security
from distributed.comm.registry import backends
from distributed.core import rpc

from af_kit.cluster import versions
from af_kit.cluster.probe import Obstacle, connection, probe
from af_kit.errors import ConnectError, InputError, nearest

Say = Callable[[str], None]


@dataclass(frozen=True)
class Address:
    """Where a scheduler listens."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse(text: str) -> Address:
    """Take an address apart.

    Raises
    ------
    InputError
        It is not the address of a scheduler.
    """
    expected = f"The address of a scheduler looks like tcp://host:8786; given is {text!r}"
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    if parts.scheme in ("http", "https"):
        raise InputError(f"{expected}, which is a web address: perhaps the dashboard's.")
    if parts.scheme not in backends or parts.scheme == "inproc":
        known = [scheme for scheme in backends if scheme != "inproc"]
        raise InputError(f"{expected}, and {parts.scheme!r} is no protocol of Dask's.{nearest(parts.scheme, known)}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{expected}: {error}.") from None
    if not host or not port:
        raise InputError(f"{expected}, which has no {'port' if host else 'host'}.")
    return Address(parts.scheme, host, port)


def from_file(path: str, *, timeout_s: float, say: Say) -> str:
    """The address in a scheduler file (``dask scheduler --scheduler-file``), which may be about to be written.

    Raises
    ------
    ConnectError
        No such file came before the deadline, or it is another one.
    """
    file = Path(path).expanduser()
    deadline = time.monotonic() + timeout_s
    waiting = Once(say)
    while True:
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["address"])
        except FileNotFoundError:
            problem = "does not exist"
        except (OSError, ValueError, LookupError, TypeError) as error:  # perhaps half written
            problem = f"cannot be read as one ({type(error).__name__}: {error})"
        if time.monotonic() > deadline:
            raise ConnectError(
                f"The scheduler file {file} {problem} (waited {timeout_s:g} s). Its writer: `dask scheduler "
                f"--scheduler-file {file}`."
            )
        waiting(f"Waiting for the scheduler file {file}, which {problem} ...")
        time.sleep(0.1)


def client_at(address: Address, *, security: Any, timeout_s: float, say: Say) -> Client:
    """A client of the scheduler at ``address``.

    Parameters
    ----------
    address : Address
        Where it should listen.
    security : distributed.Security or None
        Certificates; None takes those of Dask's configuration.
    timeout_s : float
        Seconds until it must answer.
    say : callable
        Takes a line for the user, when there is something to wait for.

    Raises
    ------
    InputError
        Address and certificates do not fit together.
    ConnectError
        It did not answer in time, or what answers is no scheduler; the message tells why and what to do.
    """
    deadline = time.monotonic() + timeout_s
    reach(address, security=security, timeout_s=timeout_s, say=say)
    try:
        with versions.left_to_check():
            return Client(str(address), security=security, timeout=max(deadline - time.monotonic(), 1.0))
    except Exception as error:
        raise ConnectError(f"The scheduler at {address} answers, but not as one should: {error!r}.") from error


def reach(address: Address, *, security: Any, timeout_s: float, say: Say) -> None:
    """Wait until a scheduler answers at ``address``.

    Raises
    ------
    InputError
        Address and certificates do not fit together.
    ConnectError
        It did not answer in time, or what answers is no scheduler; the message tells why and what to do.
    """
    _check_security(address, security)
    deadline = time.monotonic() + timeout_s
    waiting = Once(say)
    pause = 0.05
    while (obstacle := _look(address, security, deadline)) is not None:
        if obstacle.lasting or time.monotonic() + pause > deadline:
            waited = "" if obstacle.lasting else f" (waited {timeout_s:g} s)"
            raise ConnectError(f"No scheduler at {address}: {obstacle.reason}{waited}. {obstacle.advice}")
        waiting(f"Waiting for the scheduler at {address}: {obstacle.reason} ...")
        time.sleep(pause)
        pause = min(2 * pause, 1.0)


class Once:
    """Says a line when it is new."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._last = ""

    def __call__(self, line: str) -> None:
        """Say ``line``, unless it is the one said last."""
        if line != self._last:
            self._last = line
            self._say(line)


def _check_security(address: Address, security: Any) -> None:
    if security is not None and not isinstance(security, Security):
        raise InputError(f"security={security!r}: for a scheduler that runs already, give a distributed.Security.")
    if address.scheme == "tls" and _tls_context(security) is None and not _has_loader():
        raise InputError(
            f"{address} needs certificates: give security=distributed.Security(tls_ca_file=..., tls_client_cert=..., "
            "tls_client_key=...), or set distributed.comm.tls in Dask's configuration."
        )
    if address.scheme == "tcp" and (security or Security()).require_encryption:
        raise InputError(f"Encryption is required (security, or Dask's configuration): give tls:// for {address}.")


def _tls_context(security: Security | None) -> Any:
    return (security or Security()).get_connection_args("client").get("ssl_context")


def _has_loader() -> bool:
    import dask.config

    return dask.config.get("distributed.client.security-loader", default=None) is not None


def _look(address: Address, security: Security | None, deadline: float) -> Obstacle | None:
    timeout_s = min(5.0, max(deadline - time.monotonic(), 0.1))
    context = _tls_context(security) if address.scheme == "tls" else None
    if address.scheme not in ("tcp", "tls") or (address.scheme == "tls" and context is None):
        return connection(address.host, address.port, timeout_s=timeout_s)
    obstacle = probe(address.host, address.port, context=context, timeout_s=timeout_s)
    if obstacle is not None:
        return obstacle
    with ThreadPoolExecutor(1) as thread:  # in a notebook this one has an event loop already
        return thread.submit(asyncio.run, _role(address, security)).result()


async def _role(address: Address, security: Security | None) -> Obstacle | None:
    """Workers and nannies greet like a scheduler: ask who is there."""
    arguments = (security or Security()).get_connection_args("client")
    try:
        async with asyncio.timeout(10), rpc(str(address), connection_args=arguments) as server:
            role = (await server.identity())["type"]
    except (OSError, TimeoutError) as error:
        return Obstacle(f"it greets, but does not answer ({error or type(error).__name__})", "Is it overloaded?")
    if role == "Scheduler":
        return None
    return Obstacle(f"this is the address of a {role.lower()}", "Give the scheduler's.", lasting=True)
