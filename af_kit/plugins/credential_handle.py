"""The client's half: put a credential on the scheduler, have every worker fetch it, renew it.

Two things are on the scheduler: the content (a `distributed.Variable`), and in the event log a line about what was
sent, without the content.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, SupportsIndex

from af_kit.credentials.credential import About, Credential, check_lifetime, duration, warn
from af_kit.errors import AfKitError, InputError
from af_kit.plugins.credential_plugin import CarrierPlugin, renew_on_worker
from af_kit.plugins.credential_watcher import Watcher

__all__ = ["Sent", "ask_workers", "check_client", "last_sent", "send", "take_off"]

logger = logging.getLogger(__name__)

# A worker that is just joining has its plugins within a moment.
_JOIN_S = 30
# One handle per client and kind is in charge: its watcher ends when another one is sent.
_in_charge: weakref.WeakKeyDictionary[Any, dict[str, Sent]] = weakref.WeakKeyDictionary()


class Sent:
    """A credential that is on the workers of a client, and comes to those that join later.

    Attributes
    ----------
    info : AboutProxy or AboutToken
        Whose it is (``.who``), until when (``.until``, ``.seconds_left``), where it was read (``.source``).
    workers : mapping of str to str
        The workers that had it when this was last looked at, and the path of the file on each.
    """

    info: About
    workers: Mapping[str, str]

    def __init__(
        self, client: Any, plugin: CarrierPlugin, read: Callable[[], Credential], min_lifetime_s: float
    ) -> None:
        # Weak, as the watcher's thread must not keep a client alive that the user has let go.
        self._client = weakref.ref(client)
        self._plugin, self._read, self._min_lifetime_s = plugin, read, min_lifetime_s
        self._lock = threading.RLock()
        self._watcher: Watcher | None = None
        self._digest = ""
        self.workers = {}

    @property
    def watching(self) -> bool:
        """Whether a change of the source is noticed and sent."""
        return self._watcher is not None and self._watcher.alive

    def refresh(self) -> Sent:
        """Read the source again and send what it holds now, with all checks; the path on the workers stays the same.

        Raises
        ------
        InputError
            What is there now cannot be sent. The workers keep what they have.
        AfKitError
            A worker could not take it.
        """
        self._send(self._read())
        return self

    def check(self) -> Mapping[str, str]:
        """Look at every worker of now, and bring it to those that lack it.

        Returns
        -------
        mapping of str to str
            Each worker's address, and ``"ok"`` or what is wrong.
        """
        with self._lock:
            return {address: self._verdict(state) for address, state in self._renew().items()}

    def stop(self) -> None:
        """Stop watching the source. The workers, also later ones, keep what they have."""
        if self._watcher is not None:
            self._watcher.stop()

    def remove(self) -> None:
        """Take the credential off the scheduler and all workers, and stop watching."""
        self.stop()
        client = self._client()
        if client is None or client.status != "running":
            return
        with self._lock:
            take_off(client, self._plugin.name)
            self.workers = {}

    def _send(self, credential: Credential, tell: Callable[[str], None] = warn) -> None:
        check_lifetime(credential.about, self._min_lifetime_s)
        with self._lock:
            _put(self._running(), self._plugin, credential)
            self.info, self._digest = credential.about, credential.secret.digest()
            states = self._renew()
        problems = {address: state["problem"] for address, state in states.items() if state["problem"]}
        if problems:
            address, problem = next(iter(problems.items()))
            raise AfKitError(
                f"The {self.info.what} could not be put on {len(problems)} of {len(states)} workers; on {address}: "
                f"{problem}. The others have it; refresh() tries again."
            )
        stuck = {address: state["stuck"] for address, state in states.items() if state.get("stuck")}
        if stuck:
            tell(
                f"{len(stuck)} of {len(states)} workers tried to log on before the proxy came, and XRootD looks for "
                f"ever where it looked then ({next(iter(stuck.values()))}). Start these processes again: "
                f"client.restart_workers({list(stuck)})"
            )

    def _send_if_changed(self) -> None:
        credential = self._read()
        if credential.secret.digest() != self._digest:
            self._send(credential, logger.warning)

    def _renew(self) -> dict[str, dict[str, Any]]:
        """Have every worker fetch what is on the scheduler, and tell how it stands there."""
        client, deadline = self._running(), time.monotonic() + _JOIN_S
        while True:
            states = ask_workers(client, renew_on_worker, self._plugin.name)
            if all(states.values()) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        missing: dict[str, Any] = {
            "digest": None,
            "path": "",
            "problem": "the plugin is not there: somebody unregistered it",
        }
        full = {address: state or missing for address, state in states.items()}
        self.workers = {address: state["path"] for address, state in full.items() if not state["problem"]}
        return full

    def _verdict(self, state: Mapping[str, Any]) -> str:
        if state["problem"]:
            return str(state["problem"])
        if state.get("stuck"):
            return f"XRootD in this process looks at {state['stuck']} for ever: restart the worker"
        return "ok" if state["digest"] == self._digest else "another one, which another client has sent since"

    def _running(self) -> Any:
        client = self._client()
        if client is None or client.status != "running":
            raise InputError("The client that this was sent with is closed: connect again, and send it there.")
        return client

    def __repr__(self) -> str:
        left = self.info.seconds_left
        time_left = "it has EXPIRED" if left <= 0 else f"{duration(left)} left" if self.info.until else ""
        count = len(self.workers)
        workers = f"{count} worker{'' if count == 1 else 's'} and " if count else ""
        watched = f"renewed from {self.info.source}" if self.watching else "not watched"
        parts = [str(self.info), time_left, f"on {workers}every later one", watched, _in_the_clear(self._client())]
        return "<" + ", ".join(part for part in parts if part) + ">"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "What send_proxy and send_token return belongs to this session and is not pickled: a function that runs on "
            "workers must not refer to it. There, X509_USER_PROXY or BEARER_TOKEN_FILE names the credential's file."
        )


def _in_the_clear(client: Any) -> str:
    """A word about a connection that others may listen to."""
    address = "" if client is None or client.scheduler is None else str(client.scheduler.address)
    scheme, _, rest = address.partition("://")
    local = rest.startswith(("127.", "[::1]", "localhost"))
    return "NOT encrypted on its way (security=True does)" if scheme in ("tcp", "ws", "ucx") and not local else ""


def check_client(client: Any, caller: str) -> None:
    """Refuse what is not a Dask client that can be used from here."""
    from distributed import Client

    if not isinstance(client, Client):
        raise InputError(
            f"{caller}() takes the Dask client that connect() gives, not a {type(client).__name__}. Without a cluster "
            "there is nothing to send: this process finds your credentials itself."
        )
    if client.asynchronous:
        raise InputError(f"{caller}() takes a client that waits for its answers: Client(..., asynchronous=False).")
    if client.status != "running":
        raise InputError(f"{caller}(): this client is {client.status}. Connect again.")


def send(
    client: Any,
    plugin: CarrierPlugin,
    read: Callable[[], Credential],
    *,
    min_lifetime_s: float,
    watch: bool,
    before: Callable[[Credential], None] = lambda credential: None,
) -> Sent:
    """Read a credential and send it; the handle is in charge of it from now on.

    Parameters
    ----------
    read : callable
        Reads the source, now and for each renewal.
    before : callable
        A last check, between reading and sending.
    """
    credential = read()
    check_lifetime(credential.about, min_lifetime_s)
    before(credential)
    _warn_of_replacement(client, plugin.name, credential.about)
    sent = Sent(client, plugin, read, min_lifetime_s)
    handles = _in_charge.setdefault(client, {})
    if plugin.name in handles:
        handles[plugin.name].stop()
    handles[plugin.name] = sent
    sent._send(credential)
    if watch:
        sent._watcher = Watcher(client, sent._send_if_changed, lambda: sent.info)
    return sent


def ask_workers(client: Any, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """What a function of the kit says on each worker; workers that go away meanwhile are left out.

    Raises
    ------
    InputError
        The workers do not have the kit, or another version of it.
    """
    answers = client.run(function, *args, on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, (ImportError, AttributeError)):
            raise _cannot_load(answer, f"The worker {address}") from None
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    return {address: answer for address, answer in answers.items() if not isinstance(answer, Exception)}


def take_off(client: Any, name: str) -> None:
    """Remove what was sent under a plugin's name, by whomever: from the scheduler, and from all workers."""
    client.sync(client.scheduler.variable_set, name=name, data=None)
    client.log_event(name, {"removed": True})
    # By now, and not a moment after the answer, as when the plugin is taken off.
    ask_workers(client, renew_on_worker, name)
    # Somebody else has unregistered it, a worker has not had it yet, or has just gone away.
    with suppress(ValueError, KeyError, OSError):
        client.unregister_worker_plugin(name)


