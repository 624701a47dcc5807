"""`doctor`: every check, each with a deadline of its own, so that none hides another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from af_kit import __version__
from af_kit.doctor import cluster, configuration, credentials, kubernetes, machine, sites, storage
from af_kit.doctor.findings import Diagnosis, Finding, problem, warning
from af_kit.errors import InputError

__all__ = ["doctor"]

Check = Callable[[], Iterator[Finding]]


def doctor(client: Any = None, *, open: str | None = None) -> Diagnosis:
    """Look what is wrong here, and say what to do about it.

    Parameters
    ----------
    client : distributed.Client, optional
        Its scheduler and workers are looked at, too.
    open : str, optional
        A file to open: ``root://...`` (default: ``af_kit.doctor.test_file``).

    Returns
    -------
    Diagnosis
        Prints as a list, in a notebook as a table; ``.problems``, ``.warnings``, ``.to_json()``.

    Notes
    -----
    Every check has ``af_kit.doctor.check_s`` seconds, and all run at the same time. Nothing is changed, and no secret
    is shown.

    Examples
    --------
    >>> af.doctor(client).problems    # doctest: +SKIP
    """
    if client is not None and (not hasattr(client, "submit") or getattr(client, "asynchronous", False)):
        raise InputError(f"client: a plain distributed.Client is needed, such as connect() gives, not {client!r}.")
    within_s = float(configuration.setting("doctor.check_s"))
    waiting = [
        (group, _Running(check, within_s)) for group, checks in _checks(client, open, within_s) for check in checks
    ]
    found = [replace(finding, group=group) for group, running in waiting for finding in running.findings()]
    return Diagnosis(tuple(found), __version__, datetime.now(UTC))


def _checks(client: Any, url: str | None, within_s: float) -> Iterator[tuple[str, list[Check]]]:
    patience_s = 0.8 * within_s  # of a check that waits itself, so that it can still say for what
    yield "configuration", [configuration.check_settings]
    yield (
        "credentials",
        [credentials.check_proxy, credentials.check_token, credentials.check_authorities],
    )
    yield "storage", [_named("one file opened", lambda: storage.check_open(url, patience_s))]
    yield "this machine", [machine.check_disk, machine.check_memory, machine.check_allocator]
    yield (
        "the site",
        [
            _named("batch systems", lambda: sites.check_batch(patience_s)),
            sites.check_gateway,
            sites.check_hub,
            _named("Kubernetes", lambda: kubernetes.check_kubernetes(patience_s, client)),
        ],
    )
    if client is not None:
        ours: list[Callable[[Any], Iterator[Finding]]] = [cluster.check_client]
        if client.status == "running":
            ours += [cluster.check_versions, cluster.check_processes, cluster.check_dashboard, credentials.check_sent]
        yield "the cluster", [_named(check.__name__, _with(check, client)) for check in ours]


def _with(check: Callable[[Any], Iterator[Finding]], client: Any) -> Check:
    return lambda: check(client)


def _named(name: str, check: Check) -> Check:
    check.__name__ = name
    return check


class _Running:
    """A check in a thread of its own, which is left behind if it hangs."""

    def __init__(self, check: Check, within_s: float) -> None:
        self._name = check.__name__.removeprefix("check_").replace("_", " ")
        self._check, self._within_s = check, within_s
        self._deadline = time.monotonic() + within_s
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._run, name=f"af-kit-doctor-{self._name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for finding in self._check():
                self._found.append(finding)
        except Exception as error:  # noqa: BLE001 - one check must not hide the others
            advice = "A mistake of the check, or something that it did not expect: report it with this line."
            self._found.append(problem(self._name, f"it could not be checked: {type(error).__name__}: {error}", advice))

    def findings(self) -> list[Finding]:
        """What it found until the deadline."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        found = list(self._found)
        if self._thread.is_alive():
            seen = f"no answer within {self._within_s:g} s"
            advice = "What it looks at hangs. More time: af_kit.doctor.check_s."
            found.append(warning(self._name, seen, advice))
        return found
