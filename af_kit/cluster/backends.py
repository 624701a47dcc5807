"""The backends of ``connect``: one class per way to start a Dask cluster.

A backend is a subclass of `Backend`, and a line of the table `BACKENDS`. To add one to the kit, write the class in a
file or folder of its own below ``af_kit/cluster``, add its line, its part of ``af_kit.yaml``, and its tests. A package
of your own registers one through an entry point, and users then call ``connect("mybatch")``:

    [project.entry-points."af_kit.backends"]
    mybatch = "mypackage.backend:MyBatch"
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from af_kit import config
from af_kit.cluster.detached import registry
from af_kit.errors import ConnectError, InputError, nearest

if TYPE_CHECKING:
    from distributed.deploy import Cluster

    from af_kit.cluster.detached.registry import Entry
    from af_kit.cluster.detached.spec import ClusterSpec
    from af_kit.cluster.request import Request

BACKENDS = {
    "local": "af_kit.cluster.local:Local",
    "slurm": "af_kit.cluster.batch.slurm.backend:Slurm",
    "htcondor": "af_kit.cluster.batch.htcondor.backend:HTCondor",
    "gateway": "af_kit.cluster.gateway.backend:Gateway",
    "kubernetes": "af_kit.cluster.kubernetes.backend:Kubernetes",
}
"""The kit's own backends, and the class of each, which is imported when the backend is used."""

ENTRY_POINTS = "af_kit.backends"
"""The group of entry points by which other packages add theirs."""

# Options of connect() that every backend supports, and those that only some do, with the attribute of the request.
_COMMON_OPTIONS = ("n_workers", "cores", "memory", "adapt", "timeout_s", "security", "quiet")
_FURTHER_OPTIONS = {"walltime": "walltime_s", "name": "name", "detach": "detach", "idle_timeout_s": "idle_timeout_s"}


class Backend:
    """A way to start a cluster. `start` is required; every other method and attribute has a default.

    Attributes
    ----------
    supported_options : tuple of str
        Which of connect()'s ``walltime``, ``name``, ``detach`` and ``idle_timeout_s`` it supports. It must support the
        others (``n_workers``, ``cores``, ``memory``, ``adapt``, ``timeout_s``, ``security``).
    timeout_key : str
        The configuration key with the seconds that connect() waits for a cluster.
    wait_for_all : bool
        Whether connect() waits for all workers, or returns with the first, as for workers that come from a queue.
    same_environment : bool
        Whether workers run this session's Python, so that versions cannot differ.
    finds_by_name : bool
        Whether `start` with the ``name`` of a running cluster connects to that one, from any machine. Clusters of such
        a backend are listed by `entries` and are not in the registry.
    """

    supported_options: ClassVar[tuple[str, ...]] = ()
    timeout_key: ClassVar[str] = "cluster.timeout_s"
    wait_for_all: ClassVar[bool] = False
    same_environment: ClassVar[bool] = False
    finds_by_name: ClassVar[bool] = False

    def start(self, request: Request, *_: Any, **options: Any) -> Cluster:
        """Start a scheduler and ask for the request's workers.

        An implementation names its own options as keyword-only arguments. The cluster's ``scale(n)`` and
        ``adapt(minimum=, maximum=)`` work from any thread without an event loop; ``close`` ends the cluster, or
        disconnects from it if ``request.detach``, and ``shutdown`` then ends it.

        Raises
        ------
        InputError
            An option cannot be used.
        ConnectError
            The cluster did not start, with the reason.
        """
        raise NotImplementedError(f"{type(self).__name__}.start")

    def diagnose(self, cluster: Any) -> str:
        """Return why workers have not joined, with the queue's reason, and what to do. It ends connect()'s error."""
        return ""

    def pending_summary(self, cluster: Any) -> str:
        """Return one line about workers that are still to come: ``2 of 4 jobs pending (Resources)``."""
        return ""

    def fatal_reason(self, cluster: Any) -> str:
        """Return why no worker will ever join, or an empty string while one may."""
        return ""

    def rejoin(self, entry: Entry) -> Any:
        """Return the cluster of an entry as an object of this session."""
        from af_kit.cluster.detached.handle import ClusterHandle

        return ClusterHandle(entry)

    def end(self, entry: Entry) -> None:
        """End the cluster of an entry for good."""
        self.rejoin(entry).shutdown()

    # Clusters whose scheduler is not a process of this user: a service has them.

    def find(self, name: str) -> Entry | None:
        """Return the service's cluster of this name, or None. Called for names that the registry does not have."""
        return None

    def is_running(self, entry: Entry) -> bool:
        """Return whether the service still has the cluster of a registry entry."""
        return True

    def entries(self) -> list[Entry]:
        """Return the user's clusters that only the service knows; none if this session has no access to it."""
        return []

    def may_have_more(self) -> bool:
        """Return whether there may be clusters that `entries` leaves out, because nothing selects this backend here."""
        return False

    def fetch_logs(self, entry: Entry) -> list[Path]:
        """Write the logs of a cluster from `entries` to files, and return their paths."""
        return []

    # Clusters whose scheduler runs in a separate process: see `DetachedBackend`.

    async def build(self, spec: ClusterSpec) -> Any:
        """Return the running cluster, without workers. Called in the scheduler process.

        If it has ``resize``, ``follow``, ``jobs``, ``diagnose``, ``pending_summary`` and ``fatal_reason``, these answer
        the session; `batch.base.BatchCluster` has all of them.
        """
        raise NotImplementedError(f"{type(self).__name__}.build")

    def cancel_command(self, spec: ClusterSpec) -> list[str]:
        """Return the command that cancels all jobs of a cluster by ``spec.job_name``, however its processes ended.

        It must also succeed when run twice, and when there are no jobs. An empty list for a backend without jobs.
        """
        return []


