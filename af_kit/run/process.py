"""`process`: run a function over all chunks of a fileset and merge its outputs, with every entry accounted for.

The flow: plan the chunks (`plan`), group them into tasks, run these on an engine (`engines`), merge as they finish, and
report. ``Result.retry`` goes through the same steps with the chunks that failed.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from af_kit import __version__, config
from af_kit.data.reading.column_cache import CacheSettings
from af_kit.data.transport.io_errors import is_remote
from af_kit.display.progress import Progress
from af_kit.errors import ConnectError, FunctionError, InputError, ReadError, nearest
from af_kit.plugins.spark import is_spark, spark_context
from af_kit.run.bookkeeping import Failure, Partial, combine, covered
from af_kit.run.checkpoint import Checkpoint, registered_on_spark, registered_on_workers
from af_kit.run.coffea import Processor, accumulated, is_processor, postprocess, schema_named
from af_kit.run.credential_expiry import CredentialExpiry
from af_kit.run.dependencies import fingerprint, unseen_lookups
from af_kit.run.engines.base import Outcome
from af_kit.run.engines.client_calls import noticing_loss, seceded
from af_kit.run.engines.threads import run_on_threads
from af_kit.run.live import LiveView
from af_kit.run.performance import record
from af_kit.run.plan import Plan, group_chunks, load_source, make_plan, plan_again, replicas_of
from af_kit.run.read_ahead import likely_branches
from af_kit.run.report import Report, make_report
from af_kit.run.result import Result, merged_values
from af_kit.run.task import Context, Group
from af_kit.run.upload import uploaded_files

__all__ = ["process"]

logger = logging.getLogger(__name__)


def process(
    function: Any,
    fileset: Any,
    client: Any = None,
    *,
    datasets: Sequence[str] | None = None,
    treename: str | None = None,
    chunk_entries: int | None = None,
    max_chunks: int | None = None,
    branches: Iterable[str] | None = None,
    on_error: str = "raise",
    checkpoint: str | Path | None = None,
    retries: int | None = None,
    verify: bool = True,
    finish: Callable[[Any], Any] | None = None,
    schema: Any = None,
    progress: bool | None = None,
    spark: Any = None,
    live: bool | str | Sequence[str] | Callable[[dict[Any, Any]], Any] | None = None,
    cache: str | int | None = None,
) -> Result:
    """Run a function over all chunks of a fileset and merge its outputs.

    Parameters
    ----------
    function : callable or coffea ProcessorABC
        Takes the events of one chunk and returns a mapping of values that can be merged: numbers, histograms, arrays
        (concatenated), tables (rows appended), lists, and mappings of these. It must not depend on where the chunks
        are cut. A coffea processor works unchanged and gets coffea's NanoEvents.
    fileset : Fileset, path, mapping, list of paths, or list of Chunk
        Anything that `load_fileset` takes, or chunks returned by `plan`.
    client : distributed.Client, optional
        The cluster to run on, from `connect`; without it, threads of this process do the work. Files on this machine
        that the workers cannot see (pods, machines without the shared disk) are uploaded to them, up to
        ``af_kit.data.upload_limit`` bytes.
    datasets : sequence of str, optional
        Only these datasets of the fileset.
    treename : str, optional
        Name of the tree, if the fileset does not give one.
    chunk_entries : int, optional
        Maximum number of entries in a chunk; by default it depends on the data (see `plan`).
    max_chunks : int, optional
        Process only the first chunks of each dataset, for a quick test (coffea's ``maxchunks``). They are cut as in a
        full run, which reuses them from a checkpoint. The report covers only these chunks, and a note says how many
        were left out.
    branches : iterable of str, optional
        The branches that the function uses: names, patterns, or collections such as ``"Muon"``. They are then fetched
        in one request per task, and using any other branch is an error. By default the branches are found by
        themselves.
    on_error : {"raise", "collect"}
        If the function fails on a chunk, stop the run and raise at once, or list the chunk as failed and continue. A
        file that cannot be read is always listed and never raised, unless no file can be read at all.
    checkpoint : path, optional
        A folder for finished chunks: the same call continues there, an edited function starts from the beginning.
    retries : int, optional
        How often to read again after an I/O error, on each replica (``af_kit.run.retries``).
    verify : bool
        Check the checksums in the files (see `read`). False reads a little faster; the report then says that they
        were not checked.
    finish : callable, optional
        Takes the merged output and returns the final one, as a mapping: a place to normalise, which must not be done
        chunk by chunk. `Result.retry` merges first and calls it again.
    schema : str or class, optional
        The NanoEvents schema for a coffea processor (``"NanoAODSchema"`` by default).
    progress : bool, optional
        Show a progress bar; by default on a terminal and in a notebook.
    spark : pyspark.sql.SparkSession, optional
        Run on the executors of this session instead of a Dask cluster. They must see the files and have af-kit in
        their Python.
    live : bool, str, sequence of str, or callable, optional
        Show in the notebook, while the run goes on, the histograms that are merged so far and how many entries are
        processed. True: all histograms of one dimension. Names: only these; ``"mass"`` is any of this name, and
        ``"signal/mass"`` the one of ``output["signal"]``. A function: it gets the histograms and numbers of the output
        so far (before ``finish``) and draws with matplotlib on the current figure; outside a notebook it is called,
        too, and may write a file. Pictures take less than 1 % of the run's time, so they come more often in a long run.
        An error in drawing ends the live view, not the run, and is a note of the report.
    cache : str or int, optional
        Bytes of decoded columns that each worker machine keeps on its disk (``af_kit.run.cache.size``), such as
        ``"20 GiB"``; 0: none. Another run over the same files and chunks takes the columns from there, as long as the
        files have the same content.

    Returns
    -------
    Result
        A mapping of the merged output; ``result.report`` accounts for every entry, ``result.retry()`` runs only what
        failed. After an interrupt (Ctrl-C, the notebook's stop button) it holds what was done by then, and it and its
        report say that this is a part.

    Raises
    ------
    FunctionError
        The function failed on a chunk, with ``on_error="raise"``; the message has the file, the entries and the
        traceback, and ``.result`` holds what was done before. Or ``finish`` failed: ``.result`` is its input.
    MergeError
        Outputs of two chunks cannot be merged.
    ReadError
        No file could be opened.
    ConnectError
        The client is closed, or the connection to its scheduler is lost; the Spark session has ended.
    InputError
        An argument is not valid; or no worker can see the files, and these exceed ``af_kit.data.upload_limit``.

    Examples
    --------
    >>> import af_kit as af
    >>> import awkward as ak
    >>> def analyse(events):
    ...     return {"events": len(events), "dimuons": int(ak.sum(ak.num(events.Muon) == 2))}
    >>> result = af.process(analyse, af.write_files("dimuon", "samples", 2000, files=2))
    >>> result["events"]
    2000
    >>> result.report.check().entries
    {'planned': 2000, 'processed': 2000, 'failed': 0}
    """
    _check_client(client, spark)
    if spark is not None and live is not None and live is not False:
        raise InputError("live= shows runs on threads and on Dask, not on Spark: leave it out.")
    if on_error not in ("raise", "collect"):
        raise InputError(f"on_error={on_error!r} is not known.{nearest(on_error, ['raise', 'collect'])}")
    if not callable(function) and not is_processor(function):
        raise InputError(f"process() takes a function of the events first, not a {type(function).__name__}.")
    retries = config.get("run.retries") if retries is None else retries
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise InputError(f"retries={retries!r} is not valid: give a whole number, 0 (read once) or more.")
    begin = time.perf_counter()
    options = _Options(
        function=function,
        chunk_entries=chunk_entries,
        max_chunks=max_chunks,
        branches=None if branches is None else list(branches),
        on_error=on_error,
        checkpoint=checkpoint,
        retries=retries,
        verify=verify,
        finish=finish,
        schema=schema_named(schema) if is_processor(function) else None,
        progress=progress,
        spark=spark,
        live=LiveView(live),
        cache=_cache(cache),
    )
    source = load_source(fileset, datasets, treename)
    with (
        noticing_loss(client),
        seceded(client),
        uploaded_files(client, replicas_of(source), progress=progress) as notes,
    ):
        plan = make_plan(source, **options.planning(), client=client, progress=progress)
        unverified = () if verify else ("checksums were not verified (verify=False)",)
        plan = replace(plan, notes=(*notes, *plan.notes, *unverified, *_unseen(options)))
        if not plan.chunks and plan.unplanned:
            raise ReadError(plan.unplanned_message(), transient=False)
        outcome = _run(plan, list(plan.chunks), options, client)
    return _finish(plan, outcome, options, client, time.perf_counter() - begin)


@dataclass(frozen=True)
class _Options:
    """The arguments of `process` that a retry uses again."""

    function: Any
    chunk_entries: int | None
    max_chunks: int | None
    branches: list[str] | None
    on_error: str
    checkpoint: str | Path | None
    retries: int
    verify: bool
    finish: Callable[[Any], Any] | None
    schema: Any
    progress: bool | None
    spark: Any
    live: LiveView
    cache: CacheSettings | None

    def planning(self) -> dict[str, Any]:
        """Return the arguments of `make_plan`."""
        return {"chunk_entries": self.chunk_entries, "max_chunks": self.max_chunks, "branches": self.branches}

    def context(self, plan: Plan) -> Context:
        """Return the settings that all tasks share."""
        remote = {chunk.dataset: chunk.layout for chunk in plan.chunks.values() if is_remote(chunk.replicas[0])}
        function = Processor(self.function) if is_processor(self.function) else self.function
        return Context(
            function,
            run=uuid.uuid4().hex[:10],
            raise_errors=self.on_error == "raise",
            retries=self.retries,
            backoff_s=float(config.get("run.backoff_s")),
            verify=self.verify,
            prefetch=self.branches is not None,
            likely=likely_branches(function, remote.values()) if remote and self.branches is None else frozenset(),
            coffea_schema=self.schema,
            cache=self.cache,
        )

    def key(self, client: Any) -> str:
        """Return the checkpoint's key: everything that decides the output of a chunk."""
        sent = registered_on_workers(client) if self.spark is None else registered_on_spark(self.spark)
        how = (self.branches, self.verify, getattr(self.schema, "__name__", None), sent)
        return fingerprint(self.function, how, __version__)


def _cache(size: str | int | None) -> CacheSettings | None:
    """Return the settings of the column cache; None if there is none."""
    name = "af_kit.run.cache.size" if size is None else "cache"
    size = config.get("run.cache.size") if size is None else size
    if size in (0, "0"):
        return None
    return CacheSettings(config.as_bytes(size, name), str(config.get("run.cache.folder")))


def _check_client(client: Any, spark: Any = None) -> None:
    if spark is not None:
        spark_context(spark)
        if client is not None:
            raise InputError("Give a client or spark=, not both: a run takes place on one of them.")
    if client is None:
        return
    if is_spark(client):
        raise InputError("client: a plain distributed.Client is needed; a Spark session is given as spark=session.")
    if not hasattr(client, "submit") or getattr(client, "asynchronous", False):
        raise InputError(f"client: a plain distributed.Client is needed, such as connect() returns, not {client!r}.")
    if client.status != "running":
        raise ConnectError(f"The client is {client.status}. Connect again; retry() takes another client, too.")


def _unseen(options: _Options) -> list[str]:
    """Return a note about what the checkpoint's key does not include, if there is something."""
    lookups = unseen_lookups(options.function) if options.checkpoint is not None else []
    return lookups and [
        f"the checkpoint does not notice changes in what the function reads with {', '.join(lookups)}: use another "
        "folder after such a change"
    ]


def _run(plan: Plan, numbers: Iterable[int], options: _Options, client: Any) -> Outcome:
    """Run these chunks, except those that the checkpoint holds."""
    groups = group_chunks(plan, numbers)
    sizes = [sum(len(chunk) for _, chunk in group) for group in groups]
    checkpoint = Checkpoint(options.checkpoint, options.key(client)) if options.checkpoint is not None else None
    loaded = {i: part for i, group in enumerate(groups) if checkpoint and (part := checkpoint.load(group)) is not None}
    todo = [i for i in range(len(groups)) if i not in loaded]
    if options.spark is not None:
        where = "Spark"
    else:
        where = "threads of this process" if client is None else f"the cluster at {client.scheduler.address}"
    logger.info("run: %s tasks on %s", len(todo), where)
    if checkpoint is not None:
        logger.info("run: %s of %s tasks are in the checkpoint %s", len(loaded), len(groups), options.checkpoint)
    bar = Progress(sum(sizes), options.progress, what="run")
    bar.update(sum(sizes[i] for i in loaded))
    expiry = CredentialExpiry(client or options.spark, sum(sizes[i] for i in todo))

    def step(number: int, done: int, failed: int, partial: Callable[[], Partial]) -> None:
        if checkpoint is not None and done:
            # A result that has been lost since is handled when all results are gathered.
            with contextlib.suppress(Exception):
                checkpoint.save(groups[todo[number]], partial())
        bar.update(done, failed)
        options.live.count(done, failed)
        expiry.update(done + failed)

    context = options.context(plan)
    options.live.begin(sum(sizes), list(loaded.values()))
    try:
        own, own_sizes = [groups[i] for i in todo], [sizes[i] for i in todo]
        if options.spark is not None:
            from af_kit.run.engines.spark import run_on_spark

            each = checkpoint is not None
            outcome = run_on_spark(context, own, step, options.spark, own_sizes, options.progress, each=each)
        elif client is None:
            outcome = run_on_threads(context, own, step, live=options.live)
        else:
            from af_kit.run.engines.dask import run_on_dask

            outcome = run_on_dask(context, own, step, client, own_sizes, options.progress, live=options.live)
    finally:
        bar.close()
        options.live.stop()
    outcome.partial = combine([*loaded.values(), outcome.partial])
    outcome.reasons = {todo[i]: reason for i, reason in outcome.reasons.items()}
    outcome.partial.bookkeeping.failures += _unanswered(groups, outcome)
    outcome.notes = [checkpoint.problem] if checkpoint and checkpoint.problem else []
    return outcome


def _unanswered(groups: Sequence[Group], outcome: Outcome) -> list[Failure]:
    """Return the chunks without a result or a failure, with the engine's reason."""
    answered = {number for segment in outcome.partial.segments for number in range(segment.first, segment.last)}
    answered |= {failure.chunk for failure in outcome.partial.bookkeeping.failures}
    failures: list[Failure] = []
    for i, group in enumerate(groups):
        kind, reason = "worker", outcome.reasons.get(i)
        if reason is None and outcome.stopped_by is not None:
            kind, reason = "interrupted", "the run was stopped before these entries were done"
        if reason is None:
            continue
        failures += [
            Failure(number, chunk.dataset, chunk.file, chunk.entry_start, chunk.entry_stop, kind, reason)
            for number, chunk in group
            if number not in answered
        ]
    return failures


def _finish(plan: Plan, outcome: Outcome, options: _Options, client: Any, wall_s: float) -> Result:
    """Return the result of an outcome, or raise the error that stopped the run."""
    partial, stopped = outcome.partial, outcome.stopped_by
    report = _report(replace(plan, notes=(*plan.notes, *outcome.notes)), partial, wall_s, outcome.threads)
    logger.info("run: %r in %.1f s", report, wall_s)
    record(report)
    values = merged_values(partial)
    report = options.live.finish(values, report)
    if is_processor(options.function) and values:
        name = f"{type(options.function).__name__}.postprocess"
        values, error = _finished(name, functools.partial(postprocess, options.function), accumulated(values))
        stopped = stopped or error
    elif report.failures:
        values = copy.deepcopy(values)  # the user may scale them in place, and a retry merges the original again
    if options.finish is not None and values:
        values, error = _finished("finish()", options.finish, values)
        stopped = stopped or error
    result = Result(report, values, partial, lambda before, other: _retry(before, plan, options, client, other))
    if isinstance(stopped, FunctionError):
        stopped.result = result
    if stopped is not None and not isinstance(stopped, KeyboardInterrupt):
        raise stopped
    if report.failures:
        warnings.warn(f"{report.summary()}\nresult.retry() runs only these.", stacklevel=3)
    return result


def _finished(
    name: str, finish: Callable[[Any], Any], merged: Mapping[Any, Any]
) -> tuple[Mapping[Any, Any], FunctionError | None]:
    """Return the final output, and the error of ``finish`` if it failed: the output is then the merged one."""
    try:
        final = finish(merged)
        if not isinstance(final, Mapping):
            raise TypeError(f"it returned a {type(final).__name__}; a result is a mapping")
    except Exception as error:  # noqa: BLE001 - the work of the tasks must not be lost for it
        failed = FunctionError(
            f"{name} failed: {type(error).__name__}: {str(error).rstrip('.')}. `.result` of this error is the output "
            "before it."
        )
        failed.__cause__ = error
        return merged, failed
    return final, None


def _report(plan: Plan, partial: Partial, wall_s: float, threads: int) -> Report:
    """Return the report of what was done, with the files that could not be opened among its failures."""
    partial.bookkeeping.failures += [
        Failure(number, item.dataset, item.file.path, None, None, "io", item.reason)
        for number, item in plan.unplanned.items()
    ]
    failed = {failure.chunk for failure in partial.bookkeeping.failures}
    lost = sorted(set(plan.chunks) - covered(partial, len(plan.items)) - failed)
    planned: Counter[str] = Counter()
    for chunk in plan.chunks.values():
        planned[chunk.dataset] += len(chunk)
    return make_report(
        planned,
        len(plan.chunks),
        plan.files,
        partial.bookkeeping,
        lost=tuple(lost),
        wall_s=wall_s,
        threads=threads,
        notes=plan.notes,
    )


def _retry(before: Result, plan: Plan, options: _Options, client: Any, other: Any) -> Result:
    """Run the failed chunks and those of files that could not be opened, and merge them into the result.

    They run where the first run did, or on ``other``, a Dask client or a Spark session.
    """
    if other is not None:
        client, spark = (None, other) if is_spark(other) else (other, None)
        options = replace(options, spark=spark)
    _check_client(client, options.spark)
    begin = time.perf_counter()
    failed = {failure.chunk for failure in before.report.failures}
    files = {plan.chunks[number].replicas for number in failed & plan.chunks.keys()}
    files |= {item.file.replicas for item in plan.unplanned.values()}
    with noticing_loss(client), seceded(client), uploaded_files(client, files, progress=options.progress) as notes:
        extended, moved = plan_again(plan, **options.planning(), client=client, progress=options.progress)
        extended = replace(extended, notes=tuple(dict.fromkeys((*notes, *extended.notes))))
        numbers = [moved[number] for number in failed & moved.keys()]
        numbers += set(extended.chunks) - set(moved.values())
        outcome = _run(extended, sorted(numbers), replace(options, on_error="collect"), client)
    segments = [
        replace(s, first=moved[s.first], last=moved[s.first] + s.last - s.first) for s in before._partial.segments
    ]
    done = Partial(segments, replace(before._partial.bookkeeping, failures=[]))
    outcome.partial = combine([done, outcome.partial])
    return _finish(extended, outcome, options, client, before.report.wall_s + time.perf_counter() - begin)
