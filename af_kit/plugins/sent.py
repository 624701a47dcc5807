"""The client's half: put a credential on the scheduler, have every worker fetch it, renew it.

Two things stay on the scheduler: the content (a `distributed.Variable`), and a line in the event log of what was sent,
without the content.
"""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, SupportsIndex

from af_kit.errors import AfKitError, InputError
from af_kit.plugins.carrier import CarrierPlugin, renew_on_worker
from af_kit.plugins.credential import About, Credential, duration
from af_kit.plugins.watch import Watcher

__all__ = ["Sent", "ask_workers", "check_client", "send"]

# A worker that is just joining has its plugins within a moment.
_JOIN_S = 30
# One handle per client and kind is in charge: its watcher ends when another one is sent.
_in_charge: weakref.WeakKeyDictionary[Any, dict[str, Sent]] = weakref.WeakKeyDictionary()


class Sent:
    """A credential that is on the workers of a client, and on those that come later.

    Attributes
    ----------
    about : About
        Whose it is, until when, where it was read.
    workers : mapping of str to str
        The workers that had it when this was last looked at, and the path of the file on each.
    """

    def __init__(self, client: Any, plugin: CarrierPlugin, read: Callable[[], Credential]) -> None:
        # Weak, as the watcher's thread must not keep a client alive that the user has let go.
        self._client = weakref.ref(client)
        self._plugin, self._read = plugin, read
        self._lock = threading.RLock()
        self._watcher: Watcher | None = None
        self._digest = ""
        self.about: About
        self.workers: Mapping[str, str] = {}

    @property
    def info(self) -> About:
        """The same as ``about``."""
        return self.about

    @property
    def watching(self) -> bool:
        """Whether a change of the source is noticed and sent."""
        return self._watcher is not None and self._watcher.alive

    def refresh(self) -> Sent:
        """Read the source again and send what it holds now, with all checks; the workers' path stays the same.

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
        """Look at every worker of now, and send again to those that lack it.

        Returns
        -------
        mapping of str to str
            Each worker's address, and ``"ok"`` or what is wrong.
        """
        with self._lock:
            states = _renew(self._running(), self._plugin.name)
            self.workers = {address: state["path"] for address, state in states.items() if not state["problem"]}
            return {address: self._verdict(state) for address, state in states.items()}

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
            name = self._plugin.name
            client.sync(client.scheduler.variable_set, name=name, data=None)
            client.log_event(name, {"removed": True})
            try:
                client.unregister_worker_plugin(name)
            except ValueError:
                pass  # somebody else has removed it
            self.workers = {}

    def _send(self, credential: Credential) -> None:
        with self._lock:
            self.about = credential.about
            states = _deliver(self._running(), self._plugin, credential)
            self._digest = credential.secret.digest()
            self.workers = {address: state["path"] for address, state in states.items() if not state["problem"]}
            problems = {address: state["problem"] for address, state in states.items() if state["problem"]}
        _report_stuck(states)
        if problems:
            address, problem = next(iter(problems.items()))
            raise AfKitError(
                f"The {self.about.what} could not be put on {len(problems)} of {len(states)} workers; on {address}: "
                f"{problem}. The others have it; refresh() tries again."
            )

    def _renew_if_changed(self) -> None:
        """The watcher's look at the source."""
        credential = self._read()
        if credential.secret.digest() != self._digest:
            self._send(credential)

    def _verdict(self, state: Mapping[str, Any]) -> str:
        if state["problem"]:
            return str(state["problem"])
        if state.get("stuck"):
            return f"XRootD in this process looks at {state['stuck']} for ever: restart the worker"
        return "ok" if state["digest"] == self._digest else "another one, which was sent later by another client"

    def _running(self) -> Any:
        client = self._client()
        if client is None or client.status != "running":
            raise InputError(f"The client is closed: connect again, and send the {self.about.what} there.")
        return client

    def __repr__(self) -> str:
        left = self.about.seconds_left
        ended = "it has expired" if left <= 0 else f"{duration(left)} left"
        how_long = "" if self.about.until is None else f" ({ended})"
        count = len(self.workers)
        workers = f"on {count} worker{'' if count == 1 else 's'} and every later one" if count else "for every worker"
        watched = f", renewed from {self.about.source}" if self.watching else ""
        return f"<{self.about}{how_long}, {workers}{watched}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"What send_{'token' if 'token' in self._plugin.name else 'proxy'} returned belongs to this session and "
            "cannot be pickled: a function must not refer to it. On the workers, X509_USER_PROXY or BEARER_TOKEN_FILE "
            "names the credential's file."
        )