class DetachedBackend(Backend):
    """A backend whose scheduler runs in a separate process: a subclass has `start`, `build` and `cancel_command`.

    `start` calls ``detached.launch.start``, which provides both lifetimes, the registry, TLS, and the removal of all
    jobs however the processes end. The scheduler process then answers the questions about its jobs.
    """

    supported_options = ("walltime", "name", "detach", "idle_timeout_s")

    def diagnose(self, cluster: Any) -> str:
        """Return what the scheduler process knows of the jobs."""
        return str(cluster.diagnose())

    def pending_summary(self, cluster: Any) -> str:
        """Return one line about the jobs that are still to come."""
        return str(cluster.pending_summary())

    def fatal_reason(self, cluster: Any) -> str:
        """Return why no job will ever run, or an empty string."""
        return str(cluster.fatal_reason())


def available() -> list[str]:
    """Return the names of the backends: the kit's own, then those of other packages."""
    return [*BACKENDS, *(name for name in sorted(_of_other_packages()) if name not in BACKENDS)]


def configured() -> str:
    """Return the name of the backend that ``connect()`` starts: ``af_kit.cluster.backend``."""
    name = str(config.get("cluster.backend"))
    return "local" if name == "auto" else name


def get(name: str) -> Backend:
    """Return the backend of this name.

    Raises
    ------
    InputError
        No backend has this name, or another package's cannot be imported.
    """
    if name in BACKENDS:
        module, _, cls = BACKENDS[name].partition(":")
        backend: Backend = getattr(importlib.import_module(module), cls)()
        return backend
    others = _of_other_packages()
    if name not in others:
        raise InputError(
            f"{name!r} is not a cluster backend.{nearest(name, available())} "
            "The address of a running scheduler looks like tcp://host:8786."
        )
    try:
        backend = others[name].load()()
    except Exception as error:
        raise InputError(
            f"The backend {name!r} cannot be loaded from {others[name].value} ({type(error).__name__}: {error}). "
            "Repair or uninstall the package that provides it."
        ) from error
    if not isinstance(backend, Backend):
        raise InputError(
            f"The backend {name!r}: {others[name].value} is not a subclass of af_kit.cluster.backends.Backend."
        )
    return backend


def load(name: str, options: Mapping[str, Any], request: Request | None = None) -> Backend:
    """Return the backend of this name, after checking the options given for it.

    Parameters
    ----------
    name : str
        One of `available`.
    options : mapping
        Options of the backend itself, for its `Backend.start`.
    request : Request, optional
        The common options, of which a backend may not support all.

    Raises
    ------
    InputError
        No backend has this name, or it does not support an option.
    """
    backend = get(name)
    own = [
        key for key, value in inspect.signature(backend.start).parameters.items() if value.kind is value.KEYWORD_ONLY
    ]
    supported = backend.supported_options
    given = [option for option, attribute in _FURTHER_OPTIONS.items() if getattr(request, attribute, None)]
    for option in [*options, *[option for option in given if option not in supported]]:
        if option not in own:
            known = [*own, *_COMMON_OPTIONS, *supported]
            raise InputError(f"connect({name!r}) has no option {option!r}.{nearest(option, known)}")
    return backend


def find(name: str) -> Entry | None:
    """Return a cluster that is in no registry of this user's, but known to a service.

    Raises
    ------
    ConnectError
        A configured service does not answer.
    """
    for backend in map(get, BACKENDS):
        if entry := backend.find(name):
            return entry
    return None


def running() -> list[Entry]:
    """Return the running clusters of this user's registry, oldest first, and forget those that have ended."""
    found = []
    for entry in registry.entries():
        if entry.host or get(entry.backend).is_running(entry):
            found.append(entry)
        else:
            registry.remove(entry)
    return found


def known_to_services() -> list[Entry]:
    """Return the user's clusters that only their services know.

    Raises
    ------
    ConnectError
        The configured backend's service does not answer.
    """
    chosen, found = configured(), []
    for name in BACKENDS:
        try:
            found += get(name).entries()
        except ConnectError:
            if name == chosen:
                raise
            # this session does not use the service
    return found


def unlisted() -> list[str]:
    """Return the backends that may have clusters `known_to_services` does not list."""
    return [name for name in BACKENDS if get(name).may_have_more()]


def _of_other_packages() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
