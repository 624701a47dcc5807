"""A cluster of pods in Kubernetes, by Dask's operator: from a notebook's pod, or from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dask.utils import parse_bytes

from af_kit import config
from af_kit.cluster.backends import Backend, configured
from af_kit.cluster.detached.registry import Entry
from af_kit.cluster.kubernetes import listing, names, permissions
from af_kit.cluster.kubernetes.cluster import KubernetesCluster
from af_kit.cluster.kubernetes.context import Place, image_for, own_namespace
from af_kit.cluster.kubernetes.manifest import Pods, Size, dask_cluster, further_group, worker_group
from af_kit.cluster.kubernetes.proxy_secret import RIGHTS as PROXY_RIGHTS
from af_kit.cluster.kubernetes.proxy_secret import ProxySecret, proxy_file
from af_kit.cluster.request import Request
from af_kit.cluster.workers.environment import worker_environment
from af_kit.errors import InputError, nearest

__all__ = ["Kubernetes"]


class Kubernetes(Backend):
    """Clusters of pods, started by Dask's operator."""

    supported_options = ("name", "detach", "idle_timeout_s")
    finds_by_name = True

    def start(
        self,
        request: Request,
        *,
        namespace: str | None = None,
        image: str | None = None,
        image_pull_policy: str | None = None,
        image_pull_secrets: Sequence[str] | None = None,
        cpu_request: float | None = None,
        cpu_limit: float | None = None,
        environment: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[Mapping[str, Any]] | None = None,
        priority_class: str | None = None,
        service_account: str | None = None,
        volumes: Sequence[Mapping[str, Any]] | None = None,
        volume_mounts: Sequence[Mapping[str, Any]] | None = None,
        run_as_user: int | None = None,
        pod: Mapping[str, Any] | None = None,
        proxy_secret: bool | str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        asynchronous: bool = False,
    ) -> KubernetesCluster:
        """Have the operator start a scheduler and workers.

        Parameters
        ----------
        request : Request
            The number of workers, their cores and memory; by default those of ``af_kit.cluster.kubernetes``. With the
            ``name`` of a cluster that runs: that one, as it is.
        namespace : str, optional
            Where; by default this pod's own, outside the one of the kubeconfig.
        image : str, optional
            Of the scheduler and the workers; by default the notebook's own.
        image_pull_policy, image_pull_secrets, labels, annotations, node_selector, tolerations, priority_class, \
    service_account, volumes, volume_mounts, run_as_user
            As Kubernetes names them; of all pods of this cluster.
        cpu_request, cpu_limit : float, optional
            CPUs that are kept for a worker (by default as many as its cores), and the most that it may take (by default
            as many as are free).
        environment : mapping, optional
            Variables for the scheduler and the workers, besides ``af_kit.cluster.environment``.
        pod : mapping, optional
            Laid over the specification of each pod, for what is not named here.
        proxy_secret : bool or str, optional
            Mount the user's X.509 proxy (found as grid tools find it, or at this path) into the workers as a Secret,
            which is renewed with it; in place of ``send_proxy``.
        groups : mapping, optional
            Further groups of workers: name to ``n_workers`` (default 1), ``resources`` (Kubernetes', of each pod:
            ``{"nvidia.com/gpu": 1}``), and ``memory``, ``cores``, ``cpu_request``, ``cpu_limit``, ``node_selector``,
            ``tolerations``, ``pod`` where they differ from the other workers'. Tasks ask for one with
            ``client.submit(..., resources={NAME: 1})``; a worker runs as many of them as it has threads. Groups do not
            adapt: ``client.cluster.scale(n, NAME)``.
        asynchronous : bool
            For use in an event loop: the cluster must then be awaited.

        Raises
        ------
        InputError
            An argument or a configured value cannot be used; ``security`` is one: these clusters have no TLS.
        ConnectError
            It did not come up; the message has Kubernetes' own reason.
        """
        given = {
            name: value
            for name, value in locals().items()
            if name in config.get("cluster.kubernetes") and value is not None
        }
        settings = {**config.get("cluster.kubernetes"), **given}
        _check_security(request.security)
        name = names.cluster_name(request.name, settings["name"])
        n_workers = settings["n_workers"] if request.first is None else request.first
        worker = _size(settings, cores=request.cores, memory=request.memory)
        scheduler = _size({**settings, "cpu_request": None, "cpu_limit": None, **settings["scheduler"]})
        usual = {**settings, "cores": worker.cores, "memory": worker.memory}
        extra = {label: _group(label, asked, usual, name) for label, asked in (groups or {}).items()}
        needed = [*permissions.NEEDED, *permissions.FOR_ADAPT, *(permissions.FOR_GROUPS if extra else ())]
        variables = {key: value for key, value in worker_environment(environment).items() if value is not None}
        asked_proxy = settings["proxy_secret"]
        proxy = ProxySecret(proxy_file(asked_proxy)) if asked_proxy else None
        if proxy is not None:
            needed += PROXY_RIGHTS

        def describe(place: Place) -> list[dict[str, Any]]:
            pods = Pods(image_for(place, image, settings["image"]), variables, settings)
            own = {**settings["labels"], listing.USER: names.escaped(names.user()), **listing.OF_THE_KIT}
            idle_s = request.idle_timeout_s if request.idle_timeout_s is not None else settings["idle_timeout_s"]
            cluster = dask_cluster(
                name,
                pods,
                namespace=place.namespace,
                scheduler=scheduler,
                worker=worker,
                n_workers=n_workers,
                labels=own,
                idle_timeout_s=idle_s,
                owner=None if request.detach else place.owner,
            )
            manifests = [cluster]
            for label, (size, count, differs) in extra.items():
                theirs = replace(pods, settings={**settings, **differs})
                spec = worker_group(name, theirs, size, count, namespace=place.namespace, group=label)
                manifests.append(further_group(label, spec, cluster=name, namespace=place.namespace, labels=own))
            return manifests

        return KubernetesCluster(
            name=name,
            namespace=settings["namespace"],
            describe=describe,
            start_s=request.timeout_s,
            patience_s=settings["patience_s"],
            shutdown_on_close=not request.detach,
            join=request.name is not None,
            rights_needed=needed,
            proxy=proxy,
            asynchronous=asynchronous,
        )

    def diagnose(self, cluster: KubernetesCluster) -> str:
        """Why there are no (more) workers."""
        return cluster.diagnose()

    def entries(self) -> list[Entry]:
        """Return the user's clusters, if this is the configured backend or the session runs in a pod."""
        return listing.entries() if self._is_selected() else []

    def may_have_more(self) -> bool:
        """Return whether a kubeconfig leads to an API server that `entries` does not ask."""
        if self._is_selected():
            return False
        paths = [Path(path).expanduser() for path in os.environ.get("KUBECONFIG", "~/.kube/config").split(":") if path]
        return any(path.is_file() for path in paths)

    def end(self, entry: Entry) -> None:
        """Remove the cluster of an entry."""
        listing.end(entry)

    def fetch_logs(self, entry: Entry) -> list[Path]:
        """Write the logs of the cluster's pods to files."""
        return listing.fetch_logs(entry)

    @staticmethod
    def _is_selected() -> bool:
        return configured() == "kubernetes" or own_namespace() is not None


