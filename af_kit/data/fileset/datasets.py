"""The values that a fileset is made of: `File`, `Dataset` and `Fileset`, none of which changes once made."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from af_kit.data.fileset.locations import identity, shown
from af_kit.errors import FilesetError, nearest

__all__ = ["DEFAULT_TREENAME", "File", "Dataset", "Fileset", "selected"]

DEFAULT_TREENAME = "Events"


@dataclass(frozen=True, repr=False)
class File:
    """One ROOT file of a dataset.

    Attributes
    ----------
    replicas : tuple of str
        Copies of the file, in the order to try. Local paths are absolute.
    treename : str
        Path of the tree inside the file, such as ``"Events"`` or ``"Tree3Mu/ntuple"``.
    """

    replicas: tuple[str, ...]
    treename: str = DEFAULT_TREENAME

    @property
    def path(self) -> str:
        """The copy that is tried first; it names the file in reports and tables."""
        return self.replicas[0]

    def __repr__(self) -> str:
        more = f" and {len(self.replicas) - 1} more" if len(self.replicas) > 1 else ""
        return f"<File {shown(self.path)!r}{more}, tree {self.treename!r}>"


@dataclass(frozen=True)
class Dataset:
    """Files that belong together, with what is known about them.

    Attributes
    ----------
    name : str
        Name of the dataset.
    files : tuple of File
        Its files, in the order written; those of a glob sorted.
    metadata : mapping
        Whatever the fileset says (year, cross-section, ...); each chunk carries it, as ``events.metadata``.
    """

    name: str
    files: tuple[File, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Fileset(Mapping[str, Dataset]):
    """Datasets by name, in order, not to be changed.

    Parameters
    ----------
    datasets : iterable of Dataset
        No two of the same name.

    Raises
    ------
    FilesetError
        A name occurs twice, or a file occurs twice: within a dataset or in two, its entries would count twice. Files
        are the same if any of their copies are, and the tree is.
    """

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self._datasets: dict[str, Dataset] = {}
        for dataset in datasets:
            if dataset.name in self._datasets:
                raise FilesetError(f"There are two datasets called {dataset.name!r}: rename one of them.")
            self._datasets[dataset.name] = dataset
        _refuse_duplicates(self._datasets.values())

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
        """The fileset of these datasets only, in the fileset's own order; all of them if None.

        Raises
        ------
        FilesetError
            No dataset is named, or one that is not there.
        """
        if datasets is None:
            return self
        names = selected(datasets, self._datasets)
        return Fileset(dataset for dataset in self.values() if dataset.name in names)

    def __repr__(self) -> str:
        rows = [("dataset", "files", "treename", "metadata"), *(_summary(dataset) for dataset in self.values())]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        files = sum(len(dataset.files) for dataset in self.values())
        lines = [f"Fileset: {_count(len(self), 'dataset')}, {_count(files, 'file')}"]
        for name, number, trees, metadata in rows:
            line = f"  {name:<{widths[0]}}  {number:>{widths[1]}}  {trees:<{widths[2]}}  {metadata}"
            lines.append(line.rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = []
        for dataset in self.values():
            name, number, trees, metadata = (escape(cell) for cell in _summary(dataset))
            paths = "".join(f"<li>{escape(_with_copies(file))}</li>" for file in dataset.files)
            rows.append(
                f"<tr><td>{name}</td><td><details><summary>{number}</summary><ol>{paths}</ol></details></td>"
                f"<td>{trees}</td><td>{metadata}</td></tr>"
            )
        head = "<tr><th>dataset</th><th>files</th><th>treename</th><th>metadata</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def selected(datasets: str | Iterable[str], there: Iterable[str]) -> set[str]:
    """The names in ``datasets``, each of which must be one of those ``there``."""
    names = [datasets] if isinstance(datasets, str) else list(datasets)
    known = list(there)
    if not names:
        raise FilesetError(f"datasets= names no dataset.{nearest('', known)}")
    for name in names:
        if name not in known:
            raise FilesetError(f"There is no dataset {name!r}.{nearest(str(name), known)}")
    return set(names)


def _refuse_duplicates(datasets: Iterable[Dataset]) -> None:
    """A file that is read twice counts its entries twice, and every histogram lies."""
    first: dict[tuple[str, str], tuple[str, File]] = {}
    twice: list[str] = []
    apart = False
    for dataset in datasets:
        for file in dataset.files:
            keys = {(identity(path), file.treename) for path in file.replicas}
            earlier = next((first[key] for key in keys if key in first), None)
            if earlier is None:
                first.update(dict.fromkeys(keys, (dataset.name, file)))
                continue
            name, same = earlier
            apart |= name != dataset.name
            places = repr(name) if name == dataset.name else f"{name!r} and {dataset.name!r}"
            also = "" if same.path == file.path else f" (also as {shown(same.path)})"
            twice.append(f"  {shown(file.path)}{also} in dataset {places}")
    if not twice:
        return
    shown_lines = twice[:10] + ([f"  and {len(twice) - 10} more"] if len(twice) > 10 else [])
    advice = "select one of the datasets, with datasets=[...]" if apart else "remove one of each"
    raise FilesetError(
        "Files occur twice, and their entries would be counted twice:\n"
        + "\n".join(shown_lines)
        + f"\nTo mend it, {advice}."
    )


def _summary(dataset: Dataset) -> tuple[str, str, str, str]:
    """Name, number of files, trees and metadata, each as short text."""
    trees = list(dict.fromkeys(file.treename for file in dataset.files))
    metadata = ", ".join(
        f"{key}: [{', '.join(map(str, value))}]" if isinstance(value, list) else f"{key}: {value}"
        for key, value in dataset.metadata.items()
    )
    metadata = textwrap.shorten(metadata, 80, placeholder=" ...")
    return dataset.name, str(len(dataset.files)), ", ".join(trees), metadata


def _with_copies(file: File) -> str:
    return ", else ".join(shown(path) for path in file.replicas)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
