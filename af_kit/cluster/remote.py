"""Connect to a running scheduler by its address."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Security
from distributed.comm.registry import backends
from distributed.core import rpc

from af_kit.cluster import versions
from af_kit.cluster.probe import Failure, connection, probe
from af_kit.cluster.readiness import Say, without_repeats
from af_kit.errors import ConnectError, InputError, nearest


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
    """Parse the address of a scheduler.

    Raises
    ------
    InputError
        The text is not the address of a scheduler.
    """
    expected = f"{text!r} is not the address of a scheduler, which looks like tcp://host:8786"
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    if parts.scheme in ("http", "https"):
        raise InputError(f"{expected}: it is a web address, perhaps that of the dashboard.")
    if parts.scheme not in backends or parts.scheme == "inproc":
        known = [scheme for scheme in backends if scheme != "inproc"]
        raise InputError(f"{expected}: Dask has no protocol {parts.scheme!r}.{nearest(parts.scheme, known)}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{expected}: {error}.") from None
    if not host or not port:
        raise InputError(f"{expected}: it has no {'port' if host else 'host'}.")
    return Address(parts.scheme, host, port)


def from_file(path: str, *, timeout_s: float, say: Say) -> str:
    """Return the address in a scheduler file (``dask scheduler --scheduler-file``); wait for the file if needed.

    Raises
    ------
    ConnectError
        The file did not exist by the deadline, or it is not a scheduler file.
    """
    file = Path(path).expanduser()
    deadline = time.monotonic() + timeout_s
    say = without_repeats(say)
    while True:
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["address"])
        except FileNotFoundError:
            problem = "does not exist"
        except (OSError, ValueError, LookupError, TypeError) as error:  # it may be half written
            problem = f"cannot be read ({type(error).__name__}: {error})"
        if time.monotonic() > deadline:
            raise ConnectError(
                f"The scheduler file {file} {problem} (waited {timeout_s:g} s). `dask scheduler "
                f"--scheduler-file {file}` writes it."
            )
        say(f"Waiting for the scheduler file {file}, which {problem} ...")
        time.sleep(0.1)


def client_at(address: Address, *, security: Any, timeout_s: float, say: Say) -> Client:
    """Return a client of the scheduler at ``address``.

    Parameters
    ----------
    address : Address
        The scheduler's address.
    security : distributed.Security or None
        Certificates; None uses those of Dask's configuration.
    timeout_s : float
        Seconds in which it must answer.
    say : callable
        Receives a line for the user while there is something to wait for.

    Raises
    ------
    InputError
        The address and the certificates do not match.
    ConnectError
        It did not answer in time, or something other than a scheduler answers.
    """
    deadline = time.monotonic() + timeout_s
    reach(address, security=security, timeout_s=timeout_s, say=say)
    try:
        with versions.without_dask_warnings():
            return Client(str(address), security=security, timeout=max(deadline - time.monotonic(), 1.0))
    except Exception as error:
        raise ConnectError(f"The scheduler at {address} answers, but Dask cannot connect to it: {error!r}.") from error


def reach(address: Address, *, security: Any, timeout_s: float, say: Say) -> None:
    """Wait until a scheduler answers at ``address``; arguments and errors are those of `client_at`."""
    _check_security(address, security)
    deadline = time.monotonic() + timeout_s
    say = without_repeats(say)
    pause = 0.05
    while (failure := _try(address, security, deadline)) is not None:
        if failure.permanent or time.monotonic() + pause > deadline:
            waited = "" if failure.permanent else f" (waited {timeout_s:g} s)"
            raise ConnectError(f"No scheduler at {address}: {failure.reason}{waited}. {failure.advice}")
        say(f"Waiting for the scheduler at {address}: {failure.reason} ...")
        time.sleep(pause)
        pause = min(2 * pause, 1.0)


def _check_security(address: Address, security: Any) -> None:
    if security is not None and not isinstance(security, Security):
        raise InputError(f"security={security!r}: give a distributed.Security for a scheduler that is already running.")
    if address.scheme == "tls" and _tls_context(security) is None and not _has_loader():
        raise InputError(
            f"{address} needs certificates: give security=distributed.Security(tls_ca_file=..., tls_client_cert=..., "
            "tls_client_key=...), or set distributed.comm.tls in Dask's configuration."
        )
    if address.scheme == "tcp" and (security or Security()).require_encryption:
        raise InputError(
            f"Encryption is required (by security, or by Dask's configuration): give tls:// for {address}."
        )


def _tls_context(security: Security | None) -> Any:
    return (security or Security()).get_connection_args("client").get("ssl_context")


def _has_loader() -> bool:
    import dask.config

    return dask.config.get("distributed.client.security-loader", default=None) is not None


def _try(address: Address, security: Security | None, deadline: float) -> Failure | None:
    timeout_s = min(5.0, max(deadline - time.monotonic(), 0.1))
    context = _tls_context(security) if address.scheme == "tls" else None
    if address.scheme not in ("tcp", "tls") or (address.scheme == "tls" and context is None):
        return connection(address.host, address.port, timeout_s=timeout_s)
    failure = probe(address.host, address.port, context=context, timeout_s=timeout_s)
    if failure is not None:
        return failure
    with ThreadPoolExecutor(1) as thread:  # in a notebook, this thread already has an event loop
        return thread.submit(asyncio.run, _check_role(address, security)).result()


async def _check_role(address: Address, security: Security | None) -> Failure | None:
    """Ask for the server's role: workers and nannies greet like a scheduler."""
    arguments = (security or Security()).get_connection_args("client")
    try:
        async with asyncio.timeout(10), rpc(str(address), connection_args=arguments) as server:
            role = (await server.identity())["type"]
    except (OSError, TimeoutError) as error:
        return Failure(f"it greets, but does not answer ({error or type(error).__name__})", "Is it overloaded?")
    if role == "Scheduler":
        return None
    return Failure(f"this is the address of a {role.lower()}", "Give the scheduler's.", permanent=True)