def _size(
    settings: Mapping[str, Any],
    *,
    cores: int | None = None,
    memory: int | None = None,
    more: Mapping[str, Any] | None = None,
) -> Size:
    configured = settings["memory"]
    try:
        least = int(parse_bytes(configured))
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"memory={configured!r}: give the memory of one pod, such as '4 GiB', or bytes.") from None
    threads = cores or settings["cores"]
    return Size(threads, settings["cpu_request"] or threads, memory or least, settings["cpu_limit"], more)


def _check_security(asked: Any) -> None:
    if asked is not None and asked is not False:
        raise InputError(
            "security: connect('kubernetes') makes no clusters with TLS. Who reaches the scheduler is up to network "
            "policies there (the chart's let in the owner's pods alone); from outside the way to it is the API "
            "server's, which is encrypted. Leave security out."
        )


def _group(
    label: str, asked: Mapping[str, Any], usual: Mapping[str, Any], cluster: str
) -> tuple[Size, int, dict[str, Any]]:
    """The size of its workers, their number, and the settings in which their pods differ."""
    names.check_group(label, cluster)
    sizes, others = ("cores", "cpu_request", "cpu_limit", "memory"), ("node_selector", "tolerations", "pod")
    known = ("n_workers", "resources", *sizes, *others)
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise InputError(f"groups={{{label!r}: ...}} has no {unknown[0]!r}.{nearest(unknown[0], known)}")
    count = asked.get("n_workers", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InputError(f"groups={{{label!r}: ...}}: n_workers={count!r} is no number of workers.")
    size = _size({**usual, **{key: asked[key] for key in sizes if key in asked}}, more=asked.get("resources"))
    return size, count, {key: asked[key] for key in others if key in asked}
