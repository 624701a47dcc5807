"""`process`: one function over all chunks of a fileset, merged, with an account of every entry."""

from __future__ import annotations

import contextlib
import copy
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from af_kit import __version__, config
from af_kit.data.chunks import Chunk, Plan, Unplanned, make_plan, target_entries, unplanned_message
from af_kit.data.fileset.load import Dataset, File, Fileset, load_fileset
from af_kit.data.reading.branches import select_branches
from af_kit.errors import ConnectError, FunctionError, InputError, ReadError, nearest
from af_kit.run.bookkeeping import Failure, Partial, combine, covered
from af_kit.run.checkpoint import Checkpoint, sent_to_workers
from af_kit.run.coffea import Processor, is_processor, processed_values, schema_named
from af_kit.run.credential_expiry import Outlook
from af_kit.run.engines.base import Outcome, run_on_threads
from af_kit.run.fingerprint import fingerprint
from af_kit.run.performance import note
from af_kit.run.progress import Progress
from af_kit.run.report import make_report
from af_kit.run.result import Result, merged_values
from af_kit.run.task import Context, Group
from af_kit.run.upload import carrying

__all__ = ["process"]


def process(
    function: Any,
    fileset: Any,
    client: Any = None,
    *,
    datasets: Sequence[str] | None = None,
    treename: str | None = None,
    chunk_entries: int | None = None,
    branches: Iterable[str] | None = None,
    on_error: str = "raise",
    checkpoint: str | Path | None = None,
    retries: int | None = None,
    verify: bool = False,
    schema: Any = None,
    progress: bool | None = None,
) -> Result:
    """Run a function over all chunks of a fileset and merge what it returns.

    Parameters
    ----------
    function : callable or coffea ProcessorABC
        Takes the events of one chunk and returns a mapping of things that can be merged: numbers, histograms,
        arrays (concatenated), tables (rows appended), lists, and mappings of these. It must not depend on where the
        chunks are cut. A coffea processor works unchanged and gets coffea's NanoEvents.
    fileset : Fileset, path, mapping, list of paths, or list of Chunk
        What `load_fileset` takes, or the chunks that `plan` gave.
    client : distributed.Client, optional
        Where to run; `connect` gives one. Without it, threads of this process do the work. Files of this machine that
        its workers do not see (pods, machines without the shared disk) are carried to them, up to
        ``af_kit.data.upload_limit`` bytes; what a worker sees by the same path, it reads there.
    datasets : sequence of str, optional
        Only these datasets of the fileset.
    treename : str, optional
        The tree's name where the fileset does not say it.
    chunk_entries : int, optional
        Most entries of a chunk; chosen by the data by default (see `plan`).
    branches : iterable of str, optional
        The branches that the function uses: names, patterns, or collections such as ``"Muon"``. They are then fetched
        in one request per task, and a use of any other is an error. Found by themselves by default.
    on_error : {"raise", "collect"}
        What to do when the function fails on a chunk: show it at once (the run stops), or list the chunk as failed and
        go on. A file that cannot be read is always listed, never raised, unless no file can be read at all.
    checkpoint : path, optional
        A folder that keeps what succeeded: the same call resumes there, an edited function starts anew.
    retries : int, optional
        How often to read again after an I/O error, on each replica (``af_kit.run.retries``).
    verify : bool
        Check the compression's checksums as well.
    schema : str or class, optional
        For a coffea processor: the NanoEvents schema (``"NanoAODSchema"`` by default).
    progress : bool, optional
        Show a progress bar; by default on a terminal and in a notebook.

    Returns
    -------
    Result
        A mapping of the merged output; ``result.report`` has the account, ``result.retry()`` runs again what failed.
        An interrupt (Ctrl-C, the notebook's stop button) gives the part that was done.

    Raises
    ------
    FunctionError
        The function failed on a chunk, with ``on_error="raise"``; the message has the file, the entries and the
        traceback, ``.result`` what was done before.
    MergeError
        Outputs of two chunks cannot be merged.
    ReadError
        No file could be opened.
    ConnectError
        The client is closed, or its scheduler went away.
    InputError
        An argument is not usable; or no worker sees the files, and they are too large to be carried.
    """
    _check_client(client)
    if on_error not in ("raise", "collect"):
        raise InputError(f"on_error={on_error!r} is not known.{nearest(on_error, ['raise', 'collect'])}")
    if not callable(function) and not is_processor(function):
        raise InputError(f"process() takes a function of the events first, not a {type(function).__name__}.")
    begin = time.perf_counter()
    wanted = None if branches is None else list(branches)
    options = _Options(
        function=function,
        chunk_entries=chunk_entries,
        branches=wanted,
        on_error=on_error,
        checkpoint=checkpoint,
        retries=int(config.get("run.retries") if retries is None else retries),
        verify=verify,
        schema=schema_named(schema) if is_processor(function) else None,
        progress=progress,
    )
    source = _source(fileset, datasets, treename, options)
    with carrying(client, _files(source), progress=progress) as notes:
        plan = _plan(source, options, client)
        plan = replace(plan, notes=(*notes, *plan.notes))
        if not plan.chunks and plan.unplanned:
            raise ReadError(unplanned_message(plan), transient=False)
        outcome = _run(plan, list(plan.chunks), options, client)
    return _finish(plan, outcome, options, client, time.perf_counter() - begin)


