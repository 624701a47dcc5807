"""The client's side of credentials: put one on the scheduler, have every worker fetch it, renew it.

The scheduler holds the content (a `distributed.Variable`), and its event log the public facts about it.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, SupportsIndex

from af_kit.credentials.credential import Credential, CredentialInfo, check_lifetime, format_duration, warn
from af_kit.errors import AfKitError, InputError
from af_kit.plugins.credential_plugin import CredentialPlugin, SecretMessage, renew_on_worker
from af_kit.plugins.credential_watcher import CredentialWatcher
from af_kit.plugins.spark import ask_executors, is_spark, sent_to, spark_context
from af_kit.plugins.spark_credentials import SparkCredential, send_credential_to_spark

__all__ = ["CredentialHandle", "ask_workers", "check_client", "last_sent", "remove_credential", "send_credential"]

logger = logging.getLogger(__name__)

# A worker that is just joining loads its plugins well within this time.
_JOIN_S = 30
# The current handle of each client and plugin: sending again stops the watcher of the previous handle.
_current: weakref.WeakKeyDictionary[Any, dict[str, CredentialHandle]] = weakref.WeakKeyDictionary()


class CredentialHandle:
    """A credential that was sent to a client's workers, and is delivered to those that join later.

    Attributes
    ----------
    info : ProxyInfo or TokenInfo
        Owner (``.who``), expiry (``.until``, ``.seconds_left``), source (``.source``).
    workers : mapping of str to str
        The workers that had the credential at the last check, and the path of its file on each.
    """

    info: CredentialInfo
    workers: Mapping[str, str]

    def __init__(
        self, client: Any, plugin: CredentialPlugin, read: Callable[[], Credential], min_lifetime_s: float
    ) -> None:
        # A weak reference, so that the watcher's thread does not keep the client alive.
        self._client = weakref.ref(client)
        self._plugin, self._read, self._min_lifetime_s = plugin, read, min_lifetime_s
        self._lock = threading.RLock()
        self._watcher: CredentialWatcher | None = None
        self._digest = ""
        self.workers = {}

    @property
    def watching(self) -> bool:
        """Whether changes of the source are noticed and sent."""
        return self._watcher is not None and self._watcher.alive

    def refresh(self) -> CredentialHandle:
        """Read the source again, check and send its current content; the path on the workers stays the same.

        Raises
        ------
        InputError
            The current content cannot be sent. The workers keep what they have.
        AfKitError
            A worker could not write it.
        """
        self._send(self._read())
        return self

    def check(self) -> Mapping[str, str]:
        """Check every current worker, and deliver the credential to those without it.

        Returns
        -------
        mapping of str to str
            Each worker's address, and ``"ok"`` or the problem.
        """
        with self._lock:
            return {address: self._verdict(state) for address, state in self._renew().items()}

    def stop(self) -> None:
        """Stop watching the source. Current and later workers keep the credential."""
        if self._watcher is not None:
            self._watcher.stop()

    def remove(self) -> None:
        """Remove the credential from the scheduler and all workers, and stop watching."""
        self.stop()
        client = self._client()
        if client is None or client.status != "running":
            return
        with self._lock:
            remove_credential(client, self._plugin.name)
            self.workers = {}

    def _send(self, credential: Credential, report: Callable[[str], None] = warn) -> None:
        check_lifetime(credential.info, self._min_lifetime_s)
        with self._lock:
            _put(self._running_client(), self._plugin, credential)
            self.info, self._digest = credential.info, credential.secret.digest()
            states = self._renew()
        problems = {address: state["problem"] for address, state in states.items() if state["problem"]}
        if problems:
            address, problem = next(iter(problems.items()))
            raise AfKitError(
                f"The {self.info.what} could not be written on {len(problems)} of {len(states)} workers; on {address}: "
                f"{problem}. The others have it; refresh() tries again."
            )
        stale = {address: state["stale_path"] for address, state in states.items() if state.get("stale_path")}
        if stale:
            report(
                f"{len(stale)} of {len(states)} workers tried to log in before the proxy arrived, and XRootD in these "
                f"processes keeps using the old path ({next(iter(stale.values()))}). Restart them: "
                f"client.restart_workers({list(stale)})"
            )

    def _send_if_changed(self) -> None:
        credential = self._read()
        if credential.secret.digest() != self._digest:
            self._send(credential, logger.warning)

    def _renew(self) -> dict[str, dict[str, Any]]:
        """Have every worker fetch the scheduler's content, and return each worker's state."""
        client, deadline = self._running_client(), time.monotonic() + _JOIN_S
        while True:
            answers = ask_workers(client, renew_on_worker, self._plugin.name)
            if all(answers.values()) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        missing = {"digest": None, "path": "", "problem": "the plugin is missing: somebody unregistered it"}
        states: dict[str, dict[str, Any]] = {address: state or missing for address, state in answers.items()}
        self.workers = {address: state["path"] for address, state in states.items() if not state["problem"]}
        return states

    def _verdict(self, state: Mapping[str, Any]) -> str:
        if state["problem"]:
            return str(state["problem"])
        if state.get("stale_path"):
            return f"XRootD in this process keeps using {state['stale_path']}: restart the worker"
        return "ok" if state["digest"] == self._digest else "a newer one, sent by another client"

    def _running_client(self) -> Any:
        client = self._client()
        if client is None or client.status != "running":
            raise InputError("The client that sent this credential is closed: connect again, and send it there.")
        return client

    def __repr__(self) -> str:
        left = self.info.seconds_left
        time_left = "EXPIRED" if left <= 0 else f"{format_duration(left)} left" if self.info.until else ""
        count = len(self.workers)
        workers = f"{count} worker{'' if count == 1 else 's'} and " if count else ""
        watched = f"renewed from {self.info.source}" if self.watching else "not watched"
        parts = [str(self.info), time_left, f"on {workers}every later one", watched, _unencrypted(self._client())]
        return "<" + ", ".join(part for part in parts if part) + ">"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "The return value of send_proxy or send_token belongs to this session and is not pickled: a function that "
            "runs on workers must not refer to it. There, X509_USER_PROXY or BEARER_TOKEN_FILE names the file."
        )


def _unencrypted(client: Any) -> str:
    """Return a warning for a connection that others can listen to."""
    address = "" if client is None or client.scheduler is None else str(client.scheduler.address)
    scheme, _, rest = address.partition("://")
    local = rest.startswith(("127.", "[::1]", "localhost"))
    return "NOT encrypted in transit (use security=True)" if scheme in ("tcp", "ws", "ucx") and not local else ""


def check_client(client: Any, caller: str) -> None:
    """Refuse anything but a running, synchronous Dask client, or a Spark session."""
    from distributed import Client

    if is_spark(client):
        spark_context(client)
        return
    if not isinstance(client, Client):
        raise InputError(
            f"{caller}() takes the Dask client that connect() returns, not a {type(client).__name__}. Without a "
            "cluster there is nothing to send: this process finds your credentials itself."
        )
    if client.asynchronous:
        raise InputError(f"{caller}() takes a synchronous client: Client(..., asynchronous=False).")
    if client.status != "running":
        raise InputError(f"{caller}(): this client is {client.status}. Connect again.")


def send_credential(
    client: Any,
    plugin: CredentialPlugin,
    read: Callable[[], Credential],
    *,
    min_lifetime_s: float,
    watch: bool,
    before_sending: Callable[[Credential], None] = lambda credential: None,
) -> CredentialHandle | SparkCredential:
    """Read a credential and send it to the workers; its handle replaces the client's previous one.

    Parameters
    ----------
    read : callable
        Reads the source, now and for each renewal.
    before_sending : callable
        A last check after reading.
    """
    if is_spark(client):
        return send_credential_to_spark(
            client, plugin, read, min_lifetime_s=min_lifetime_s, watch=watch, before_sending=before_sending
        )
    credential = read()
    check_lifetime(credential.info, min_lifetime_s)
    before_sending(credential)
    _warn_if_replaced(client, plugin.name, credential.info)
    handle = CredentialHandle(client, plugin, read, min_lifetime_s)
    handles = _current.setdefault(client, {})
    if plugin.name in handles:
        handles[plugin.name].stop()
    handles[plugin.name] = handle
    handle._send(credential)
    if watch:
        handle._watcher = CredentialWatcher(client, handle._send_if_changed, lambda: handle.info)
    return handle


def ask_workers(client: Any, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Run a function of the kit on each worker, and return the answers, without those of workers that have just left.

    On Spark, the executors with a free core answer.

    Raises
    ------
    InputError
        The workers do not have the kit, or have another version of it.
    """
    if is_spark(client):
        return ask_executors(client, function, *args)
    answers = client.run(function, *args, on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, (ImportError, AttributeError)):
            raise _cannot_load(answer, f"The worker {address}") from None
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    return {address: answer for address, answer in answers.items() if not isinstance(answer, Exception)}