def last_sent(client: Any, name: str) -> dict[str, Any] | None:
    """What the event log says of the credential that the workers have now; None if they have none."""
    events = client.get_events(name)
    last: dict[str, Any] = events[-1][1] if events else {"removed": True}
    return None if last.get("removed") else last


def _put(client: Any, plugin: CarrierPlugin, credential: Credential) -> None:
    """Put the content on the scheduler, and have it tell all workers, also later ones, to fetch it."""
    from distributed.protocol import to_serialize

    content = {"content": to_serialize(credential.secret), "options": dict(credential.options)}
    # In this order a worker that joins meanwhile finds the new content, or is among those that are told to fetch it.
    client.sync(client.scheduler.variable_set, name=plugin.name, data=content)
    client.log_event(plugin.name, credential.about.message())
    try:
        client.register_plugin(plugin)
    except (ImportError, AttributeError) as error:
        raise _cannot_load(error, "A worker") from None
    except OSError:
        pass  # a worker went away while it was told; the scheduler has the plugin, and the others are asked next


def _cannot_load(error: Exception, who: str) -> InputError:
    return InputError(
        f"{who} cannot load the kit's plugin: {type(error).__name__}: {error}. Install this version of af-kit in the "
        "workers' environment."
    )


def _warn_of_replacement(client: Any, name: str, about: About) -> None:
    last = last_sent(client, name)
    if last is not None and last["who"] != about.who:
        warn(
            f"The workers have the {last['what']} of {last['who']}; that of {about.who} takes its place, for all who "
            "use this cluster."
        )
