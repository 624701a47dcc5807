"""coffea processors, unchanged: they get coffea's own NanoEvents, and what they return is added up as coffea does.

It is the slow way: coffea opens the file for every chunk and reads by uproot. The report says so.
"""

from __future__ import annotations

import io
from typing import Any

import cloudpickle

from af_kit.data.reading.open_file import as_read_error, find_tree, open_file
from af_kit.data.reading.reader import Reader
from af_kit.errors import MergeError

__all__ = ["Columns", "Processed", "Processor", "is_processor", "nanoevents", "processed_values", "schema_named"]

_OUTPUT = "output"


def is_processor(function: Any) -> bool:
    """Whether this is an instance of coffea's ``ProcessorABC``; coffea is not imported to find out."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(function).__mro__}
    return "coffea.ProcessorABC" in kinds


def schema_named(schema: Any) -> Any:
    """A NanoEvents schema by its class or its name; NanoAOD's by default.

    Raises
    ------
    InputError
        coffea has no schema of that name.
    """
    import coffea.nanoevents as nano

    from af_kit.errors import InputError, nearest

    if schema is None:
        return nano.NanoAODSchema
    if isinstance(schema, str):
        names = [name for name in dir(nano) if name.endswith("Schema")]
        if schema not in names:
            raise InputError(f"coffea has no schema {schema!r}.{nearest(schema, names)}")
        return getattr(nano, schema)
    return schema


class Processed:
    """What a processor returned. Two are added by ``coffea.processor.accumulate``, whose rules differ from the kit's:

    numpy arrays are added number by number, and a mapping keeps its type.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __add__(self, other: Processed) -> Processed:
        from coffea.processor import accumulate

        return Processed(accumulate([self.value, other.value]))


class Processor:
    """A coffea processor as the function that `process` runs."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, events: Any) -> dict[str, Processed]:
        """The processor's output for these events, cut loose from them and from the processor."""
        output = self._processor.process(events)
        if not hasattr(output, "keys"):
            got = "nothing (None)" if output is None else f"a {type(output).__name__}"
            raise MergeError(f"process() of {type(self._processor).__name__} returned {got}. Return a dict.")
        # A round trip, as on its way from a worker: columns that were not read yet are, and an accumulator that the
        # processor keeps and fills again is not changed in what it gave before.
        copy: Any = cloudpickle.load(io.BytesIO(cloudpickle.dumps(output)))
        return {_OUTPUT: Processed(copy)}


def processed_values(merged: Any) -> Any:
    """The accumulated output of a processor from what `process` merged; empty if no chunk was processed."""
    return merged[_OUTPUT].value if merged else {}


class Columns(dict[Any, Any]):
    """The cache through which NanoEvents gets its columns: one that was asked for and never came is a read error."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader
        self._asked: set[Any] = set()
        self.log: list[Any] = []
        self.file = open_file(reader.path)

    def get(self, key: Any, default: Any = None) -> Any:
        """The column, if it was read already."""
        self._asked.add(key)
        return super().get(key, default)

    def close(self, raised: BaseException | None) -> None:
        """Close the file, and tell the reader what was read, and what could not be.

        Parameters
        ----------
        raised : BaseException or None
            What the processor ended with.
        """
        self._reader.stats.branches |= {str(access.branch) for access in self.log}
        self._reader.stats.bytes_read += int(self.file.file.source.num_requested_bytes)
        self.file.close()
        if self._asked <= self.keys():
            return
        while raised is not None and (raised.__cause__ or raised.__context__):
            raised = raised.__cause__ or raised.__context__  # what uproot said, below what awkward makes of it
        self._reader.error = as_read_error(self._reader.path, raised or OSError("a column could not be read"))


def nanoevents(schema: Any, columns: Columns, reader: Reader, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """coffea's events for a range of entries, with the metadata that coffea's own executors give."""
    from coffea.nanoevents import NanoEventsFactory

    find_tree(columns.file, reader.path, reader.layout.treename)
    about = {
        **metadata,
        "filename": metadata["file"],
        "entrystart": start,
        "entrystop": stop,
        "fileuuid": reader.layout.uuid,
    }
    return NanoEventsFactory.from_root(
        columns.file,
        treepath=reader.layout.treename,
        entry_start=start,
        entry_stop=stop,
        schemaclass=schema,
        metadata=about,
        access_log=columns.log,
        buffer_cache=columns,
    ).events()
