"""`performance_report`: what a block of work cost, according to Dask and to af-kit, in one folder."""

from __future__ import annotations

import html
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from af_kit import __version__
from af_kit.errors import InputError
from af_kit.run.report import Report

__all__ = ["PerformanceReport", "performance_report", "record"]

FORMAT = 1
_lock = threading.Lock()
_open: list[PerformanceReport] = []


def performance_report(folder: str | Path, client: Any = None) -> PerformanceReport:
    """Write a report of what runs in a ``with`` block into a folder.

    Parameters
    ----------
    folder : path
        Created if needed. It gets ``report.json`` and ``report.html`` (the reports of every `process` and ``retry`` in
        the block, and the workers), and with a client also ``dask.html`` (Dask's report: the task stream, profiles,
        bandwidths). Those of an older run are replaced.
    client : distributed.Client, optional
        The cluster for Dask's report; without it, there is no ``dask.html``.

    Returns
    -------
    PerformanceReport
        ``.reports`` are the reports so far; ``.files`` is available after the block.

    Notes
    -----
    Everything is also written if the block ends in an error, which is raised as usual. If Dask's part fails,
    ``report.json`` has the reason. ``dask.html`` can be viewed without a network.

    Examples
    --------
    >>> with af.performance_report("run1/", client):    # doctest: +SKIP
    ...     result = af.process(analyse, fileset, client)
    """
    if client is not None and (not hasattr(client, "submit") or getattr(client, "asynchronous", False)):
        raise InputError(f"client: a plain distributed.Client is needed, such as connect() returns, not {client!r}.")
    return PerformanceReport(Path(folder).expanduser(), client)


def record(report: Report) -> None:
    """Add a report to every open block."""
    with _lock:
        for block in _open:
            block.reports.append(report)


class PerformanceReport:
    """The ``with`` block of `performance_report`.

    Attributes
    ----------
    folder : Path
        Where the files are written.
    reports : list of Report
        The reports of every `process` and ``retry`` that ended in the block, in order.
    files : list of Path
        The files that were written.
    """

    def __init__(self, folder: Path, client: Any) -> None:
        self.folder = folder
        self.reports: list[Report] = []
        self.files: list[Path] = []
        self._client = client
        self._dask: Any = None
        self._problem = "" if client is not None else "there was no client"

    def __enter__(self) -> PerformanceReport:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in ("dask.html", "report.json", "report.html"):
                (self.folder / name).unlink(missing_ok=True)  # of an older run
        except OSError as error:
            raise InputError(f"performance_report: {self.folder}: {error.strerror}. Name another folder.") from error
        self._began, self._clock = datetime.now(UTC), time.perf_counter()
        self._begin_dask()
        with _lock:
            _open.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _lock:
            _open.remove(self)
        wall_s = time.perf_counter() - self._clock
        self._end_dask()
        content = {
            "format": FORMAT,
            "af_kit": __version__,
            "began": self._began.isoformat(timespec="seconds"),
            "wall_s": round(wall_s, 3),
            "error": "" if kind is None else f"{kind.__name__}: {error}".strip(),
            "totals": _totals(self.reports),
            "workers": self._workers(),
            "dask": {"file": "" if self._problem else "dask.html", "problem": self._problem},
            "reports": [report.to_dict() for report in self.reports],
        }
        self._write("report.json", json.dumps(content, indent=2) + "\n")
        self._write("report.html", _page(content, self.reports))

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        self.files.append(path)

    def _begin_dask(self) -> None:
        if self._client is None:
            return
        try:
            from distributed import performance_report as dask_report

            block = dask_report(filename=str(self.folder / "dask.html"), mode="inline", stacklevel=3)
            with self._client.as_current():
                block.__enter__()
            self._dask = block
        except Exception as error:  # noqa: BLE001 - it must not stop the work
            self._problem = f"{type(error).__name__}: {error}"

    def _end_dask(self) -> None:
        if self._dask is None:
            return
        if self._client.status != "running":
            self._problem = f"the client was {self._client.status} before the end"
            return
        try:
            with self._client.as_current():
                self._dask.__exit__(None, None, None)
            self.files.append(self.folder / "dask.html")
        except Exception as error:  # noqa: BLE001 - the cluster is gone, or its scheduler has no bokeh
            self._problem = f"{type(error).__name__}: {error}"

    def _workers(self) -> dict[str, dict[str, Any]]:
        """Return the workers at the end of the block."""
        if self._client is None:
            return {}
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        except Exception:  # noqa: BLE001 - the cluster is gone; the reports still list the workers
            return {}
        return {
            address: {
                "name": str(worker["name"]),
                "host": worker["host"],
                "threads": worker["nthreads"],
                "memory_limit": worker["memory_limit"] or 0,
                "memory": worker["metrics"].get("memory", 0),
                "tasks_in_memory": worker["metrics"].get("in_memory", 0),
            }
            for address, worker in workers.items()
        }


def _totals(reports: list[Report]) -> dict[str, Any]:
    seconds = sum(report.wall_s for report in reports)
    processed = sum(report.entries["processed"] for report in reports)
    return {
        "entries": {key: sum(report.entries[key] for report in reports) for key in ("planned", "processed", "failed")},
        "bytes_read": sum(report.bytes_read for report in reports),
        "wall_s": round(seconds, 3),
        "cpu_s": round(sum(report.cpu_s for report in reports), 3),
        "entries_per_s": round(processed / seconds, 1) if seconds else 0.0,
        "retries": sum(report.retries for report in reports),
    }


_STYLE = "body{font-family:sans-serif;margin:2em}th,td{text-align:left;padding:0.2em 1em 0.2em 0}"


def _page(content: dict[str, Any], reports: list[Report]) -> str:
    from dask.utils import format_bytes

    totals, parts = content["totals"], []
    error = f"<p><b>The block ended in an error: {html.escape(content['error'])}</b></p>" if content["error"] else ""
    problem = html.escape(content["dask"]["problem"])
    dask_report = (
        f"There is no report from Dask: {problem}." if problem else "Dask's report: <a href='dask.html'>dask.html</a>."
    )
    for number, report in enumerate(reports, start=1):
        parts.append(f"<h2>Run {number} of {len(reports)}</h2>{report._repr_html_()}")
    rows = "".join(
        f"<tr><td>{html.escape(address)}</td><td>{html.escape(one['host'])}</td><td>{one['threads']}</td>"
        f"<td>{format_bytes(one['memory'])} of {format_bytes(one['memory_limit'])}</td></tr>"
        for address, one in content["workers"].items()
    )
    head = "<tr><th>worker</th><th>host</th><th>threads</th><th>memory at the end</th></tr>"
    workers = f"<h2>Workers</h2><table>{head}{rows}</table>" if rows else ""
    return (
        f"<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Report of a run</title>"
        f"<style>{_STYLE}</style></head><body><h1>Report of a run</h1>"
        f"<p>Began {content['began']}, took {content['wall_s']:.1f} s, of which {totals['wall_s']:.1f} s in "
        f"{len(reports)} run(s): {totals['entries']['processed']:,} of {totals['entries']['planned']:,} entries, "
        f"{totals['bytes_read'] / 1e6:,.1f} MB, {totals['entries_per_s']:,.0f} entries/s. {dask_report}</p>"
        f"{error}{''.join(parts) or '<p>No run of af_kit.process ended in this block.</p>'}{workers}</body></html>\n"
    )
