"""coffea processors, unchanged: they get coffea's NanoEvents, and their outputs are accumulated as coffea does.

This is slower than af-kit's reader, because coffea opens the file for every chunk and reads with uproot. The report
says so.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import cloudpickle

from af_kit.data.reading.open_file import as_read_error, find_tree, open_file
from af_kit.data.reading.reader import Reader
from af_kit.errors import AfKitError, InputError, MergeError, nearest

__all__ = [
    "Columns",
    "Processed",
    "Processor",
    "is_processor",
    "is_processor_class",
    "nanoevents",
    "accumulated",
    "postprocess",
    "schema_named",
]

_OUTPUT = "output"


def is_processor(function: Any) -> bool:
    """Return whether this is an instance of coffea's ``ProcessorABC``, without importing coffea."""
    return is_processor_class(type(function))


def is_processor_class(kind: type) -> bool:
    """Return whether this is ``ProcessorABC`` or derived from it, without importing coffea."""
    names = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in kind.__mro__}
    return "coffea.ProcessorABC" in names


def schema_named(schema: Any) -> Any:
    """Return a NanoEvents schema by its class or its name; NanoAOD's by default.

    Raises
    ------
    InputError
        coffea has no schema of that name.
    """
    import coffea.nanoevents as nano

    if schema is None:
        return nano.NanoAODSchema
    if isinstance(schema, str):
        names = [name for name in dir(nano) if name.endswith("Schema")]
        if schema not in names:
            raise InputError(f"coffea has no schema {schema!r}.{nearest(schema, names)}")
        return getattr(nano, schema)
    return schema


class Processed:
    """The output of a processor. Two of them are added by ``coffea.processor.accumulate``.

    Its rules differ from af-kit's: numpy arrays are added element by element, and a mapping keeps its type.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __add__(self, other: Processed) -> Processed:
        from coffea.processor import accumulate

        return Processed(accumulate([self.value, other.value]))


class Processor:
    """A coffea processor as the function that `process` runs."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, events: Any) -> dict[str, Processed]:
        """Return the processor's output for these events, as a copy that refers to neither of them."""
        output = self.processor.process(events)
        if not hasattr(output, "keys"):
            got = "nothing (None)" if output is None else f"a {type(output).__name__}"
            raise MergeError(f"process() of {type(self.processor).__name__} returned {got}. Return a dict.")
        # Pickled and unpickled, as on the way from a worker: this reads columns that were not read yet, and an
        # accumulator that the processor keeps and fills again cannot change an earlier output.
        copy: Any = cloudpickle.load(io.BytesIO(cloudpickle.dumps(output)))
        return {_OUTPUT: Processed(copy)}


def accumulated(merged: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the accumulated output of a processor."""
    output: Mapping[Any, Any] = merged[_OUTPUT].value
    return output


def postprocess(processor: Any, output: Mapping[Any, Any]) -> Any:
    """Return the output after the processor's ``postprocess``, which may change it in place or return another."""
    own = deepcopy(output)  # a retry merges the original again
    returned = processor.postprocess(own)
    return own if returned is None else returned


class Columns(dict[Any, Any]):
    """The cache through which NanoEvents gets its columns; one that was requested and never stored is a read error."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader
        self._requested: set[Any] = set()
        self.log: list[Any] = []
        self.file = open_file(reader.path)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the column if it has been read already."""
        self._requested.add(key)
        return super().get(key, default)

    def close(self, raised: BaseException | None) -> None:
        """Close the file, and tell the reader what was read and whether a column could not be.

        Parameters
        ----------
        raised : BaseException or None
            The error that the processor raised.
        """
        self._reader.stats.branches |= {str(access.branch) for access in self.log}
        self._reader.stats.bytes_read += int(self.file.file.source.num_requested_bytes)
        self.file.close()
        if self._requested <= self.keys():
            return
        while raised is not None and (raised.__cause__ or raised.__context__):
            raised = raised.__cause__ or raised.__context__  # uproot's error, below awkward's
        self._reader.error = as_read_error(self._reader.path, raised or OSError("a column could not be read"))


class SchemaError(InputError):
    """coffea cannot build events of this schema from a tree: not the fault of the processor."""


def nanoevents(schema: Any, columns: Columns, reader: Reader, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """Return coffea's events for a range of entries, with the metadata that coffea's executors add.

    Raises
    ------
    SchemaError
        coffea cannot build events of this schema from the tree.
    """
    from coffea.nanoevents import NanoEventsFactory

    find_tree(columns.file, reader.path, reader.layout.treename)
    about = {
        **metadata,
        "filename": metadata["file"],
        "entrystart": start,
        "entrystop": stop,
        "fileuuid": reader.layout.uuid,
    }
    try:
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
    except (AfKitError, OSError):
        raise
    except Exception as error:
        name = getattr(schema, "__name__", schema)
        raise SchemaError(
            f"coffea's {name} cannot build events from tree {reader.layout.treename!r} of {reader.path}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}. Choose the schema of these files with "
            "schema=..., such as schema='BaseSchema', which makes one field of each branch."
        ) from error