def check_client(client: Any, caller: str) -> None:
    """Refuse what is not a Dask client that can be used from here."""
    from distributed import Client

    if not isinstance(client, Client):
        raise InputError(
            f"{caller}() takes the Dask client that connect() gives, not a {type(client).__name__}. Without a cluster "
            "nothing is to be sent: this process finds your credentials itself."
        )
    if client.asynchronous:
        raise InputError(f"{caller}() takes a client that waits, not an asynchronous one: Client(asynchronous=False).")
    if client.status != "running":
        raise InputError(f"{caller}(): this client is {client.status}. Connect again.")


def send(
    client: Any, plugin: CarrierPlugin, credential: Credential, read: Callable[[], Credential], *, watch: bool
) -> Sent:
    """Send a credential for the first time, and return the handle that is in charge of it from now on."""
    before = _last_sent(client, plugin.name)
    if before is not None and before["who"] != credential.about.who:
        warnings.warn(
            f"The workers had the {before['what']} of {before['who']}, which is now replaced by that of "
            f"{credential.about.who}. All who use this cluster share it.",
            stacklevel=3,
        )
    sent = Sent(client, plugin, read)
    handles = _in_charge.setdefault(client, {})
    if plugin.name in handles:
        handles[plugin.name].stop()
    handles[plugin.name] = sent
    sent._send(credential)
    if watch:
        sent._watcher = Watcher(client, sent._renew_if_changed, lambda: sent.about)
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
            raise InputError(
                f"The worker {address} cannot load the kit's plugin: {type(answer).__name__}: {answer}. Install this "
                "version of af-kit in the workers' environment."
            )
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    return {address: answer for address, answer in answers.items() if not isinstance(answer, Exception)}


def _deliver(client: Any, plugin: CarrierPlugin, credential: Credential) -> dict[str, dict[str, Any]]:
    from distributed.protocol import to_serialize

    content = {"content": to_serialize(credential.secret), "options": dict(credential.options)}
    # In this order a worker that joins meanwhile finds the new content, or is among those that are told to fetch it.
    client.sync(client.scheduler.variable_set, name=plugin.name, data=content)
    client.log_event(plugin.name, credential.about.message())
    try:
        client.register_plugin(plugin)
    except OSError:
        pass  # a worker went away while it was told; the scheduler has the plugin, and the others are asked now
    return _renew(client, plugin.name)


def _renew(client: Any, name: str) -> dict[str, dict[str, Any]]:
    deadline = time.monotonic() + _JOIN_S
    while True:
        states = ask_workers(client, renew_on_worker, name)
        joining = [address for address, state in states.items() if state is None]
        if not joining or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    missing = {"digest": None, "path": "", "problem": "its plugin is not there: was it unregistered?"}
    return {address: state or missing for address, state in states.items()}


def _last_sent(client: Any, name: str) -> dict[str, Any] | None:
    events = client.get_events(name)
    last: dict[str, Any] = events[-1][1] if events else {"removed": True}
    return None if last.get("removed") else last


def _report_stuck(states: Mapping[str, Mapping[str, Any]]) -> None:
    stuck = {address: state["stuck"] for address, state in states.items() if state.get("stuck")}
    if stuck:
        warnings.warn(
            f"{len(stuck)} of {len(states)} workers have tried a login before the proxy came, and XRootD keeps to the "
            f"path where it looked then ({next(iter(stuck.values()))}). Restart these processes: "
            f"client.restart_workers({list(stuck)})",
            stacklevel=4,
        )