def remove_credential(client: Any, name: str) -> None:
    """Remove what any client has sent under a plugin's name, from the scheduler and all workers."""
    client.sync(client.scheduler.variable_set, name=name, data=None)
    client.log_event(name, {"removed": True})
    # Unregistering alone would remove the files a moment after this call returns.
    ask_workers(client, renew_on_worker, name)
    # Somebody else has unregistered it, a worker has not yet received it, or a worker has just left.
    with suppress(ValueError, KeyError, OSError):
        client.unregister_worker_plugin(name)


def last_sent(client: Any, name: str) -> dict[str, Any] | None:
    """Return the event log's facts about the workers' current credential; None if they have none."""
    if is_spark(client):
        return sent_to(client).facts.get(name)
    events = client.get_events(name)
    last: dict[str, Any] = events[-1][1] if events else {"removed": True}
    return None if last.get("removed") else last


def _put(client: Any, plugin: CredentialPlugin, credential: Credential) -> None:
    """Put the content on the scheduler, and register the plugin that fetches it on current and later workers."""
    from distributed.protocol import to_serialize

    message = {
        "content": to_serialize(SecretMessage(credential.secret.reveal())),
        "options": dict(credential.options),
    }
    # In this order, a worker that joins meanwhile either finds the new content or is asked to fetch it.
    client.sync(client.scheduler.variable_set, name=plugin.name, data=message)
    client.log_event(plugin.name, credential.info.event())
    try:
        client.register_plugin(plugin)
    except (ImportError, AttributeError) as error:
        raise _cannot_load(error, "A worker") from None
    except OSError:
        pass  # a worker has just left; the scheduler has the plugin, and the others are asked next


def _cannot_load(error: Exception, who: str) -> InputError:
    return InputError(
        f"{who} cannot load the kit's plugin: {type(error).__name__}: {error}. Install this version of af-kit in the "
        "workers' environment."
    )


def _warn_if_replaced(client: Any, name: str, info: CredentialInfo) -> None:
    last = last_sent(client, name)
    if last is not None and last["who"] != info.who:
        warn(
            f"The workers have the {last['what']} of {last['who']}; the one of {info.who} replaces it for everybody "
            "who uses this cluster."
        )
