"""The client's cluster: whether scheduler and workers are as this session is, and can be looked at."""

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
from af_kit.doctor.configuration import setting
from af_kit.doctor.findings import Finding, ok, problem, warning
from af_kit.doctor.process import about_process

__all__ = ["check_client", "check_dashboard", "check_processes", "check_versions"]

_SAME = "Start the workers in the environment (or the container image) of this session, or this session in theirs."


def check_client(client: Any) -> Iterator[Finding]:
    """Whether the client is connected, and to what."""
    if client.status != "running":
        yield problem("client", f"it is {client.status}", "Connect again: af_kit.connect(...).")
        return
    workers = client.scheduler_info(n_workers=-1)["workers"]
    seen = f"{client.scheduler.address}, {len(workers)} worker{'s' * (len(workers) != 1)}"
    if workers or getattr(client.cluster, "_adaptive", None) is not None:
        yield ok("client", seen)
    else:
        yield warning("client", seen, "A cluster that grows with its load has none while it has no work.")


def check_versions(client: Any) -> Iterator[Finding]:
    """The packages of scheduler and workers against this session's."""
    found = client.get_versions(packages=list(versions.PACKAGES))
    workers = {name: answer["packages"] for name, answer in found["workers"].items() if answer}
    refused, doubtful = versions.compare(found["client"]["packages"], found["scheduler"]["packages"], workers)
    for line in refused:
        yield problem("versions", line, _SAME)
    for line in doubtful:
        yield warning("versions", line, _SAME)
    if not refused and not doubtful:
        yield ok("versions", f"the same here, on the scheduler and on {len(workers)} workers, as far as it matters")


def check_processes(client: Any) -> Iterator[Finding]:
    """Interpreter and image, allocator, disk and memory of every process."""
    names = tuple(setting("cluster.environment"))
    here = about_process(names=names)
    workers = client.run(about_process, names=names, on_error="ignore")
    awaited = client.scheduler_info(n_workers=-1)["workers"]
    if len(workers) < len(awaited):
        seen = f"{len(awaited) - len(workers)} of {len(awaited)} workers cannot run a function of af_kit's"
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
        seen = f"{slow} of {len(workers)} workers map every array afresh: reading costs about twice the CPU"
        yield warning("allocator", seen, f"Start them with: export {lines}")
    else:
        yield ok("allocator", f"all {len(workers)} workers keep freed memory for the next chunk")
    yield _disk(workers)
    yield _memory(workers)


def _compared(
    check: str, others: Mapping[str, Any], here: Mapping[str, Any], told: Callable[[Mapping[str, Any]], str]
) -> Finding:
    different = Counter(told(about) for about in others.values() if told(about) != told(here))
    if not different:
        return ok(check, f"{told(here)}, everywhere")
    lines = ", ".join(f"{text} on {count}" for text, count in different.most_common(3))
    seen = f"here {told(here)}; {lines} of {len(others)} processes of the cluster"
    return warning(check, seen, f"Other versions of packages may hide behind it. {_SAME}")


def _interpreters(others: Mapping[str, Any], here: Mapping[str, Any]) -> Finding:
    """Of another image only the version counts: its paths mean nothing here."""
    if all(about["image"] == here["image"] for about in others.values()):
        return _compared("interpreter", others, here, lambda about: f"{about['executable']} ({about['python']})")
    return _compared("interpreter", others, here, lambda about: f"Python {about['python']}")


def _images(others: Mapping[str, Any], here: Mapping[str, Any]) -> Finding:
    images = {about["image"] for about in others.values()}
    if not here["image"] and len(images) == 1 and (image := images.pop()):
        return ok("image", f"{image} on all of the cluster; this session is in none")
    return _compared("image", others, here, lambda about: about["image"] or "no image named")


def _variables(workers: Mapping[str, Any]) -> Finding:
    """Workers that started with other settings than their fellows."""
    kinds = Counter(tuple(sorted(about["variables"].items(), key=str)) for about in workers.values())
    if len(kinds) == 1:
        return ok("environment", f"all {len(workers)} workers started with the same settings")
    usual = dict(kinds.most_common(1)[0][0])
    names = sorted({name for kind in kinds for name, value in kind if value != usual.get(name)})
    seen = f"workers started with different values of {', '.join(names)}"
    return warning("environment", seen, "Start all of them in one way: times and results of libraries may differ.")


