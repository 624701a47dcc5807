"""Requests to a Dask Gateway, and the reasons why they fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from af_kit import config
from af_kit.cluster.coroutines import run_sync
from af_kit.cluster.probe import connection
from af_kit.errors import ConnectError, InputError, MissingExtraError

if TYPE_CHECKING:
    from af_kit.cluster.detached.registry import Entry

__all__ = ["GatewayClient", "is_running"]

T = TypeVar("T")
# Seconds for one request. A gateway answers at once; a cluster's start is polled.
_ANSWER_S = 10.0
_STOP_S = 5.0
_PROXY_ADVICE = "Give proxy_address=, or gateway.proxy-address in Dask's configuration, as in the site's documentation."


# What to do if the gateway refuses a login, by the type of the login.
_LOGIN_ADVICE = {
    "BasicAuth": "Is the password right? auth=dask_gateway.BasicAuth(username, password), or gateway.auth.kwargs in "
    "Dask's configuration. On a hub: auth='jupyterhub'.",
    "JupyterHubAuth": "The hub's token may have expired (stop and start your server), or the gateway belongs to "
    "another hub.",
    "KerberosAuth": "Is there a valid ticket (`klist`)? `kinit` gets one.",
}


class GatewayClient:
    """The address of a gateway and the user's login; arguments take precedence over Dask's own ``gateway.*``.

    Attributes
    ----------
    addresses : dict
        The addresses of the gateway, of its schedulers and of the gateway for a browser, without the login.

    Raises
    ------
    InputError
        The address is missing or invalid, or the login cannot be used.
    MissingExtraError
        dask-gateway is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: Any = None,
    ) -> None:
        try:
            import dask_gateway.auth
        except ImportError as error:
            raise MissingExtraError("A gateway needs the package dask-gateway: pip install dask-gateway.") from error
        self._gateway: Any = None
        self.addresses = {"address": address, "proxy_address": proxy_address, "public_address": public_address}
        try:
            self._auth = dask_gateway.auth.get_auth(_default_auth() if auth is None else auth)
            # Dask completes the addresses from its configuration; they stay, even if the configuration changes.
            self.addresses = self.run(self._complete_addresses)
        except (ValueError, TypeError, ImportError, KeyError) as error:
            raise InputError(_why_unusable(error, auth)) from None
        self.address, self.proxy_address = str(self.addresses["address"]), str(self.addresses["proxy_address"])
        url = urlsplit(self.address)
        if url.username is not None or url.password is not None:
            raise InputError(
                "The gateway's address contains a login, which would be shown together with it. Use auth= instead, "
                "such as dask_gateway.BasicAuth(username, password)."
            )
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InputError(f"The address of a gateway looks like https://gateway.site/, not like {self.address!r}.")
        self._host, self._port = url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]

    @classmethod
    def of_entry(cls, entry: Entry) -> GatewayClient:
        """Return a client of the gateway of a registry entry; Dask's configuration has the login."""
        return cls(*(entry.more[name] for name in ("address", "proxy_address", "public_address")))

    @classmethod
    def of_cluster(cls, cluster: Any) -> GatewayClient:
        """Return a client of the gateway of a cluster object."""
        gateway = cluster.gateway
        return cls(gateway.address, gateway.proxy_address, gateway._public_address, gateway.auth)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of Dask's ``Gateway`` and ``GatewayCluster``."""
        return {**self.addresses, "auth": self._auth}

    def run(self, action: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine that uses the requests below, and return its result."""
        from dask_gateway import Gateway

        async def main() -> T:
            async with Gateway(asynchronous=True, **self.arguments()) as self._gateway:
                return await action()

        return run_sync(main)

    async def check(self) -> None:
        """Raise ConnectError unless a gateway answers at the address, with what is wrong there."""
        try:
            versions = await asyncio.wait_for(self._gateway.get_versions(), _ANSWER_S)
            if isinstance(versions["server"], dict) and "version" in versions["server"]:
                return
        except (ValueError, KeyError, TypeError):  # a page that does not exist, or that is not JSON
            pass
        except Exception as error:  # noqa: BLE001 - becomes a message
            if (reason := self._reason(error)) is not None:
                raise ConnectError(reason) from None
        raise ConnectError(
            f"No gateway at {self.address}: a web server answers, but not as a gateway does. Is a part of the path "
            "missing (https://hub.site/services/dask-gateway/), or is this the address of the hub or of a dashboard?"
        )

    async def check_proxy(self) -> None:
        """Raise ConnectError if nothing listens at the schedulers' address. Checked before a cluster is started."""
        host, _, port = self.proxy_address.removeprefix("gateway://").rpartition(":")
        if not port.isdecimal():
            raise InputError(
                f"proxy_address={self.proxy_address!r} has no port: it looks like gateway://dask.site:8786."
            )
        problem = await asyncio.to_thread(connection, host, int(port), timeout_s=_ANSWER_S)
        if problem is not None:
            raise ConnectError(
                f"The gateway at {self.address} answers, but its schedulers cannot be reached at "
                f"{self.proxy_address}: {problem.reason}. {_PROXY_ADVICE}"
            )

    async def check_scheduler(self, report: Any) -> None:
        """Raise ConnectError if a cluster's scheduler does not run or cannot be reached."""
        from distributed.comm import connect

        if report.status.name != "RUNNING":
            raise ConnectError(f"The gateway reports that cluster {report.name} is {report.status.name.lower()}.")
        arguments = report.security.get_connection_args("client")
        try:
            await (await connect(report.scheduler_address, timeout=_ANSWER_S, **arguments)).close()
        except (OSError, TimeoutError) as error:
            raise ConnectError(
                f"The gateway at {self.address} runs the cluster {report.name}, but what answers at "
                f"{self.proxy_address} does not lead to its scheduler ({type(error.__cause__ or error).__name__}). "
                f"{_PROXY_ADVICE}"
            ) from None

    async def clusters(self) -> list[Any]:
        """Return the gateway's reports on the user's clusters."""
        return list(await self._ask(self._gateway.list_clusters(), "list your clusters"))

    async def report(self, cluster: str) -> Any:
        """Return the gateway's report on a cluster."""
        return await self._ask(self._gateway.get_cluster(cluster), "report on the cluster")

    async def options(self) -> Any:
        """Return the options that the gateway offers."""
        return await self._ask(self._gateway.cluster_options(use_local_defaults=False), "list its options")

    async def submit(self, options: Any) -> str:
        """Have the gateway start a cluster, and return its id."""
        return str(await self._ask(self._gateway.submit(cluster_options=options), "start a cluster"))

    async def scale(self, cluster: str, workers: int) -> None:
        """Ask for workers. A gateway that grants fewer only warns; here that is an error."""
        from dask_gateway.client import GatewayWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", GatewayWarning)
            await self._ask(self._gateway.scale_cluster(cluster, workers), f"start {workers} workers")
        limits = [str(warning.message) for warning in caught if issubclass(warning.category, GatewayWarning)]
        if limits:
            raise ConnectError(
                f"The gateway at {self.address} does not grant {workers} workers: {limits[0]} Ask for fewer, or for "
                "workers with fewer cores. The cluster was cancelled."
            )

    async def stop(self, cluster: str) -> None:
        """Have the gateway stop a cluster, and ignore errors."""
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._gateway.stop_cluster(cluster), _STOP_S)

    async def _ask(self, request: Awaitable[T], action: str) -> T:
        """Return the gateway's answer, or raise ConnectError; ``action`` ends "The gateway did not"."""
        try:
            return await asyncio.wait_for(request, _ANSWER_S)
        except Exception as error:  # noqa: BLE001 - becomes a message
            reason = self._reason(error) or f"The gateway at {self.address} did not {action}: {_text(error)}"
            # `from None`: an error of aiohttp holds the request with its password or token.
            raise ConnectError(reason) from None

    async def _complete_addresses(self) -> dict[str, Any]:
        names = {"address": "address", "proxy_address": "proxy_address", "public_address": "_public_address"}
        return {name: getattr(self._gateway, attribute) for name, attribute in names.items()}

    def _reason(self, error: Exception) -> str | None:
        """Return the reason of an error that any request may have."""
        import aiohttp

        no_gateway = f"No gateway at {self.address}"
        status = getattr(error, "status", None)
        if status in (401, 403):
            return self._why_refused(status)
        if status in (502, 503, 504):
            return (
                f"{no_gateway}: a proxy answers with status {status}; the gateway behind it does not run, or not yet."
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return (
                f"{no_gateway}: its certificate is not trusted here ({error.certificate_error}). Set SSL_CERT_FILE to "
                "a file with the certificate of its authority."
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            problem = connection(self._host, self._port, timeout_s=2)
            if problem is None:
                return f"{no_gateway}: the server there does not speak {urlsplit(self.address).scheme}."
            return f"{no_gateway}: {problem.reason}. Is this the address in the site's documentation?"
        if isinstance(error, TimeoutError):
            return f"The gateway at {self.address} does not answer within {_ANSWER_S:g} s. Is it overloaded?"
        if isinstance(error, aiohttp.ClientError) and status is None:
            return f"{no_gateway}: the server there breaks off the connection ({type(error).__name__})."
        return None

    def _why_refused(self, status: int) -> str:
        method = type(self._auth).__name__
        user = getattr(self._auth, "username", None)
        who = f"{user!r} ({method})" if user else method
        what = "does not let you in" if status == 401 else "lets you in, but does not permit this"
        advice = _LOGIN_ADVICE.get(method, "Ask the gateway's admin how users log in.")
        return f"The gateway at {self.address} {what}: it refuses {who} with status {status}. {advice}"

    def __repr__(self) -> str:
        return f"GatewayClient({self.address})"


def is_running(entry: Entry) -> bool:
    """Return whether the gateway has the cluster of a registry entry; True if the gateway does not answer."""
    try:
        client = GatewayClient.of_entry(entry)
        return entry.more["cluster"] in {report.name for report in client.run(client.clusters)}
    except (InputError, ConnectError):
        return True


def _default_auth() -> str | None:
    """Return the login without an argument: the user's token on a hub, or None for Dask's configuration."""
    import dask.config

    auth = config.get("cluster.gateway.auth")
    if auth != "auto":
        return str(auth)
    chosen = dask.config.get("gateway.auth.type", default=None)
    default = dask.config.get("gateway.auth.type", default=None, config=dask.config.merge(*dask.config.defaults))
    on_hub = "JUPYTERHUB_API_TOKEN" in os.environ
    return "jupyterhub" if on_hub and chosen == default and not dask.config.get("gateway.auth.kwargs", None) else None


def _why_unusable(error: Exception, auth: Any) -> str:
    if isinstance(error, KeyError):
        return f"gateway.* in Dask's configuration names the variable {error}, which is not set here."
    if "address" in str(error):
        return (
            "No gateway's address is given: give address=, or set gateway.address in Dask's configuration "
            "(~/.config/dask/gateway.yaml, or DASK_GATEWAY__ADDRESS in the environment)."
        )
    if auth is None:
        what = f"gateway.auth in Dask's configuration cannot be used ({error})"
    elif isinstance(auth, str):
        what = f"auth={auth!r} cannot be used ({error})"
    else:  # only its type: it may hold a password
        what = f"auth= cannot be used (a {type(auth).__name__})"
    return (
        f"{what}: give 'jupyterhub', 'basic', 'kerberos', or an object such as "
        "dask_gateway.BasicAuth(username, password)."
    )


def _text(error: Exception) -> str:
    """Return the gateway's own words, without the request that aiohttp's errors carry."""
    status = getattr(error, "status", None)
    text = str(error) if status is None else f"status {status}, {getattr(error, 'message', '')}"
    return f"{text.strip().rstrip('.') or type(error).__name__}."
