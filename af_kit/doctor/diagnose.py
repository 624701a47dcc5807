"""`doctor`: run all checks at the same time, each with its own deadline, so that none hides another."""

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
    """Find out what is wrong with this session, its site or its cluster, and what to do about it.

    Parameters
    ----------
    client : distributed.Client, optional
        Check its scheduler and workers as well.
    open : str, optional
        A file to open, such as ``root://...`` (default: ``af_kit.doctor.test_file``).

    Returns
    -------
    Diagnosis
        All findings. It is printed as a list, and shown as a table in a notebook; ``.problems``, ``.warnings`` and
        ``.to_json()`` are for programs.

    Notes
    -----
    Every check has ``af_kit.doctor.check_s`` seconds, and all run at the same time. The doctor changes nothing and
    shows no secrets.

    Examples
    --------
    >>> af.doctor(client).problems    # doctest: +SKIP
    """
    if client is not None and (not hasattr(client, "submit") or getattr(client, "asynchronous", False)):
        raise InputError(f"doctor(client) needs a plain distributed.Client, such as connect() returns, not {client!r}.")
    within_s = float(configuration.setting("doctor.check_s"))
    running = [
        (group, _Running(check, within_s)) for group, checks in _checks(client, open, within_s) for check in checks
    ]
    found = [replace(finding, group=group) for group, check in running for finding in check.findings()]
    return Diagnosis(tuple(found), __version__, datetime.now(UTC))


def _checks(client: Any, url: str | None, within_s: float) -> Iterator[tuple[str, list[Check]]]:
    answer_s = 0.8 * within_s  # for checks that wait for an answer, so that they can still report what they wait for
    yield "configuration", [configuration.check_settings]
    yield (
        "credentials",
        [credentials.check_proxy, credentials.check_token, credentials.check_authorities],
    )
    yield "storage", [_named("one file opened", lambda: storage.check_open(url, answer_s))]
    yield "this machine", [machine.check_disk, machine.check_memory, machine.check_allocator, machine.check_bytecode]
    yield (
        "the site",
        [
            _named("batch systems", lambda: sites.check_batch(answer_s)),
            sites.check_gateway,
            sites.check_hub,
            _named("Kubernetes", lambda: kubernetes.check_kubernetes(answer_s, client)),
        ],
    )
    if client is not None:
        checks: list[Callable[[Any], Iterator[Finding]]] = [cluster.check_client]
        if client.status == "running":
            checks += [cluster.check_versions, cluster.check_processes, cluster.check_dashboard, credentials.check_sent]
        yield "the cluster", [_named(check.__name__, _with(check, client)) for check in checks]


def _with(check: Callable[[Any], Iterator[Finding]], client: Any) -> Check:
    return lambda: check(client)


def _named(name: str, check: Check) -> Check:
    check.__name__ = name
    return check


class _Running:
    """A check in its own thread, which is abandoned if it hangs."""

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
        except Exception as error:  # noqa: BLE001 - an error in one check must not hide the others
            advice = "This may be a bug in the check: report it with this line."
            self._found.append(problem(self._name, f"it could not be checked: {type(error).__name__}: {error}", advice))

    def findings(self) -> list[Finding]:
        """Return the findings until the deadline."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        found = list(self._found)
        if self._thread.is_alive():
            seen = f"no answer within {self._within_s:g} s"
            advice = "The check hangs. To allow more time, set af_kit.doctor.check_s."
            found.append(warning(self._name, seen, advice))
        return found
