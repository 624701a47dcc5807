"""Find identical copies among the files of a fileset: their entries would be counted twice."""

from __future__ import annotations

from collections.abc import Sequence

import xxhash

from af_kit.data.fileset.datasets import same_tree
from af_kit.data.fileset.load import Dataset, File
from af_kit.data.fileset.locations import redacted
from af_kit.data.reading.layout import Layout
from af_kit.data.transport.io_errors import is_remote
from af_kit.data.transport.source import open_source
from af_kit.errors import AfKitError, FilesetError

__all__ = ["refuse_copies"]

# A local file of this size is compared as a whole, a larger or remote one by samples.
_WHOLE = 16 << 20
_SAMPLES, _SAMPLE = 32, 4096
_ENDS = 64 << 10


def refuse_copies(files: Sequence[tuple[Dataset, File]], layouts: Sequence[Layout | str]) -> None:
    """Raise `FilesetError` if two files have the same content.

    Only files with the same identifier and size are compared: two skims of one source may share the identifier.
    """
    alike: dict[tuple[str, int, str], list[int]] = {}
    for i, ((_, file), layout) in enumerate(zip(files, layouts, strict=True)):
        if isinstance(layout, Layout) and layout.entries and layout.uuid.strip("0-"):
            alike.setdefault((layout.uuid, layout.end, same_tree(file.treename)), []).append(i)
    for numbers in alike.values():
        first: dict[object, int] = {}
        # Ranges are comparable only if the same ones are read of each file.
        whole = not any(is_remote(files[i][1].path) for i in numbers)
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


def _content(path: str, layout: Layout, whole: bool) -> object:
    """Return a digest of a file's content."""
    end = layout.end
    if whole and end <= _WHOLE:
        ranges = [(0, end)]
    else:
        step = max(end // _SAMPLES, _SAMPLE)
        ranges = [(0, min(_ENDS, end)), (max(end - _ENDS, 0), end)]
        ranges += [(at, min(at + _SAMPLE, end)) for at in range(0, end, step)]
    digest = xxhash.xxh3_128()
    try:
        source = open_source(path)
        try:
            for piece in source.read(ranges):
                digest.update(piece)
        finally:
            source.close()
    except AfKitError:
        # Only the workers can read it. Files with the same identifier and all baskets in the same places are copies.
        return _places(layout)
    return digest.digest()


def _places(layout: Layout) -> bytes:
    digest = xxhash.xxh3_128(repr((layout.entries, layout.schema)).encode())
    for column in layout.columns.values():
        digest.update(column.seeks.tobytes() + column.sizes.tobytes())
    return digest.digest()
