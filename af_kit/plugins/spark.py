"""What was sent to a Spark session: files, packages and credentials, and how they reach its executors.

Spark has no plugins for Python workers. So every task of the kit brings a `Delivery`, the list of what was sent so far,
and calls `receive` before it does anything else. An executor that comes late receives everything with its first task.

Content travels as Spark's own files (``SparkContext.addFile``), under names that contain its digest, because Spark
never replaces a file. A credential is encrypted in the delivery. Its key is a local property of the job, which Spark
keeps in memory, and does not write to its event log, because of its name. Neither is of use without the other.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from af_kit.credentials import environment_variables
from af_kit.credentials.credential import Credential
from af_kit.credentials.private_files import private_folder
from af_kit.credentials.secret import SecretBytes, remove_secret, secret_path, write_secret
from af_kit.errors import ConnectError, InputError

__all__ = [
    "Delivery", "Item", "SentToSpark", "ask_executors", "executor_folder", "executor_name", "is_spark", "receive",
    "sent_to", "spark_context",
]  # fmt: skip

# Spark's own rule (spark.redaction.regex) hides a property whose name contains "secret".
_KEY = "af-kit-secret-key"


class Item(NamedTuple):
    """A file that was sent.

    Attributes
    ----------
    name : str
        The name of the worker plugin that delivers it on Dask, such as ``"af-file-muon_sf"``.
    digest : str
        SHA-256 of the content.
    filename : str
        The name by which ``SparkFiles.get`` finds it on an executor.
    arrive, leave : callable
        Called in each Python process of the executors with the path and the digest, when it comes and when it goes.
    """

    name: str
    digest: str
    filename: str
    arrive: Callable[[Path, str], None]
    leave: Callable[[Path, str], None]


class _Sealed(NamedTuple):
    """A credential, encrypted; ``sent`` is the time at which it was sent, in seconds since 1970."""

    plugin: Any
    content: bytes
    options: Mapping[str, Any]
    sent: float


@dataclass(frozen=True)
class Delivery:
    """Everything that was sent to a session up to now, for one job."""

    version: int = 0
    items: tuple[Item, ...] = ()
    credentials: tuple[_Sealed, ...] = field(default=(), repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The session's configuration of af-kit, which the executors use, too."""


# ------------------------------------------------------------------------------------------------------ in the session


def is_spark(value: Any) -> bool:
    """Return whether a value is one of Spark's, and not a Dask client."""
    return type(value).__module__.partition(".")[0] == "pyspark"


def spark_context(session: Any) -> Any:
    """Return the SparkContext of a session.

    Raises
    ------
    InputError
        It is not a SparkSession, or one of Spark Connect, which cannot run the kit's tasks.
    ConnectError
        It is stopped.
    """
    if not is_spark(session) or type(session).__name__ != "SparkSession":
        raise InputError(
            f"spark takes a SparkSession, not a {type(session).__name__}: "
            "pyspark.sql.SparkSession.builder.master(...).getOrCreate()."
        )
    if ".connect" in type(session).__module__:
        raise InputError(
            "This is a session of Spark Connect, which cannot run Python tasks with files of their own. Use a classic "
            'session: SparkSession.builder.master("spark://..."), "yarn" or "k8s://...".'
        )
    context = session.sparkContext
    if context._jsc is None or context._jsc.sc().isStopped():
        raise ConnectError("The Spark session is stopped: create a new one, and send files and credentials again.")
    return context


