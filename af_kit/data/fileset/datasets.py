"""The immutable values `File`, `Dataset` and `Fileset`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from af_kit.data.fileset.locations import canonical, inode, redacted
from af_kit.display.tables import MOST, Markup, fold, lines, panel, table
from af_kit.errors import FilesetError, nearest

__all__ = ["DEFAULT_TREENAME", "File", "Dataset", "Fileset", "check_names", "same_tree"]

DEFAULT_TREENAME = "Events"


@dataclass(frozen=True, repr=False)
class File:
    """One ROOT file of a dataset.

    Attributes
    ----------
    replicas : tuple of str
        Paths or URLs of the same file, in the order to try. Local paths are absolute.
    treename : str
        Path of the tree inside the file, such as ``"Events"`` or ``"Tree3Mu/ntuple"``.
    uuid, entries : str and int, optional
        The file's identifier and the tree's entries, if the fileset says them (coffea's ``uuid`` and
        ``num_entries``): planning refuses another file.
    """

    replicas: tuple[str, ...]
    treename: str = DEFAULT_TREENAME
    uuid: str | None = None
    entries: int | None = None

    @property
    def path(self) -> str:
        """The first replica; it names the file in reports and tables."""
        return self.replicas[0]

    def __repr__(self) -> str:
        more = f" and {len(self.replicas) - 1} more" if len(self.replicas) > 1 else ""
        return f"<File {redacted(self.path)!r}{more}, tree {self.treename!r}>"


@dataclass(frozen=True, repr=False)
class Dataset:
    """Files that belong together, and their metadata.

    Attributes
    ----------
    name : str
        Name of the dataset.
    files : tuple of File
        The files in the order written; those of a glob are sorted.
    metadata : mapping
        The fileset's metadata for the dataset (year, cross-section, ...), available as ``events.metadata``.
    """

    name: str
    files: tuple[File, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"<Dataset {self.name!r}: {_count(len(self.files), 'file')}>"

    def _repr_html_(self) -> str:
        name, _, trees, metadata = _summary(self)
        head = f"Dataset {name}: {_count(len(self.files), 'file')}"
        about = "; ".join(part for part in (f"tree {trees}" if trees else "", metadata) if part)
        return panel(head, about, _listed(self.files))


class Fileset(Mapping[str, Dataset]):
    """An immutable, ordered mapping of names to datasets.

    Parameters
    ----------
    datasets : iterable of Dataset
        Datasets with different names.

    Raises
    ------
    FilesetError
        Two datasets have the same name, or a file occurs twice (within a dataset or in two): its entries would be
        counted twice. Two files are the same if they share a replica (also by a link) and the treename, whatever its
        cycle. Copies are found when they are planned.
    """

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self._datasets: dict[str, Dataset] = {}
        for dataset in datasets:
            if dataset.name in self._datasets:
                raise FilesetError(f"There are two datasets called {dataset.name!r}: rename one of them.")
            self._datasets[dataset.name] = dataset
        _check_duplicates(self._datasets.values())

    def __getitem__(self, name: str) -> Dataset:
        try:
            return self._datasets[name]
        except KeyError:
            raise KeyError(f"There is no dataset {name!r}.{nearest(str(name), self._datasets)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._datasets

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def select(self, datasets: str | Iterable[str] | None) -> Fileset:
        """Return a fileset with only these datasets, in their original order; with all of them if None."""
        if datasets is None:
            return self
        names = check_names(datasets, self._datasets)
        return Fileset(dataset for dataset in self.values() if dataset.name in names)

    def __repr__(self) -> str:
        return f"<{self._title()}>"

    def _title(self) -> str:
        files = sum(len(dataset.files) for dataset in self.values())
        return f"Fileset: {_count(len(self), 'dataset')}, {_count(files, 'file')}"

    def __str__(self) -> str:
        rows = [("dataset", "files", "treename", "metadata"), *(_summary(dataset) for dataset in self.values())]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        text = [self._title()]
        for name, number, trees, metadata in rows:
            line = f"  {name:<{widths[0]}}  {number:>{widths[1]}}  {trees:<{widths[2]}}  {metadata}"
            text.append(line.rstrip())
        return "\n".join(text)

    def _repr_html_(self) -> str:
        shown = islice(self.values(), MOST)
        rows = []
        for dataset in shown:
            name, number, trees, metadata = _summary(dataset)
            rows.append((name, fold(f"{int(number):,}", _listed(dataset.files)), trees, metadata))
        return panel(self._title(), table(rows, head=("dataset", "files", "treename", "metadata"), total=len(self)))


def check_names(datasets: str | Iterable[str], known: Iterable[str]) -> set[str]:
    """Return the dataset names as a set; raise `FilesetError` if one of them is not ``known``."""
    names = [datasets] if isinstance(datasets, str) else list(datasets)
    known = list(known)
    if not names:
        raise FilesetError(f"datasets= names no dataset.{nearest('', known)}")
    for name in names:
        if name not in known:
            raise FilesetError(f"There is no dataset {name!r}.{nearest(str(name), known)}")
    return set(names)


def same_tree(treename: str) -> str:
    """Return one spelling for all names of a tree: cycles (``Events;2``) are saved states of it, not other trees."""
    return re.sub(r";\d+$", "", "/".join(part for part in treename.split("/") if part))


def _check_duplicates(datasets: Iterable[Dataset]) -> None:
    """Refuse a file that occurs twice: its entries would be counted twice."""
    first: dict[tuple[str | tuple[int, int], str], tuple[str, File]] = {}
    duplicates: list[str] = []
    across = False
    for dataset in datasets:
        for file in dataset.files:
            tree = same_tree(file.treename)
            keys = {(name, tree) for path in file.replicas for name in (canonical(path), inode(path)) if name}
            earlier = next((first[key] for key in keys if key in first), None)
            if earlier is None:
                first.update(dict.fromkeys(keys, (dataset.name, file)))
                continue
            name, same = earlier
            across |= name != dataset.name
            where = f"dataset {name!r}" if name == dataset.name else f"datasets {name!r} and {dataset.name!r}"
            also = "" if same.path == file.path else f" (also as {redacted(same.path)})"
            if same.treename != file.treename:
                also += f" ({same.treename!r} and {file.treename!r} are one tree; the highest cycle is its last state)"
            duplicates.append(f"  {redacted(file.path)}{also} in {where}")
    if not duplicates:
        return
    listed = duplicates[:10] + ([f"  and {len(duplicates) - 10} more"] if len(duplicates) > 10 else [])
    advice = "Select one of the datasets with datasets=[...]." if across else "Remove one of each."
    raise FilesetError(
        "\n".join(["These files occur twice, so their entries would be counted twice:", *listed, advice])
    )


def _summary(dataset: Dataset) -> tuple[str, str, str, str]:
    """Return name, number of files, treenames and metadata as short text."""
    trees = list(dict.fromkeys(file.treename for file in dataset.files))
    metadata = ", ".join(
        f"{key}: [{', '.join(map(str, value))}]" if isinstance(value, list) else f"{key}: {value}"
        for key, value in dataset.metadata.items()
    )
    metadata = textwrap.shorten(metadata, 80, placeholder=" ...")
    return dataset.name, str(len(dataset.files)), ", ".join(trees), metadata


def _listed(files: Sequence[File]) -> Markup:
    return lines(map(_replicas, files[:MOST]), total=len(files))


def _replicas(file: File) -> str:
    return ", else ".join(redacted(path) for path in file.replicas)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
