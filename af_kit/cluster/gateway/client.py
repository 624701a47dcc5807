"""Asking a gateway something, and why it did not answer as it should."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import urlsplit

from af_kit import config
from af_kit.cluster.probe import connection
from af_kit.errors import ConnectError, InputError, MissingExtraError

__all__ = ["Contact", "answer", "greet", "run"]

T = TypeVar("T")
# A gateway answers at once; starting a cluster is waited for by asking again.
_ANSWER_S = 10.0
# To tidy up after an interrupt or an error.
_PARTING_S = 5.0


class Contact:
    """Where a gateway is and how to log on: arguments before Dask's own configuration (``gateway.*``).

    Raises
    ------
    InputError
        There is no address, it is none, or the way to log on cannot be used.
    MissingExtraError
        dask-gateway is not installed.
    """

    def __init__(self, address: str | None, proxy_address: str | int | None, public_address: str | None, auth: Any):
        try:
            import dask_gateway.auth
        except ImportError as error:
            raise MissingExtraError("A gateway needs the package dask-gateway: pip install dask-gateway.") from error
        try:
            self._auth = dask_gateway.auth.get_auth(_default_auth() if auth is None else auth)
            self._given = {"address": address, "proxy_address": proxy_address, "public_address": public_address}
            self.address, self.proxy_address, public = run(self._resolved)
            # From now on these, also if the configuration changes.
            self._given = {
                "address": self.address,
                "proxy_address": self.proxy_address,
                "public_address": public,
            }
        except (ValueError, TypeError, ImportError) as error:
            raise InputError(_unusable(error, auth)) from None
        except KeyError as error:
            raise InputError(
                f"gateway.* in Dask's configuration names the variable {error}, which is not set here."
            ) from None
        where = urlsplit(self.address)
        if where.username is not None or where.password is not None:
            raise InputError(
                "The gateway's address holds a login, which would be shown wherever the address is. Give it by auth=, "
                "such as dask_gateway.BasicAuth(username, password)."
            )
        if where.scheme not in ("http", "https") or not where.hostname:
            raise InputError(f"The address of a gateway looks like https://gateway.site/; given is {self.address!r}.")
        self.host, self.port = where.hostname, where.port or {"http": 80, "https": 443}[where.scheme]

    async def _resolved(self) -> tuple[str, str, str]:
        async with self.gateway() as gateway:  # Dask's own way from its configuration to addresses
            return gateway.address, gateway.proxy_address, gateway._public_address

    def arguments(self) -> dict[str, Any]:
        """What Dask's ``Gateway`` and ``GatewayCluster`` take."""
        return {**self._given, "auth": self._auth}

    def places(self) -> dict[str, str]:
        """The addresses alone, to be kept: nothing of how to log on."""
        return {name: str(value) for name, value in self._given.items()}

    def gateway(self) -> Any:
        """Dask's client of the gateway, for coroutines: its methods are to be awaited."""
        from dask_gateway import Gateway

        return Gateway(asynchronous=True, **self.arguments())

    def __repr__(self) -> str:
        return f"Contact({self.address})"


def _default_auth() -> str | None:
    """None leaves it to Dask's configuration; on a hub the user's token is at hand, and the gateway is the hub's."""
    import dask.config

    auth = config.get("cluster.gateway.auth")
    if auth != "auto":
        return str(auth)
    chosen = dask.config.get("gateway.auth.type", default=None)
    shipped = dask.config.get("gateway.auth.type", default=None, config=dask.config.merge(*dask.config.defaults))
    on_hub = "JUPYTERHUB_API_TOKEN" in os.environ
    return "jupyterhub" if on_hub and chosen == shipped and not dask.config.get("gateway.auth.kwargs", None) else None


def _unusable(error: Exception, auth: Any) -> str:
    if "address" in str(error):
        return (
            "There is no gateway's address: give address=, or set gateway.address in Dask's configuration "
            "(~/.config/dask/gateway.yaml, or DASK_GATEWAY__ADDRESS in the environment)."
        )
    how = "gateway.auth in Dask's configuration" if auth is None else "auth="
    if isinstance(auth, str):
        how += f"{auth!r}"
    # Of anything else only the type is told: it may hold a password.
    reason = str(error) if auth is None or isinstance(auth, str) else f"a {type(auth).__name__}"
    return (
        f"{how} cannot be used ({reason}): give 'jupyterhub', 'basic', 'kerberos', or an object such as "
        "dask_gateway.BasicAuth(username, password)."
    )


