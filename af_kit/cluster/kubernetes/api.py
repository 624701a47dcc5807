"""Requests to the Kubernetes API server, with errors in one sentence."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from af_kit.errors import ConnectError, MissingExtraError

DASK = "kubernetes.dask.org/v1"
# Seconds for one request; a server that takes longer counts as unreachable.
_REQUEST_S = 10.0


async def connect(kube_context: str | None = None) -> Any:
    """Return a kr8s client of the Kubernetes cluster in this session's configuration, for the running event loop.

    Parameters
    ----------
    kube_context : str, optional
        A context of the kubeconfig, by default its current one.

    Raises
    ------
    ConnectError
        There is no configuration, or its server does not answer.
    """
    try:
        import httpx
        import kr8s.asyncio
    except ImportError as error:
        raise MissingExtraError("connect('kubernetes') needs dask-kubernetes: pip install dask-kubernetes") from error
    # Pass both arguments: without them kr8s returns any client that it has cached, also one of another cluster.
    path = os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        api = await kr8s.asyncio.api(kubeconfig=path, context=kube_context)
        await _remove_key_files(api.auth)
        if api.auth.active_context != (kube_context or ""):
            api = await kr8s.asyncio.api(kubeconfig=path, context=api.auth.active_context)
            await _remove_key_files(api.auth)
    except (
        ValueError, httpx.HTTPError, kr8s.ConnectionClosedError, kr8s.ServerError, kr8s.APITimeoutError, OSError
    ) as error:  # fmt: skip
        raise ConnectError(
            f"No Kubernetes cluster can be reached: {error_text(error)}. A pod uses its service account (is one "
            "mounted?); elsewhere $KUBECONFIG or ~/.kube/config is used. `kubectl get pods` shows whether that works."
        ) from error
    return api


async def _remove_key_files(auth: Any) -> None:
    """Remove the files to which kr8s writes a kubeconfig's keys, now and after each new login. kr8s leaves them."""
    if "ssl_context" in vars(auth):
        return
    log_in, make_context = auth.reauthenticate, auth.ssl_context
    contexts: list[Any] = []

    async def load_and_remove() -> None:
        contexts[:] = [await make_context()]
        written_by_kr8s = {
            auth.client_key_file: "client-key-data" in auth._user,
            auth.client_cert_file: "client-certificate-data" in auth._user,
            auth.server_ca_file: "certificate-authority-data" in auth._cluster,
        }
        for file in [Path(str(path)) for path, by_kr8s in written_by_kr8s.items() if by_kr8s]:
            if file.parent == Path(tempfile.gettempdir()):
                file.unlink(missing_ok=True)

    async def reauthenticate() -> None:
        await log_in()
        await load_and_remove()

    async def ssl_context() -> Any:
        return contexts[0]

    await load_and_remove()
    auth.reauthenticate, auth.ssl_context = reauthenticate, ssl_context


async def request(
    api: Any, method: str, path: str, *, namespace: str | None, version: str = "v1", body: Any = None, **options: Any
) -> dict[str, Any]:
    """Send one request and return the JSON of the answer.

    Parameters
    ----------
    api : kr8s.asyncio.Api
        From `connect`.
    method, path : str
        For example ``"GET"`` and ``"pods/NAME"``.
    namespace : str or None
        Namespace of the object; None for objects without one.
    version : str
        ``"v1"``, ``"apps/v1"``, ...
    body : Any
        Sent as JSON. With ``"PATCH"``, only the fields to change.
    **options
        ``params``, ``headers``.

    Raises
    ------
    Refused
        The server refused the request.
    ConnectError
        The server does not answer.
    """
    if body is not None:
        options["json"] = body
    if method == "PATCH":
        options["headers"] = {"Content-Type": "application/merge-patch+json", **options.get("headers", {})}
    async with _answer(api, method, path, namespace=namespace, version=version, **options) as answer:
        content: dict[str, Any] = answer.json()
        return content


async def fetch_text(api: Any, path: str, *, namespace: str, **options: Any) -> str:
    """Return an answer that is plain text, such as a log. Raises the same errors as `request`."""
    async with _answer(api, "GET", path, namespace=namespace, version="v1", **options) as answer:
        return str(answer.text)


@asynccontextmanager
async def _answer(
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
        raise ConnectError(f"The Kubernetes API server does not answer: {error_text(error)}.") from error


async def list_objects(
    api: Any,
    path: str,
    *,
    namespace: str,
    version: str = "v1",
    labels: Mapping[str, str] | None = None,
    fields: str = "",
) -> list[dict[str, Any]]:
    """Return the objects of one resource. Raises the same errors as `request`."""
    params = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())} if labels else {}
    if fields:
        params["fieldSelector"] = fields
    content = await request(api, "GET", path, namespace=namespace, version=version, params=params)
    items: list[dict[str, Any]] = content.get("items", [])
    return items


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference to an owner, an object of the API server, with which Kubernetes removes its dependents."""
    metadata = owner["metadata"]
    kind = {"apiVersion": owner.get("apiVersion", "v1"), "kind": owner.get("kind", "Pod")}
    return kind | {key: metadata[key] for key in ("name", "uid")}


class Refused(ConnectError):
    """The API server refused a request.

    Attributes
    ----------
    code : int
        The HTTP status: 403 for a missing permission or a quota, 404, 409 for a name in use, 422 for invalid fields.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def error_text(error: BaseException) -> str:
    """Return the text of an error on one line, or its class name if it has no text."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