class SentToSpark:
    """What was sent to one SparkContext."""

    def __init__(self, context: Any) -> None:
        from cryptography.fernet import Fernet

        self._context = weakref.ref(context)
        self._key = Fernet.generate_key()
        self._lock = threading.RLock()
        self._version = 0
        self._items: dict[str, Item] = {}
        self._credentials: dict[str, _Sealed] = {}
        self._added: set[str] = set()
        self.facts: dict[str, dict[str, Any]] = {}
        """Public facts about each credential, by the name of its plugin."""
        # Spark reads a file from here whenever an executor asks for it.
        self._folder = Path(tempfile.mkdtemp(prefix="af-kit-spark-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def status(self) -> str:
        """``"running"`` or ``"closed"``, in the words of a Dask client."""
        context = self._context()
        return "running" if context is not None and context._jsc is not None else "closed"

    def digests(self, prefix: str) -> dict[str, str]:
        """Return the digests of the files whose names start with a prefix, without that prefix."""
        return {name.removeprefix(prefix): item.digest for name, item in self._items.items() if name.startswith(prefix)}

    def add(
        self,
        name: str,
        path: str | Path,
        digest: str,
        *,
        arrive: Callable[[Path, str], None],
        leave: Callable[[Path, str], None],
    ) -> None:
        """Send a file, in place of one of the same name; see `Item` for the parameters.

        Raises
        ------
        InputError
            The content of the file has changed.
        """
        from af_kit.plugins.store import sha256_of

        filename = f"{digest[:16]}-{Path(path).name}"
        with self._lock:
            if filename not in self._added:
                copy = self._folder / filename
                shutil.copyfile(path, copy)
                if sha256_of(copy) != digest:
                    raise InputError(f"{path} changed while it was being sent. Send it when it is complete.")
                self._running().addFile(str(copy))
                self._added.add(filename)
            self._items[name] = Item(name, digest, filename, arrive, leave)
            self._version += 1

    def remove(self, name: str) -> None:
        """Remove a file: tasks that start from now on do not have it."""
        with self._lock:
            del self._items[name]
            self._version += 1

    def put_credential(self, plugin: Any, credential: Credential) -> None:
        """Send a credential to all executors with the next tasks, in place of the one before."""
        from cryptography.fernet import Fernet

        content = Fernet(self._key).encrypt(credential.secret.reveal())
        with self._lock:
            self._credentials[plugin.name] = _Sealed(plugin, content, dict(credential.options), time.time())
            self.facts[plugin.name] = credential.info.event()
            self._version += 1

    def remove_credential(self, name: str) -> None:
        """Remove a credential."""
        with self._lock:
            self._credentials.pop(name, None)
            self.facts.pop(name, None)
            self._version += 1

    def delivery(self) -> Delivery:
        """Return what a job that this thread submits now brings to the executors, and give the job the key."""
        import dask

        self._running().setLocalProperty(_KEY, self._key.decode())
        with self._lock:
            settings = dask.config.get("af_kit", {})
            return Delivery(self._version, tuple(self._items.values()), tuple(self._credentials.values()), settings)

    def _running(self) -> Any:
        context = self._context()
        if context is None or context._jsc is None:
            raise ConnectError("The Spark session is stopped: create a new one, and send files and credentials again.")
        return context


_sent: weakref.WeakKeyDictionary[Any, SentToSpark] = weakref.WeakKeyDictionary()
_sent_lock = threading.Lock()


def sent_to(session: Any) -> SentToSpark:
    """Return what was sent to a session, or nothing yet."""
    context = spark_context(session)
    with _sent_lock:
        if context not in _sent:
            _sent[context] = SentToSpark(context)
        return _sent[context]


def ask_executors(session: Any, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """Run a function of the kit on the executors, with everything that was sent, and return the answers.

    There is one task for each core. Spark decides where they run, so a busy executor may not answer.
    """
    context = spark_context(session)
    tasks = max(1, context.defaultParallelism)
    ask = partial(_answer, sent_to(session).delivery(), function, args)
    answers = dict(context.parallelize(range(tasks), tasks).mapPartitions(ask).collect())
    for answer in answers.values():
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise answer
    return {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}


# ----------------------------------------------------------------------------------------------------- on an executor

_received: dict[str, Delivery] = {}
"""The last delivery to this process, under an empty name."""
_plugins: dict[str, Any] = {}
"""The plugins that have set the variables of a credential in this process, by name."""


def executor_name() -> str:
    """Return a name for this executor: its host, and the process that started its Python workers."""
    return f"{socket.gethostname()}-{os.getppid()}"


def receive(delivery: Delivery) -> None:
    """Make everything in a delivery available in this process, and remove what is no longer in it.

    A task of an older job brings an older delivery, which changes nothing.
    """
    import dask

    before = _received.get("", Delivery(version=-1))
    if delivery.version <= before.version:
        return
    dask.config.update(dask.config.config, {"af_kit": dict(delivery.settings)})
    for item in before.items:
        if item not in delivery.items:
            item.leave(_path(item), item.digest)
    for item in delivery.items:
        if item not in before.items:
            item.arrive(_path(item), item.digest)
    _receive_credentials(before.credentials, delivery.credentials)
    _received[""] = delivery


def executor_folder() -> Path:
    """Return this executor's private folder, which Spark removes when the executor or its application ends."""
    root = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or tempfile.gettempdir()
    return private_folder(Path(root) / f"af-kit-{os.geteuid()}")


def _path(item: Item) -> Path:
    from pyspark import SparkFiles

    return Path(SparkFiles.get(item.filename)).absolute()


def _receive_credentials(before: tuple[_Sealed, ...], now: tuple[_Sealed, ...]) -> None:
    from cryptography.fernet import Fernet
    from pyspark import TaskContext

    names = {sealed.plugin.name for sealed in now}
    for sealed in before:
        if sealed.plugin.name not in names:
            path = secret_path(executor_folder(), sealed.plugin.filename)
            environment_variables.restore(str(path))
            remove_secret(path)
            _plugins.pop(sealed.plugin.name).clean_up(path)
    for sealed in now:
        if sealed in before:
            continue
        plugin = _plugins.setdefault(sealed.plugin.name, sealed.plugin)  # it knows how this process has begun
        path = secret_path(executor_folder(), plugin.filename)
        if not path.exists() or path.stat().st_mtime < sealed.sent:
            key = TaskContext.get().getLocalProperty(_KEY)
            write_secret(path, SecretBytes(Fernet(key).decrypt(sealed.content)))
            os.utime(path, (sealed.sent, sealed.sent))
        settings, _ = plugin.settings(path, sealed.options)
        environment_variables.set_for(str(path), settings)


def _answer(delivery: Delivery, function: Callable[..., Any], args: tuple[Any, ...], _: Any) -> list[tuple[str, Any]]:
    try:
        receive(delivery)
        return [(executor_name(), function(*args))]
    except Exception as error:  # noqa: BLE001 - raised in the session; Spark would run the task again
        return [(executor_name(), error)]
