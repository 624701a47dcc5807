"""Check the client's cluster: that scheduler and workers match this session, and that the dashboard answers."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from dask.utils import format_bytes

from af_kit.cluster import versions
from af_kit.cluster.jupyter.dashboard import link
from af_kit.cluster.jupyter.session import dashboard_of
from af_kit.config import as_bytes
from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem, warning
from af_kit.doctor.process import about_process

__all__ = ["check_client", "check_dashboard", "check_processes", "check_versions"]

_SAME = "Start the workers in the environment (or the container image) of this session, or this session in theirs."
_BOKEH = "Check that `bokeh` is installed on the scheduler."
_BROWSER = "only a browser that is logged in can show it"


def check_client(client: Any) -> Iterator[Finding]:
    """Check that the client is connected."""
    if client.status != "running":
        yield problem("client", f"it is {client.status}", "Connect again: af_kit.connect(...).")
        return
    workers = client.scheduler_info(n_workers=-1)["workers"]
    seen = f"{client.scheduler.address}, {len(workers)} worker{'s' * (len(workers) != 1)}"
    if workers or getattr(client.cluster, "_adaptive", None) is not None:
        yield ok("client", seen)
    else:
        yield warning(
            "client", seen, "This is normal for a cluster that starts workers on demand. Otherwise start workers."
        )


def check_versions(client: Any) -> Iterator[Finding]:
    """Compare the packages of scheduler and workers with this session's."""
    found = client.get_versions(packages=list(versions.PACKAGES))
    workers = {name: answer["packages"] for name, answer in found["workers"].items() if answer}
    errors, doubts = versions.compare(found["client"]["packages"], found["scheduler"]["packages"], workers)
    for line in errors:
        yield problem("versions", line, _SAME)
    for line in doubts:
        yield warning("versions", line, _SAME)
    if not errors and not doubts:
        yield ok("versions", f"compatible here, on the scheduler and on {len(workers)} workers")


def check_processes(client: Any) -> Iterator[Finding]:
    """Compare interpreter, image, settings, allocator, disk and memory of all processes."""
    names = tuple(setting("cluster.environment"))
    here = about_process(names=names)
    workers = client.run(about_process, names=names, on_error="ignore")
    known = client.scheduler_info(n_workers=-1)["workers"]
    if len(workers) < len(known):
        seen = f"{len(known) - len(workers)} of {len(known)} workers cannot run a function of af_kit"
        yield problem("workers", seen, _SAME)
    scheduler = client.run_on_scheduler(about_process, names=names)
    others = {"the scheduler": scheduler, **workers}
    yield _interpreters(others, here)
    yield _images(others, here)
    if not workers:
        return
    yield _variables(workers)
    slow = sum(about["slow_allocator"] for about in workers.values())
    if slow:
        wanted = setting("cluster.environment")
        lines = " ".join(f"{name}={wanted[name]}" for name in wanted if name.startswith("MALLOC_"))
        seen = f"{slow} of {len(workers)} workers return memory after every array: reading takes twice the CPU time"
        yield warning("allocator", seen, f"Start them with: export {lines}")
    else:
        yield ok("allocator", f"all {len(workers)} workers keep freed memory for the next chunk")
    yield _disk(workers)
    yield _memory(workers)


def _compared(
    check: str, others: Mapping[str, Any], here: Mapping[str, Any], text: Callable[[Mapping[str, Any]], str]
) -> Finding:
    different = Counter(text(about) for about in others.values() if text(about) != text(here))
    if not different:
        return ok(check, f"{text(here)} in all processes")
    lines = ", ".join(f"{other} on {count}" for other, count in different.most_common(3))
    seen = f"{text(here)} here; {lines} of {len(others)} processes of the cluster"
    return warning(check, seen, f"Package versions may differ as well. {_SAME}")


def _interpreters(others: Mapping[str, Any], here: Mapping[str, Any]) -> Finding:
    """Compare paths within one image, and only versions between images."""
    if all(about["image"] == here["image"] for about in others.values()):
        return _compared("interpreter", others, here, lambda about: f"{about['executable']} ({about['python']})")
    return _compared("interpreter", others, here, lambda about: f"Python {about['python']}")


def _images(others: Mapping[str, Any], here: Mapping[str, Any]) -> Finding:
    images = {about["image"] for about in others.values()}
    if not here["image"] and len(images) == 1 and (image := images.pop()):
        return ok("image", f"{image} in the whole cluster; this session does not run in an image")
    return _compared("image", others, here, lambda about: about["image"] or "no image")