@dataclass(frozen=True)
class _Options:
    """The arguments of `process` that a retry uses again."""

    function: Any
    chunk_entries: int | None
    branches: list[str] | None
    on_error: str
    checkpoint: str | Path | None
    retries: int
    verify: bool
    schema: Any
    progress: bool | None

    def context(self) -> Context:
        function = Processor(self.function) if is_processor(self.function) else self.function
        return Context(
            function,
            run=uuid.uuid4().hex[:10],
            raise_errors=self.on_error == "raise",
            retries=self.retries,
            backoff_s=float(config.get("run.backoff_s")),
            verify=self.verify,
            prefetch=self.branches is not None,
            coffea_schema=self.schema,
        )

    def key(self, client: Any) -> str:
        how = (self.branches, self.verify, getattr(self.schema, "__name__", None), sent_to_workers(client))
        return fingerprint(self.function, how, __version__)


def _check_client(client: Any) -> None:
    if client is None:
        return
    if not hasattr(client, "submit") or getattr(client, "asynchronous", False):
        raise InputError(f"client: a plain distributed.Client is needed, such as connect() gives, not {client!r}.")
    if client.status != "running":
        raise ConnectError(f"The client is {client.status}. Connect again; retry() takes another client, too.")


def _source(
    fileset: Any, datasets: Sequence[str] | None, treename: str | None, options: _Options
) -> Fileset | list[Chunk]:
    """The fileset, or the chunks that are a plan already."""
    if isinstance(fileset, Chunk):
        fileset = [fileset]
    if isinstance(fileset, Sequence) and fileset and all(isinstance(item, Chunk) for item in fileset):
        if datasets is not None or treename is not None or options.chunk_entries is not None:
            raise InputError("A list of chunks is a plan already: give datasets, treename and chunk_entries to plan().")
        return list(fileset)
    return load_fileset(fileset, treename=treename, datasets=datasets)


def _files(source: Fileset | list[Chunk]) -> list[tuple[str, ...]]:
    """The replicas of each file."""
    if isinstance(source, Fileset):
        return [file.replicas for dataset in source.values() for file in dataset.files]
    return list(dict.fromkeys(chunk.replicas for chunk in source))


def _plan(source: Fileset | list[Chunk], options: _Options, client: Any) -> Plan:
    if isinstance(source, Fileset):
        return make_plan(source, options.chunk_entries, branches=options.branches, client=client)
    return _plan_of(source, options.branches)