def _disk(workers: Mapping[str, Any]) -> Finding:
    least = min((about for about in workers.values() if about["free"] is not None), key=lambda one: one["free"])
    seen = f"{format_bytes(least['free'])} free for {least['folder']} on {least['host']}, the least of all"
    from dask.utils import parse_bytes

    if least["free"] < parse_bytes(setting("doctor.free_space")):
        return warning("workers' disk", seen, "Results that do not fit into memory go there: local_directory=...")
    return ok("workers' disk", seen)


def _memory(workers: Mapping[str, Any]) -> Finding:
    over = [a for a in workers.values() if a["worker_memory"] and a["memory_limit"] and _too_much(a)]
    unlimited = sum(not about["worker_memory"] for about in workers.values())
    if over:
        one = over[0]
        seen = (
            f"{len(over)} workers believe to have {format_bytes(one['worker_memory'])}, and their cgroup allows "
            f"{format_bytes(one['memory_limit'])}"
        )
        return problem("workers' memory", seen, "The system kills them without a word: give less with memory=.")
    if unlimited:
        seen = f"{unlimited} of {len(workers)} workers have no limit: they do not spill to disk"
        return warning("workers' memory", seen, "Give one: memory='4 GiB', or --memory-limit of `dask worker`.")
    limits = {format_bytes(about["worker_memory"]) for about in workers.values()}
    return ok("workers' memory", f"{', '.join(sorted(limits))} each")


def _too_much(about: Mapping[str, Any]) -> bool:
    return bool(about["worker_memory"] > about["memory_limit"])


def check_dashboard(client: Any) -> Iterator[Finding]:
    """Whether the link that is shown answers, as far as this machine can tell."""
    check = "dashboard"
    url = link(client)
    if not url:
        yield warning(
            check, "there is no link", "`bokeh` may be missing on the scheduler, or dashboard=False was given."
        )
        return
    if "://" not in url:
        yield _through_jupyter(check, url)
        return
    try:
        status = _status(url)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            yield ok(check, f"{url} answers, and asks who you are")
            return
        yield warning(check, f"{url} answers with status {error.code}", "Is `bokeh` installed on the scheduler?")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        advice = "From another machine it needs a tunnel or the hub's proxy: set distributed.dashboard.link."
        yield warning(check, f"{url} cannot be reached from here ({reason})", advice)
    else:
        yield ok(check, f"{url} answers ({status})")


def _status(url: str, headers: Mapping[str, str] | None = None) -> int:
    # The first look loads the pages, which takes a busy machine some seconds.
    patience_s = 0.8 * float(setting("doctor.check_s"))
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=patience_s, context=ssl.create_default_context()) as answer:
        return int(answer.status)


def _through_jupyter(check: str, url: str) -> Finding:
    """The link of a hub's user: her own server is asked, as her browser asks it; the hub's proxy is left out.

    Where there is no server to ask, the dashboard itself is, which the server would ask in turn.
    """
    server, token = urlsplit(os.environ.get("JUPYTERHUB_SERVICE_URL", "")), os.environ.get("JUPYTERHUB_API_TOKEN", "")
    dashboard = dashboard_of(url)
    hub = server.scheme == "http" and server.port and token
    if hub:
        target, headers = f"http://127.0.0.1:{server.port}{url}", {"Authorization": f"token {token}"}
    elif dashboard is not None:
        target, headers = f"http://{dashboard.host}:{dashboard.port}{dashboard.path}/status", {}
    else:
        return ok(check, f"{url}: only a browser that is logged in can tell")
    way = "through your server" if hub else "at the scheduler; only a browser that is logged in can tell the rest"
    try:
        status = _status(target, headers)
    except urllib.error.HTTPError as error:
        if b"is not allowed" in error.read(10_000):
            advice = "It shows those of your own clusters: connect in this session, or use the Dask panel's NEW."
            return warning(check, f"{url} is refused by your server", advice)
        if error.code in (401, 403):
            return ok(check, f"{url}: only a browser that is logged in can tell")
        return warning(check, f"{url} answers with status {error.code} {way}", "Is `bokeh` installed on the scheduler?")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        advice = "May this machine reach the scheduler's dashboard port? A network policy or a firewall may forbid it."
        return warning(check, f"{url} cannot be reached ({reason})", advice)
    return ok(check, f"{url} answers ({status}) {way}")
