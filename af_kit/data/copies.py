"""Find identical copies among the files of a fileset: their entries would be counted twice."""

from __future__ import annotations

from collections.abc import Sequence

from af_kit.data.fileset.datasets import same_tree
from af_kit.data.fileset.load import Dataset, File
from af_kit.data.fileset.locations import redacted
from af_kit.data.reading.identity import identify
from af_kit.data.reading.layout import Layout
from af_kit.data.transport.io_errors import is_remote
from af_kit.data.transport.ranges import samples
from af_kit.data.transport.source import open_source
from af_kit.errors import AfKitError, FilesetError

__all__ = ["refuse_copies"]

# Before a file is refused, more of it is compared than for its digest: a local one of this size as a whole.
_WHOLE = 16 << 20
_SAMPLES = 256


def refuse_copies(files: Sequence[tuple[Dataset, File]], layouts: Sequence[Layout | str]) -> None:
    """Raise `FilesetError` if two files have the same content."""
    alike: dict[tuple[str, int, str], list[int]] = {}
    for i, ((_, file), layout) in enumerate(zip(files, layouts, strict=True)):
        if isinstance(layout, Layout) and layout.entries:
            alike.setdefault((layout.digest, layout.end, same_tree(file.treename)), []).append(i)
    for numbers in alike.values():
        first: dict[str, int] = {}
        # Digests are comparable only if the same ranges are read of each file.
        whole = 0 if any(is_remote(files[i][1].path) for i in numbers) else _WHOLE
        for i in numbers if len(numbers) > 1 else []:
            layout = layouts[i]
            assert isinstance(layout, Layout)
            earlier = first.setdefault(_content(files[i][1].path, layout, whole), i)
            if earlier != i:
                _refuse(files[earlier], files[i])


def _refuse(one: tuple[Dataset, File], other: tuple[Dataset, File]) -> None:
    paths = [redacted(file.path) for _, file in (one, other)]
    names = list(dict.fromkeys(dataset.name for dataset, _ in (one, other)))
    where = f"dataset {names[0]!r}" if len(names) == 1 else f"datasets {names[0]!r} and {names[1]!r}"
    advice = "" if len(names) == 1 else ", or select one of the datasets with datasets=[...]"
    raise FilesetError(
        f"{paths[1]} is an identical copy of {paths[0]} ({where}), so its entries would be counted twice. Remove one "
        f"of them{advice}. To use both as replicas of one file, write {{replicas: [{paths[0]}, {paths[1]}]}}."
    )


def _content(path: str, layout: Layout, whole: int) -> str:
    """Return a digest of more of a file's content."""
    try:
        source = open_source(path)
        try:
            return identify(source.read, samples(layout.end, number=_SAMPLES, whole=whole)).digest
        finally:
            source.close()
    except AfKitError:
        return layout.digest  # only the workers can read it