async def greet(contact: Contact, gateway: Any) -> None:
    """See whether a gateway is there.

    Raises
    ------
    ConnectError
        Nothing, or something else; the message tells which.
    """
    try:
        versions = await asyncio.wait_for(gateway.get_versions(), _ANSWER_S)
        if isinstance(versions["server"], dict) and "version" in versions["server"]:
            return
    except (ValueError, KeyError, TypeError):  # a page that is not there, or no JSON
        pass
    except Exception as error:  # noqa: BLE001 - told in words
        if (found := _explain(error, contact)) is not None:
            raise ConnectError(found) from None
    raise ConnectError(
        f"No gateway at {contact.address}: a web server answers, but not as a gateway does. Is a part of the path "
        "missing (https://hub.site/services/dask-gateway/), or is this the address of the hub or of a dashboard?"
    )


async def answer(contact: Contact, asked: Awaitable[T], doing: str) -> T:
    """What a gateway answers, or its reason not to.

    Parameters
    ----------
    asked : awaitable
        A call of a method of Dask's ``Gateway``.
    doing : str
        What for, for the message: ``"start a cluster"``.

    Raises
    ------
    ConnectError
        With the gateway's own words where it said any.
    """
    try:
        return await asyncio.wait_for(asked, _ANSWER_S)
    except Exception as error:  # noqa: BLE001 - told in words
        reason = _explain(error, contact) or f"The gateway at {contact.address} did not {doing}: {_words(error)}"
        # `from None`: an error of aiohttp holds the request with its password or token.
        raise ConnectError(reason) from None


def _explain(error: Exception, contact: Contact) -> str | None:
    """A reason that does not depend on what was asked."""
    import aiohttp

    at = f"No gateway at {contact.address}"
    status = getattr(error, "status", None)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"{at}: its certificate is not trusted here ({error.certificate_error}). Its authority's certificate goes "
            "to SSL_CERT_FILE."
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        obstacle = connection(contact.host, contact.port, timeout_s=2)
        if obstacle is None:
            return f"{at}: something listens there, but does not speak {urlsplit(contact.address).scheme}."
        return f"{at}: {obstacle.reason}. Is this the address that the site's documentation names?"
    if isinstance(error, TimeoutError):
        return f"The gateway at {contact.address} does not answer within {_ANSWER_S:g} s. Is it overloaded?"
    if isinstance(error, aiohttp.ClientResponseError) and status in (401, 403):
        return _refused(contact, status)
    if isinstance(error, aiohttp.ClientResponseError) and status in (502, 503, 504):
        return f"{at}: a proxy answers for it, with status {status}: the gateway behind it does not run, or not yet."
    if isinstance(error, aiohttp.ClientError) and status is None:
        return f"{at}: something listens there, but breaks off ({type(error).__name__})."
    return None


def _refused(contact: Contact, status: int) -> str:
    how = type(contact._auth).__name__
    user = getattr(contact._auth, "username", None)
    advice = {
        "BasicAuth": "Is the password right? auth=dask_gateway.BasicAuth(username, password), or gateway.auth.kwargs "
        "in Dask's configuration. On a hub: auth='jupyterhub'.",
        "JupyterHubAuth": "The hub's token may have expired (stop and start your server), or the gateway belongs to "
        "another hub.",
        "KerberosAuth": "Is there a valid ticket (`klist`)? `kinit` gets one.",
    }.get(how, "Ask the gateway's admin how users log on.")
    whom = f"{user!r} ({how})" if user else how
    word = "does not let you in" if status == 401 else "lets you in, but not do this"
    return f"The gateway at {contact.address} {word}: it refuses {whom} with status {status}. {advice}"


def _words(error: Exception) -> str:
    """What the gateway said, without the request that aiohttp's errors carry."""
    status, message = getattr(error, "status", None), getattr(error, "message", None)
    text = f"status {status}, {message}" if status is not None else str(error) or type(error).__name__
    return text.strip().rstrip(".") + "."


def run(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a loop of its own: a notebook's thread has one already. An interrupt ends it in order."""
    outcome: Future[T] = Future()
    ready = threading.Event()
    inside: list[Any] = []

    async def main() -> None:
        task = asyncio.ensure_future(make())
        inside.extend((asyncio.get_running_loop(), task))
        ready.set()
        try:
            outcome.set_result(await task)
        except BaseException as error:  # noqa: BLE001 - handed over whole
            outcome.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="af-kit-gateway", daemon=True)
    thread.start()
    try:
        return outcome.result()
    except BaseException:
        ready.wait(_PARTING_S)
        if inside and not outcome.done():
            inside[0].call_soon_threadsafe(inside[1].cancel)
        raise
    finally:
        thread.join(_PARTING_S)