def _plan_of(chunks: Sequence[Chunk], branches: list[str] | None) -> Plan:
    """The plan of chunks that the user picked: each entry once, with the branches that were declared."""
    ranges: dict[tuple[str, str, str], int] = {}
    for chunk in sorted(chunks, key=lambda chunk: (chunk.entry_start, chunk.entry_stop)):
        place = (chunk.dataset, chunk.file, chunk.treename)
        if chunk.entry_start < ranges.get(place, 0):
            raise InputError(
                f"The list of chunks holds entries of {chunk.file} (dataset {chunk.dataset!r}) twice, from entry "
                f"{chunk.entry_start} on: they would be counted twice. Give each entry once."
            )
        ranges[place] = chunk.entry_stop
    if branches is not None:
        of_file = {id(chunk.layout): chunk for chunk in chunks}
        layouts = {
            i: chunk.layout.only(select_branches(branches, chunk.layout, chunk.file)).packed()
            for i, chunk in of_file.items()
        }
        chunks = [replace(chunk, layout=layouts[id(chunk.layout)]) for chunk in chunks]
    return Plan(tuple(chunks), files=len(ranges))


def _groups(plan: Plan, numbers: Iterable[int]) -> list[Group]:
    """Tasks: neighbouring chunks together, until they are worth a task; the same for any cluster."""
    chunks = plan.chunks
    most = target_entries(list({id(chunk.layout): chunk.layout for chunk in chunks.values()}.values()))
    groups: list[list[tuple[int, Chunk]]] = []
    size = 0
    for number in numbers:
        chunk = chunks[number]
        if not groups or size + len(chunk) > most or groups[-1][-1][1].dataset != chunk.dataset:
            groups.append([])
            size = 0
        groups[-1].append((number, chunk))
        size += len(chunk)
    return [tuple(group) for group in groups]


def _run(plan: Plan, numbers: Iterable[int], options: _Options, client: Any) -> Outcome:
    """Run these chunks; what was saved before is taken from the checkpoint."""
    groups = _groups(plan, numbers)
    sizes = [sum(len(chunk) for _, chunk in group) for group in groups]
    saved = Checkpoint(options.checkpoint, options.key(client)) if options.checkpoint is not None else None
    kept = {i: found for i, group in enumerate(groups) if saved and (found := saved.load(group)) is not None}
    todo = [i for i in range(len(groups)) if i not in kept]
    bar = Progress(sum(sizes), options.progress)
    bar.update(sum(sizes[i] for i in kept))
    outlook = Outlook(client, sum(sizes[i] for i in todo))

    def step(number: int, done: int, failed: int, partial: Callable[[], Partial]) -> None:
        if saved is not None and done:
            # A result that was lost again meanwhile is dealt with where all are gathered.
            with contextlib.suppress(Exception):
                saved.save(groups[todo[number]], partial())
        bar.update(done, failed)
        outlook.update(done + failed)

    context = options.context()
    try:
        if client is None:
            outcome = run_on_threads(context, [groups[i] for i in todo], step)
        else:
            from af_kit.run.engines.dask import run_on_dask

            outcome = run_on_dask(context, [groups[i] for i in todo], step, client, [sizes[i] for i in todo])
    finally:
        bar.close()
    outcome.partial = combine([*kept.values(), outcome.partial])
    outcome.reasons = {todo[i]: reason for i, reason in outcome.reasons.items()}
    outcome.partial.account.failures += _without_answer(groups, outcome)
    return outcome


def _finish(plan: Plan, outcome: Outcome, options: _Options, client: Any, wall_s: float) -> Result:
    """The result of an outcome; raises what stopped the run, if that was an error."""
    partial = outcome.partial
    partial.account.failures += [_unplanned(number, item) for number, item in plan.unplanned.items()]
    numbers = {failure.chunk for failure in partial.account.failures}
    lost = sorted(set(plan.chunks) - covered(partial, len(plan.items)) - numbers)
    planned: Counter[str] = Counter()
    for chunk in plan.chunks.values():
        planned[chunk.dataset] += len(chunk)
    report = make_report(
        planned, len(plan.chunks), plan.files, partial.account, lost=tuple(lost), wall_s=wall_s, notes=plan.notes
    )
    note(report)
    values, stopped = merged_values(partial), outcome.stopped_by
    if is_processor(options.function) and values:
        values = processed_values(values)
        try:
            values = _postprocessed(options.function, values)
        except Exception as error:  # noqa: BLE001 - what the workers did must not be lost for it
            name = f"{type(options.function).__name__}.postprocess"
            stopped = stopped or FunctionError(
                f"{name} failed: {type(error).__name__}: {error}. `.result` of this error has what it was given."
            )
            stopped.__cause__ = stopped.__cause__ or error
    elif report.failures:
        values = copy.deepcopy(values)  # the user may scale them in place, and a retry merges the original again
    result = Result(report, values, partial, lambda before, other: _again(before, plan, options, other or client))
    if isinstance(stopped, FunctionError):
        stopped.result = result
    if stopped is not None and not isinstance(stopped, KeyboardInterrupt):
        raise stopped
    if report.failures:
        warnings.warn(f"{report.summary()}\nresult.retry() runs these alone.", stacklevel=3)
    return result


