"""The Kubernetes API server: requests, and its refusals in one sentence."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from af_kit.errors import ConnectError, MissingExtraError

DASK = "kubernetes.dask.org/v1"
# Seconds for one request: one that takes longer is a server that is not there.
_REQUEST_S = 10.0


async def connected(context: str | None = None) -> Any:
    """A kr8s client of the cluster that this session's configuration names; ``context``: another part of it.

    It is for the running event loop, and stays with the cluster that it was made for.

    Raises
    ------
    ConnectError
        There is no configuration, or its server does not answer.
    """
    try:
        import kr8s.asyncio
    except ImportError as error:
        raise MissingExtraError("connect('kubernetes') needs dask-kubernetes: pip install dask-kubernetes") from error
    # Both named: kr8s gives a client that it has, whatever that one is for, where nothing is.
    path = os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        api = await kr8s.asyncio.api(kubeconfig=path, context=context)
        await _keep_no_keys(api.auth)
        if api.auth.active_context != (context or ""):
            api = await kr8s.asyncio.api(kubeconfig=path, context=api.auth.active_context)
            await _keep_no_keys(api.auth)
    except (ValueError, kr8s.ConnectionClosedError, kr8s.ServerError, kr8s.APITimeoutError, OSError) as error:
        raise ConnectError(
            f"No Kubernetes cluster can be reached: {said(error)}. In a pod its service account is used (is one "
            "mounted?), elsewhere $KUBECONFIG or ~/.kube/config; `kubectl get pods` shows whether that works."
        ) from error
    return api


async def _keep_no_keys(auth: Any) -> None:
    """Remove the files that kr8s writes a kubeconfig's keys into, now and whenever it logs in again: it leaves them."""
    if "ssl_context" in vars(auth):
        return
    log_in, make = auth.reauthenticate, auth.ssl_context
    contexts: list[Any] = []

    async def tidy() -> None:
        contexts[:] = [await make()]
        made = {
            auth.client_key_file: "client-key-data" in auth._user,
            auth.client_cert_file: "client-certificate-data" in auth._user,
            auth.server_ca_file: "certificate-authority-data" in auth._cluster,
        }
        for file in [Path(str(path)) for path, by_kr8s in made.items() if by_kr8s]:
            if file.parent == Path(tempfile.gettempdir()):
                file.unlink(missing_ok=True)

    async def reauthenticate() -> None:
        await log_in()
        await tidy()

    async def ssl_context() -> Any:
        return contexts[0]

    await tidy()
    auth.reauthenticate, auth.ssl_context = reauthenticate, ssl_context


async def request(
    api: Any, method: str, path: str, *, namespace: str | None, version: str = "v1", body: Any = None, **options: Any
) -> dict[str, Any]:
    """One request; the answer's JSON.

    Parameters
    ----------
    api : kr8s.asyncio.Api
        From `connected`.
    method, path : str
        ``"GET"``, ``"pods/NAME"``.
    namespace : str or None
        Whose; None for what belongs to no namespace.
    version : str
        ``"v1"``, ``"apps/v1"``, ...
    body : Any
        Sent as JSON; with ``"PATCH"`` what is to be changed, the rest stays.
    **options
        ``params``, ``headers``.

    Raises
    ------
    Refused
        The server said no, with its words and its code.
    ConnectError
        It could not be reached.
    """
    if body is not None:
        options["json"] = body
    if method == "PATCH":
        options["headers"] = {"Content-Type": "application/merge-patch+json", **options.get("headers", {})}
    async with _answered(api, method, path, namespace=namespace, version=version, **options) as answer:
        content: dict[str, Any] = answer.json()
        return content


async def text(api: Any, path: str, *, namespace: str, **options: Any) -> str:
    """The plain text of an answer, such as a log; raises as `request` does."""
    async with _answered(api, "GET", path, namespace=namespace, version="v1", **options) as answer:
        return str(answer.text)


@asynccontextmanager
async def _answered(
    api: Any, method: str, path: str, *, namespace: str | None, version: str, **options: Any
) -> AsyncIterator[Any]:
    import httpx
    import kr8s

    try:
        async with api.call_api(
            method, version=version, namespace=namespace, url=path, timeout=_REQUEST_S, **options
        ) as answer:
            yield answer
    except kr8s.ServerError as error:
        code = error.response.status_code if error.response is not None else 0
        raise Refused(str(error), code) from error
    except (httpx.HTTPError, kr8s.APITimeoutError, kr8s.ConnectionClosedError, OSError) as error:
        raise ConnectError(f"The Kubernetes API server does not answer: {said(error)}.") from error


async def listed(
    api: Any,
    path: str,
    *,
    namespace: str,
    version: str = "v1",
    labels: Mapping[str, str] | None = None,
    fields: str = "",
) -> list[dict[str, Any]]:
    """The objects of one kind; raises as `request` does."""
    params = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())} if labels else {}
    if fields:
        params["fieldSelector"] = fields
    content = await request(api, "GET", path, namespace=namespace, version=version, params=params)
    items: list[dict[str, Any]] = content.get("items", [])
    return items


def owner(thing: Mapping[str, Any]) -> dict[str, Any]:
    """The reference that makes Kubernetes remove an object together with ``thing``, as the API server has that."""
    metadata = thing["metadata"]
    kind = {"apiVersion": thing.get("apiVersion", "v1"), "kind": thing.get("kind", "Pod")}
    return kind | {key: metadata[key] for key in ("name", "uid")}


class Refused(ConnectError):
    """The API server refused a request.

    Attributes
    ----------
    code : int
        The HTTP status: 403 for a missing right or a quota, 404, 409 for a name that is taken, 422 for what is invalid.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def said(error: BaseException) -> str:
    """The words of an error, in one line; its name where it has none."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
