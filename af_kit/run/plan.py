"""The plan of a run: the chunks of a fileset, listed by threads here or by the workers of a cluster.

`plan` is for users; `process` works with a `Plan`, which also holds the files that could not be opened.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from af_kit.data.chunk_list import Chunks
from af_kit.data.chunks import (
    Chunk,
    check_chunk_entries,
    check_types,
    chunks_of_file,
    describe_file,
    make_chunk,
    target_entries,
)
from af_kit.data.copies import refuse_copies
from af_kit.data.fileset.load import Dataset, File, Fileset, load_fileset
from af_kit.data.reading.branches import select_branches
from af_kit.data.reading.identity import Identity
from af_kit.data.reading.layout import Layout
from af_kit.display.progress import Progress, progressing
from af_kit.errors import AfKitError, InputError, ReadError
from af_kit.run.describe import describe_on_workers
from af_kit.run.engines.client_calls import noticing_loss, seceded
from af_kit.run.task import Group
from af_kit.run.upload import uploaded_files

__all__ = ["Plan", "UnplannedFile", "group_chunks", "load_source", "make_plan", "plan", "plan_again", "replicas_of"]

logger = logging.getLogger(__name__)

_THREADS = 16

_layouts: dict[tuple[str, str], Layout] = {}
"""Layouts of the files that this process has planned, by path and treename."""


def plan(
    fileset: Any,
    *,
    datasets: Sequence[str] | None = None,
    treename: str | None = None,
    chunk_entries: int | None = None,
    branches: Iterable[str] | None = None,
    client: Any = None,
    progress: bool | None = None,
) -> Chunks:
    """Return the chunks of a fileset.

    Parameters
    ----------
    fileset : Fileset, path, list of paths, or mapping
        Anything that `load_fileset` takes.
    datasets : sequence of str, optional
        Only these datasets.
    treename : str, optional
        Name of the tree, if the fileset does not give one.
    chunk_entries : int, optional
        Maximum number of entries in a chunk. The default is as many as take about 600 MB uncompressed
        (``af_kit.data.chunk_bytes``), between 100 000 and 500 000.
    branches : iterable of str, optional
        The branches that will be used; they are checked in every file.
    client : distributed.Client, optional
        Read the files' metadata on its workers, in parallel; without a client, threads in this process do it. Files on
        this machine that the workers cannot see are uploaded to them first, as `process` does; afterwards `read` finds
        them in your own tasks too.
    progress : bool, optional
        Show a progress bar if planning takes more than a second; by default on a terminal and in a notebook.

    Returns
    -------
    list of Chunk
        In the order dataset, file, entry. Every entry of every file is in exactly one chunk. In a notebook, the list
        shows itself as a table of the datasets and their chunks; ``.notes`` holds what the plan says about the data.

    Raises
    ------
    ReadError
        Files cannot be opened; the message lists them.
    FilesetError
        The fileset is not valid, or a tree is missing.
    BranchError
        A declared branch is missing.
    InputError
        The workers cannot see the files, and these exceed ``af_kit.data.upload_limit``.

    Examples
    --------
    >>> import af_kit as af
    >>> files = af.write_files("dimuon", "samples", 2000, files=2)
    >>> chunks = af.plan(files, chunk_entries=600)
    >>> [(chunk.entry_start, chunk.entry_stop) for chunk in chunks]
    [(0, 500), (500, 1000), (0, 500), (500, 1000)]
    """
    loaded = load_fileset(fileset, treename=treename, datasets=datasets)
    with (
        noticing_loss(client),
        seceded(client),
        uploaded_files(client, replicas_of(loaded), progress=progress) as notes,
    ):
        made = make_plan(loaded, chunk_entries, branches=branches, client=client, progress=progress)
    if made.unplanned:
        raise ReadError(made.unplanned_message(), transient=False)
    return Chunks(made.chunks.values(), notes=(*notes, *made.notes))


@dataclass(frozen=True)
class UnplannedFile:
    """A file that could not be opened: its number of entries is unknown, and none of them is processed."""

    dataset: str
    file: File
    metadata: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, repr=False)
class Plan:
    """The chunks to process, in the order dataset, file, entry, and notes on the data.

    A file that could not be opened keeps its position among the chunks, so that its rows come in the right place when
    it can be read later.
    """

    items: tuple[Chunk | UnplannedFile, ...]
    notes: tuple[str, ...] = ()
    files: int = 0
    task_entries: int = 1
    """Neighbouring chunks are processed in one task, up to about this many entries."""

    @property
    def chunks(self) -> dict[int, Chunk]:
        """The chunks, by their number in the plan."""
        return {i: item for i, item in enumerate(self.items) if isinstance(item, Chunk)}

    @property
    def unplanned(self) -> dict[int, UnplannedFile]:
        """The files that could not be opened, by their number in the plan."""
        return {i: item for i, item in enumerate(self.items) if isinstance(item, UnplannedFile)}

    def __repr__(self) -> str:
        unplanned = f", {len(self.unplanned):,} files not opened" if self.unplanned else ""
        return f"<Plan of {self.files:,} files: {len(self.chunks):,} chunks{unplanned}>"

    def unplanned_message(self) -> str:
        """Return one paragraph that names the files that could not be opened, with the reasons."""
        reasons = [item.reason for item in self.unplanned.values()]
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        return f"{len(reasons)} of {self.files} files cannot be used: {'; '.join(reasons[:5])}{more}"


def load_source(fileset: Any, datasets: Sequence[str] | None, treename: str | None) -> Fileset | list[Chunk]:
    """Return the fileset that the user gave to `process`, or the chunks."""
    if isinstance(fileset, Chunk):
        fileset = [fileset]
    if isinstance(fileset, Sequence) and fileset and all(isinstance(item, Chunk) for item in fileset):
        if datasets is not None or treename is not None:
            raise _already_planned()
        return list(fileset)
    return load_fileset(fileset, treename=treename, datasets=datasets)


def replicas_of(source: Fileset | list[Chunk]) -> list[tuple[str, ...]]:
    """Return the replicas of each file."""
    if isinstance(source, Fileset):
        return [file.replicas for dataset in source.values() for file in dataset.files]
    return list(dict.fromkeys(chunk.replicas for chunk in source))


def make_plan(
    source: Fileset | Sequence[Chunk],
    chunk_entries: int | None = None,
    *,
    branches: Iterable[str] | None = None,
    max_chunks: int | None = None,
    client: Any = None,
    progress: bool | None = None,
) -> Plan:
    """Return the plan of a fileset, or of chunks that the user picked; files that fail are listed, not raised."""
    check_chunk_entries(chunk_entries)
    if max_chunks is not None and (not isinstance(max_chunks, Integral) or max_chunks < 1):
        raise InputError(f"max_chunks={max_chunks!r}: give a whole number of chunks per dataset, 1 or more.")
    wanted = None if branches is None else list(branches)
    if isinstance(source, Fileset):
        made = _plan_of_fileset(source, chunk_entries, wanted, client, progress)
    elif chunk_entries is not None:
        raise _already_planned()
    else:
        made = _plan_of_chunks(source, wanted)
    made = made if max_chunks is None else _first_chunks(made, max_chunks)
    chunks = made.chunks.values()
    logger.info("plan: %s chunks of %s files, %s entries", len(chunks), made.files, f"{sum(map(len, chunks)):,}")
    return made


def _already_planned() -> InputError:
    return InputError("A list of chunks is a plan already: give datasets, treename and chunk_entries to plan().")


def _plan_of_fileset(
    fileset: Fileset, chunk_entries: int | None, branches: list[str] | None, client: Any, progress: bool | None
) -> Plan:
    files = [(dataset, file) for dataset in fileset.values() for file in dataset.files]
    layouts: list[Layout | str] = []
    for (_, file), answer in zip(files, _describe([file for _, file in files], client, progress), strict=True):
        if isinstance(answer, AfKitError):
            layouts.append(str(answer))
        else:
            layouts.append(answer if branches is None else _only(branches, answer, file.path))
    refuse_copies(files, layouts)
    notes = check_types(files, layouts)
    task_entries = target_entries([layout for layout in layouts if isinstance(layout, Layout)])
    items: list[Chunk | UnplannedFile] = []
    for (dataset, file), layout in zip(files, layouts, strict=True):
        if isinstance(layout, str):
            items.append(UnplannedFile(dataset.name, file, dataset.metadata, layout))
            continue
        items += chunks_of_file(dataset, file, layout, chunk_entries or task_entries)
        # A dataset without any entry gets one empty chunk, so that its results exist and are empty.
        last = file is dataset.files[-1]
        if last and not any(item.dataset == dataset.name for item in items[-len(dataset.files) :]):
            items.append(make_chunk(dataset, file, layout, 0, 0))
    return Plan(tuple(items), tuple(notes), len(files), task_entries)


def _plan_of_chunks(chunks: Sequence[Chunk], branches: list[str] | None) -> Plan:
    """Return the plan of chunks that the user picked; each entry must be in one of them only."""
    ends: dict[tuple[str, str, str], int] = {}
    for chunk in sorted(chunks, key=lambda chunk: (chunk.entry_start, chunk.entry_stop)):
        tree = (chunk.dataset, chunk.file, chunk.treename)
        if chunk.entry_start < ends.get(tree, 0):
            raise InputError(
                f"The list of chunks holds entries of {chunk.file} (dataset {chunk.dataset!r}) twice, from entry "
                f"{chunk.entry_start} on: they would be counted twice. Give each entry once."
            )
        ends[tree] = chunk.entry_stop
    if branches is not None:
        by_layout = {id(chunk.layout): chunk for chunk in chunks}
        layouts = {key: _only(branches, chunk.layout, chunk.file) for key, chunk in by_layout.items()}
        chunks = [replace(chunk, layout=layouts[id(chunk.layout)]) for chunk in chunks]
    return Plan(tuple(chunks), files=len(ends), task_entries=_task_entries(chunks))


def _only(branches: list[str], layout: Layout, path: str) -> Layout:
    return layout.only(select_branches(branches, layout, path)).packed()


def _task_entries(items: Iterable[Chunk | UnplannedFile]) -> int:
    layouts = {id(item.layout): item.layout for item in items if isinstance(item, Chunk)}
    return target_entries(list(layouts.values()))


def _first_chunks(plan: Plan, max_chunks: int) -> Plan:
    """Return the plan of the first chunks of each dataset; a file that could not be opened counts as one chunk."""
    used: Counter[str] = Counter()
    items = []
    for item in plan.items:
        used[item.dataset] += 1
        if used[item.dataset] <= max_chunks:
            items.append(item)
    if len(items) == len(plan.items):
        return plan
    files = {(item.dataset, item.file if isinstance(item, Chunk) else item.file.path) for item in items}
    note = f"max_chunks={max_chunks}: {len(plan.items) - len(items)} of {len(plan.items)} chunks are left out."
    return replace(plan, items=tuple(items), notes=(*plan.notes, note), files=len(files))


def group_chunks(plan: Plan, numbers: Iterable[int]) -> list[Group]:
    """Return the tasks of these chunks: neighbours together, until they are worth a task; the same on any cluster."""
    chunks = plan.chunks
    groups: list[list[tuple[int, Chunk]]] = []
    size = 0
    for number in numbers:
        chunk = chunks[number]
        if not groups or size + len(chunk) > plan.task_entries or groups[-1][-1][1].dataset != chunk.dataset:
            groups.append([])
            size = 0
        groups[-1].append((number, chunk))
        size += len(chunk)
    return [tuple(group) for group in groups]


def plan_again(
    plan: Plan,
    chunk_entries: int | None,
    *,
    branches: Iterable[str] | None = None,
    max_chunks: int | None = None,
    client: Any = None,
    progress: bool | None = None,
) -> tuple[Plan, dict[int, int]]:
    """Try to open the unplanned files again; return the new plan, and the new number of each chunk of the old one."""
    missing = plan.unplanned.values()
    files: dict[str, list[File]] = {}
    for item in missing:
        files.setdefault(item.dataset, []).append(item.file)
    metadata = {item.dataset: item.metadata for item in missing}
    found = Plan(())
    if files:
        fileset = Fileset([Dataset(name, tuple(own), metadata[name]) for name, own in files.items()])
        found = make_plan(fileset, chunk_entries, branches=branches, client=client, progress=progress)
    by_file: dict[tuple[str, str], list[Chunk | UnplannedFile]] = {}
    for new in found.items:
        by_file.setdefault((new.dataset, new.file if isinstance(new, Chunk) else new.file.path), []).append(new)
    used = Counter(item.dataset for item in plan.items)
    items: list[Chunk | UnplannedFile] = []
    moved: dict[int, int] = {}
    left_out = 0
    for number, old in enumerate(plan.items):
        if isinstance(old, Chunk):
            moved[number] = len(items)
            items.append(old)
            continue
        new_items = by_file.get((old.dataset, old.file.path), [])
        if max_chunks is not None:  # it was counted as one chunk, and gets what the others of its dataset leave
            room = max_chunks - used[old.dataset] + 1
            left_out += max(0, len(new_items) - room)
            new_items = new_items[:room]
            used[old.dataset] += len(new_items) - 1
        items += new_items
    notes = dict.fromkeys((*plan.notes, *found.notes))
    if left_out:
        notes[f"max_chunks={max_chunks}: {left_out} chunks of files that were opened later are left out."] = None
    task_entries = _task_entries(items) if files else plan.task_entries
    return Plan(tuple(items), tuple(notes), plan.files, task_entries), moved


def _describe(files: Sequence[File], client: Any, progress: bool | None) -> list[Layout | AfKitError]:
    """Return the layout of each file, or why there is none; a file that is still the same is not parsed again."""
    known = [_known(file) for file in files]
    bar: dict[str, Any] = {"what": "plan", "unit": "files", "brief": True}
    logger.info("plan: reading the metadata of %s files", len(files))
    if client is None:
        with ThreadPoolExecutor(min(_THREADS, max(1, len(files)))) as pool:
            answers = list(progressing(pool.map(describe_file, files, known), len(files), progress, **bar))
    else:
        with Progress(len(files), progress, **bar) as shown:
            answers = describe_on_workers(files, known, client, shown.update)
    layouts: list[Layout | AfKitError] = []
    for file, answer in zip(files, answers, strict=True):
        if answer is None:
            answer = _layouts[file.path, file.treename]
        elif isinstance(answer, Layout):
            _layouts[file.path, file.treename] = answer
        layouts.append(answer)
    return layouts


def _known(file: File) -> Identity | None:
    layout = _layouts.get((file.path, file.treename))
    return Identity(layout.uuid, layout.head, layout.digest) if layout else None