def _postprocessed(processor: Any, values: Any) -> Mapping[Any, Any]:
    """What coffea's postprocess makes of the accumulated output: it may change it in place, or give another."""
    own = copy.deepcopy(values)  # a retry merges the original again
    given = processor.postprocess(own)
    made: Mapping[Any, Any] = own if given is None else given
    if not isinstance(made, Mapping):
        raise TypeError(f"it returned a {type(made).__name__}; a result is a dict")
    return made


def _without_answer(groups: Sequence[Group], outcome: Outcome) -> list[Failure]:
    """The chunks of which no worker said anything, with the reason that the engine has."""
    answered = {number for segment in outcome.partial.segments for number in range(segment.first, segment.last)}
    answered |= {failure.chunk for failure in outcome.partial.account.failures}
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


def _unplanned(number: int, item: Unplanned) -> Failure:
    return Failure(number, item.dataset, item.file.path, None, None, "io", item.reason)


def _again(before: Result, plan: Plan, options: _Options, client: Any) -> Result:
    """Run the failed chunks, and plan the files that could not be opened; merge with what there is."""
    _check_client(client)
    begin = time.perf_counter()
    failed = {failure.chunk for failure in before.report.failures}
    files = {plan.chunks[number].replicas for number in failed & plan.chunks.keys()}
    files |= {item.file.replicas for item in plan.unplanned.values()}
    with carrying(client, files, progress=options.progress) as notes:
        extended, moved = _planned_again(plan, options, client)
        extended = replace(extended, notes=tuple(dict.fromkeys((*notes, *extended.notes))))
        numbers = [moved[number] for number in failed & moved.keys()]
        numbers += set(extended.chunks) - set(moved.values())
        outcome = _run(extended, sorted(numbers), replace(options, on_error="collect"), client)
    segments = [
        replace(s, first=moved[s.first], last=moved[s.first] + s.last - s.first) for s in before._partial.segments
    ]
    kept = Partial(segments, replace(before._partial.account, failures=[]))
    outcome.partial = combine([kept, outcome.partial])
    return _finish(extended, outcome, options, client, before.report.wall_s + time.perf_counter() - begin)


def _planned_again(plan: Plan, options: _Options, client: Any) -> tuple[Plan, dict[int, int]]:
    """The plan with the missing files tried once more, and where each old number is now."""
    missing = list(plan.unplanned.values())
    files: dict[str, list[File]] = {}
    for item in missing:
        files.setdefault(item.dataset, []).append(item.file)
    about = {item.dataset: item.metadata for item in missing}
    found = Plan(())
    if missing:
        fileset = Fileset([Dataset(name, tuple(own), about[name]) for name, own in files.items()])
        found = make_plan(fileset, options.chunk_entries, branches=options.branches, client=client)
    of_file: dict[tuple[str, str], list[Chunk | Unplanned]] = {}
    for new in found.items:
        of_file.setdefault((new.dataset, new.file if isinstance(new, Chunk) else new.file.path), []).append(new)
    items: list[Chunk | Unplanned] = []
    moved: dict[int, int] = {}
    for number, old in enumerate(plan.items):
        if isinstance(old, Chunk):
            moved[number] = len(items)
            items.append(old)
        else:
            items += of_file.get((old.dataset, old.file.path), [])
    return Plan(tuple(items), (*plan.notes, *found.notes), plan.files), moved
