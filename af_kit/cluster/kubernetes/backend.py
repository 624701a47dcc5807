"""The backend ``connect("kubernetes")``: clusters of pods, started by Dask's operator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from af_kit import config
from af_kit.cluster.backends import Backend, configured
from af_kit.cluster.detached.registry import Entry
from af_kit.cluster.kubernetes import listing, names, permissions
from af_kit.cluster.kubernetes.cluster import KubernetesCluster
from af_kit.cluster.kubernetes.context import SessionContext, image_for, own_namespace
from af_kit.cluster.kubernetes.manifest import PodSize, PodTemplate, dask_cluster, dask_worker_group, worker_group
from af_kit.cluster.kubernetes.proxy_secret import PERMISSIONS as PROXY_PERMISSIONS
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

        Defaults are in the configuration, ``af_kit.cluster.kubernetes``.

        Parameters
        ----------
        request : Request
            The common options. If a cluster with the request's ``name`` runs, connect to it and leave it as it is.
        namespace : str, optional
            Namespace of the cluster; by default that of this session's pod, or outside a pod that of the kubeconfig.
        image : str, optional
            Image of scheduler and workers; by default the notebook's.
        image_pull_policy, image_pull_secrets, labels, annotations, node_selector, tolerations, priority_class, \
    service_account, volumes, volume_mounts, run_as_user
            Fields of Kubernetes, for all pods of the cluster.
        cpu_request, cpu_limit : float, optional
            CPUs to reserve per worker (by default as many as its cores), and the largest number that a worker may use
            (by default whatever is free).
        environment : mapping, optional
            Environment variables of scheduler and workers, in addition to ``af_kit.cluster.environment``.
        pod : mapping, optional
            Merged into the specification of each pod, for fields that have no argument.
        proxy_secret : bool or str, optional
            Mount the user's X.509 proxy into the workers as a Secret, and renew it there when the user does;
            ``send_proxy`` is not needed then. True uses the proxy that grid tools find, a string is its path.
        groups : mapping, optional
            Further worker groups, by name. Options of a group are ``n_workers`` (default 1), ``resources`` of each pod
            (such as ``{"nvidia.com/gpu": 1}``), and ``memory``, ``cores``, ``cpu_request``, ``cpu_limit``,
            ``node_selector``, ``tolerations`` and ``pod``, which default to those of the other workers. A task
            requests a group with ``client.submit(..., resources={NAME: 1})``; a worker runs as many such tasks as it
            has threads. Groups do not adapt; scale them with ``client.cluster.scale(n, NAME)``.
        asynchronous : bool
            Return a cluster that must be awaited, for use in an event loop.

        Raises
        ------
        InputError
            An argument or a configured value cannot be used. ``security`` is not supported.
        ConnectError
            The cluster did not start; the message has the reason that Kubernetes reports.
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
        defaults = {**settings, "cores": worker.cores, "memory": worker.memory}
        further = {group: _group(group, options, defaults, name) for group, options in (groups or {}).items()}
        variables = {key: value for key, value in worker_environment(environment).items() if value is not None}
        proxy = ProxySecret(proxy_file(settings["proxy_secret"])) if settings["proxy_secret"] else None
        required = [*permissions.TO_START, *permissions.TO_ADAPT]
        required += [*(permissions.TO_ADD_GROUPS if further else ()), *(PROXY_PERMISSIONS if proxy else ())]

        def make_manifests(context: SessionContext) -> list[dict[str, Any]]:
            template = PodTemplate(image_for(context, image, settings["image"]), variables, settings)
            own = {**settings["labels"], listing.USER_LABEL: names.escape(names.user()), **listing.KIT_LABELS}
            idle_s = settings["idle_timeout_s"] if request.idle_timeout_s is None else request.idle_timeout_s
            cluster = dask_cluster(
                name,
                template,
                namespace=context.namespace,
                scheduler=scheduler,
                worker=worker,
                n_workers=n_workers,
                labels=own,
                idle_timeout_s=idle_s,
                owner=None if request.detach else context.owner,
            )
            manifests = [cluster]
            for group, (size, count, differing) in further.items():
                theirs = replace(template, settings={**settings, **differing})
                workers = worker_group(name, theirs, size, count, namespace=context.namespace, group=group)
                manifests.append(
                    dask_worker_group(group, workers, cluster=name, namespace=context.namespace, labels=own)
                )
            return manifests

        return KubernetesCluster(
            name=name,
            namespace=settings["namespace"],
            make_manifests=make_manifests,
            start_s=request.timeout_s,
            patience_s=settings["patience_s"],
            shutdown_on_close=not request.detach,
            may_exist=request.name is not None,
            required=required,
            proxy=proxy,
            asynchronous=asynchronous,
        )

    def diagnose(self, cluster: KubernetesCluster) -> str:
        """Return why workers have not joined."""
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
    extended: Mapping[str, Any] | None = None,
) -> PodSize:
    threads = cores or settings["cores"]
    memory = memory or config.as_worker_memory(settings["memory"], "memory")
    return PodSize(threads, settings["cpu_request"] or threads, memory, settings["cpu_limit"], extended)


def _check_security(given: Any) -> None:
    if given is not None and given is not False:
        raise InputError(
            "security: connect('kubernetes') does not support TLS. Network policies decide who can connect to the "
            "scheduler (those of the kit's chart allow only its user's pods); a session outside connects through the "
            "API server, which is encrypted. Leave security out."
        )


def _group(
    group: str, options: Mapping[str, Any], defaults: Mapping[str, Any], cluster: str
) -> tuple[PodSize, int, dict[str, Any]]:
    """Return the size of a group's workers, their number, and the settings in which their pods differ."""
    names.check_group(group, cluster)
    sizes, others = ("cores", "cpu_request", "cpu_limit", "memory"), ("node_selector", "tolerations", "pod")
    known = ("n_workers", "resources", *sizes, *others)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"groups={{{group!r}: ...}} has no option {unknown[0]!r}.{nearest(unknown[0], known)}")
    count = options.get("n_workers", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InputError(f"groups={{{group!r}: ...}}: n_workers={count!r} is not a number of workers.")
    given = {key: options[key] for key in sizes if key in options}
    size = _size({**defaults, **given}, extended=options.get("resources"))
    return size, count, {key: options[key] for key in others if key in options}
