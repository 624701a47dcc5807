"""The kinds of clusters that ``connect`` can start: one file each, beside this one.

A kind is a module with

- ``start(request, **options) -> distributed.deploy.Cluster``: starts a scheduler and asks for the request's workers;
  its keyword-only arguments are the kind's own options. It raises ``ConnectError`` with a reason. ``close`` of the
  cluster ends it, or lets go of it where ``request.detach``; ``shutdown`` then ends it for good. It scales
  (``scale(n)``) and adapts (``adapt(minimum=, maximum=)``) from any thread without an event loop.

It may have

- ``WORDS``: which of the words ``walltime``, ``name``, ``detach`` and ``idle_timeout_s`` it understands; the others
  that all kinds share (``n_workers``, ``cores``, ``memory``, ``adapt``, ``timeout_s``, ``security``) it must;
- ``KEEPS_NAMES`` (default False): ``start`` with a ``name`` that is there connects to that cluster, from anywhere, as
  the site's service knows it; the `registry` has none of them;
- ``WAIT_FOR_ALL`` (default False): whether ``connect`` waits for all workers or, where they come from a queue, goes on
  with the first;
- ``TIMEOUT_KEY`` (default ``cluster.timeout_s``): the configuration key with the seconds that ``connect`` waits for it;
- ``SAME_ENVIRONMENT`` (default False): workers run this session's own Python, so versions cannot differ;
- ``explain(cluster) -> str``: why workers have not joined: the end of the message at the deadline, in the queue's own
  words and with what to do about them;
- ``waiting(cluster) -> str``: what is waited for, in a line that is told while it changes: ``2 of 4 jobs pending
  (Resources)``;
- ``hopeless(cluster) -> str``: why no worker will ever come, for an end before the deadline; else an empty text;
- ``rejoin(entry) -> Cluster``: a cluster that is in the `registry`, as an object here. By default a
  `handle.ClusterHandle`, which is right for those that a head process leads.

A kind whose scheduler runs in a process of its own lets `launch` do the work (``start``, ``explain``, ``waiting`` and
``hopeless`` are there), which gives it both lifetimes, the registry, TLS, and an end of its jobs however its processes
end. In that process, `head` calls

- ``async build(plan) -> SpecCluster``: the running cluster, without workers. One with ``resize``, ``follow``, ``jobs``,
  ``explain``, ``waiting`` and ``hopeless`` is asked by these: `batch.BatchCluster` has them for batch systems, where a
  kind adds ``queue``, ``advice`` and ``lasting``;
- ``cancel_command(plan) -> list of str`` (optional): the command that ends all its jobs, by the name that only they
  have (``plan.job_name``). It must be right when it is run twice, and when there are none.

A kind that keeps its clusters elsewhere, such as a gateway, can make them found by name with `registry.reserve` and
`registry.save` (an entry without ``host``), and has a ``rejoin``, an ``is_there(entry)``, and a ``find(name)`` for
clusters that another machine's registry knows. One whose service is the only registry has ``entries()``, the user's
clusters there, ``end(entry)`` and ``fetch_logs(entry)``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from af_kit import config
from af_kit.errors import ConnectError, InputError, nearest

if TYPE_CHECKING:
    from af_kit.cluster.plan import Plan
    from af_kit.cluster.registry import Entry
    from af_kit.cluster.request import Request

# A name counts only where its file is part of this version.
_NAMES = ("local", "slurm", "htcondor", "gateway", "kubernetes")
# The one whose service keeps the list of its clusters.
_KEEPER = "kubernetes"
_SHARED = ("n_workers", "cores", "memory", "adapt", "timeout_s", "security", "quiet")
# Words that only some kinds understand, and where a request has them.
_FURTHER = {"walltime": "walltime_s", "name": "name", "detach": "detach", "idle_timeout_s": "idle_timeout_s"}


def available() -> list[str]:
    """The kinds that this version can start."""
    return [name for name in _NAMES if importlib.util.find_spec(f"{__package__}.{name}") is not None]


def load(name: str, options: Mapping[str, Any], request: Request | None = None) -> ModuleType:
    """The module of one kind, after a look at the options and words meant for it.

    Raises
    ------
    InputError
        There is no such kind in this version, or it has no such option.
    """
    kinds = available()
    if name not in kinds:
        reason = f"There is no kind of cluster {name!r}.{nearest(name, kinds)}"
        if name in _NAMES:
            reason = f"This version of af-kit cannot start a {name} cluster. There is: {', '.join(kinds)}."
        raise InputError(f"{reason} The address of a running scheduler looks like tcp://host:8786.")
    kind = module(name)
    own = [key for key, value in inspect.signature(kind.start).parameters.items() if value.kind is value.KEYWORD_ONLY]
    words = getattr(kind, "WORDS", ())
    given = [word for word, attribute in _FURTHER.items() if getattr(request, attribute, None)]
    for option in [*options, *[word for word in given if word not in words]]:
        if option not in own:
            raise InputError(f"connect({name!r}) has no option {option!r}.{nearest(option, [*own, *_SHARED, *words])}")
    return kind


def module(name: str) -> ModuleType:
    """The module of a kind that is known to be there."""
    return importlib.import_module(f"{__package__}.{name}")


def cancel_command(plan: Plan) -> list[str]:
    """What ends the jobs of a cluster, however its processes ended; empty for a kind without jobs."""
    find = getattr(module(plan.kind), "cancel_command", None)
    return list(find(plan)) if find else []


def find(name: str) -> Entry | None:
    """A cluster that is in no registry of this user's, but with the service that keeps it.

    Raises
    ------
    ConnectError
        A service that is configured cannot be asked.
    """
    import dask.config

    if dask.config.get("gateway.address", default=None):
        entry: Entry | None = module("gateway").find(name)
        return entry
    return None


def kept() -> list[Entry]:
    """The user's clusters that Kubernetes keeps, if it is the configured kind or this session is in a pod.

    Raises
    ------
    ConnectError
        It is configured, and cannot be asked.
    """
    from af_kit.cluster.kube.place import own_namespace

    if config.get("cluster.kind") == _KEEPER:
        return list(module(_KEEPER).entries())
    if own_namespace() is None:
        return []
    try:
        return list(module(_KEEPER).entries())
    except ConnectError:  # a pod that has nothing to do with Dask
        return []


def may_keep_more() -> bool:
    """Whether `kept` does not ask Kubernetes, and there is a kubeconfig by which it could."""
    from af_kit.cluster.kube.place import own_namespace

    if config.get("cluster.kind") == _KEEPER or own_namespace() is not None:
        return False
    paths = [Path(path).expanduser() for path in os.environ.get("KUBECONFIG", "~/.kube/config").split(":") if path]
    return any(path.is_file() for path in paths)


def end(entry: Entry) -> None:
    """End the cluster of an entry for good."""
    kind = module(entry.kind)
    if hasattr(kind, "end"):
        kind.end(entry)
    else:
        rejoin(kind, entry).shutdown()


def rejoin(kind: ModuleType, entry: Entry) -> Any:
    """The cluster of an entry, as an object here."""
    if hasattr(kind, "rejoin"):
        return kind.rejoin(entry)
    from af_kit.cluster.handle import ClusterHandle

    return ClusterHandle(entry)