def _variables(workers: Mapping[str, Any]) -> Finding:
    """Compare the settings with which the workers started."""
    settings = Counter(tuple(sorted(about["variables"].items(), key=str)) for about in workers.values())
    if len(settings) == 1:
        return ok("environment", f"all {len(workers)} workers started with the same settings")
    usual = dict(settings.most_common(1)[0][0])
    names = sorted({name for values in settings for name, value in values if value != usual.get(name)})
    seen = f"workers started with different values of {', '.join(names)}"
    return warning(
        "environment",
        seen,
        "Start all workers in the same way: otherwise their speed and the results of libraries may differ.",
    )


def _disk(workers: Mapping[str, Any]) -> Finding:
    least = min((about for about in workers.values() if about["free"] is not None), key=lambda one: one["free"])
    seen = f"{format_bytes(least['free'])} free for {least['folder']} on {least['host']}, the least of all workers"
    if least["free"] < as_bytes(setting("doctor.free_space"), "af_kit.doctor.free_space"):
        return warning(
            "workers' disk",
            seen,
            "Workers spill results there when memory is full. Choose another folder: local_directory=...",
        )
    return ok("workers' disk", seen)


def _memory(workers: Mapping[str, Any]) -> Finding:
    over = [
        about
        for about in workers.values()
        if about["worker_memory"] and about["memory_limit"] and about["worker_memory"] > about["memory_limit"]
    ]
    unlimited = sum(not about["worker_memory"] for about in workers.values())
    if over:
        one = over[0]
        seen = (
            f"{len(over)} workers assume a memory limit of {format_bytes(one['worker_memory'])}, "
            f"but their cgroup allows {format_bytes(one['memory_limit'])}"
        )
        return problem(
            "workers' memory",
            seen,
            "The system kills a worker that exceeds its cgroup, without a message. Give less: memory=...",
        )
    if unlimited:
        seen = f"{unlimited} of {len(workers)} workers have no limit, so they do not spill to disk"
        return warning("workers' memory", seen, "Give one: memory='4 GiB', or --memory-limit of `dask worker`.")
    limits = {format_bytes(about["worker_memory"]) for about in workers.values()}
    return ok("workers' memory", f"{', '.join(sorted(limits))} each")


def check_dashboard(client: Any) -> Iterator[Finding]:
    """Check that the dashboard's link answers, as far as this machine can reach it."""
    check = "dashboard"
    url = link(client)
    if not url:
        yield warning(check, "there is no link", "Install `bokeh` on the scheduler, unless dashboard=False was given.")
        return
    if "://" not in url:
        yield _through_jupyter(check, url)
        return
    try:
        status = _status(url)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            yield ok(check, f"{url} answers, and requires a login")
            return
        yield warning(check, f"{url} answers with status {error.code}", _BOKEH)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        advice = "A browser needs a tunnel or the hub's proxy to reach it: set distributed.dashboard.link."
        yield warning(check, f"{url} cannot be reached from here ({reason})", advice)
    else:
        yield ok(check, f"{url} answers ({status})")


def _status(url: str, headers: Mapping[str, str] | None = None) -> int:
    # The first request loads the pages, which takes some seconds on a busy machine.
    timeout_s = 0.8 * float(setting("doctor.check_s"))
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=timeout_s, context=ssl.create_default_context()) as answer:
        return int(answer.status)


def _through_jupyter(check: str, url: str) -> Finding:
    """Check a link through a hub: request it from the user's Jupyter server, without the hub's proxy.

    If there is no such server, request the dashboard itself, as the server would.
    """
    server, token = urlsplit(os.environ.get("JUPYTERHUB_SERVICE_URL", "")), os.environ.get("JUPYTERHUB_API_TOKEN", "")
    dashboard = dashboard_of(url)
    hub = server.scheme == "http" and server.port and token
    if hub:
        target, headers = f"http://127.0.0.1:{server.port}{url}", {"Authorization": f"token {token}"}
    elif dashboard is not None:
        target, headers = f"http://{dashboard.host}:{dashboard.port}{dashboard.path}/status", {}
    else:
        return ok(check, f"{url}: {_BROWSER}")
    way = "through your server" if hub else f"at the scheduler; {_BROWSER} through the hub"
    try:
        status = _status(target, headers)
    except urllib.error.HTTPError as error:
        if b"is not allowed" in error.read(10_000):
            advice = (
                "It only shows dashboards of your own clusters: connect in this session, or use NEW in the Dask panel."
            )
            return warning(check, f"{url} is refused by your server", advice)
        if error.code in (401, 403):
            return ok(check, f"{url}: {_BROWSER}")
        return warning(check, f"{url} answers with status {error.code} {way}", _BOKEH)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        advice = "A network policy or a firewall may block the scheduler's dashboard port."
        return warning(check, f"{url} cannot be reached ({reason})", advice)
    return ok(check, f"{url} answers ({status}) {way}")
