"""coffea processors, unchanged: they get coffea's own NanoEvents, and their accumulators are merged as coffea does.

It is the slow way: coffea opens the file for every chunk and reads by uproot. The report says so.
"""

from __future__ import annotations

from typing import Any

from af_kit.data.layout import Layout
from af_kit.data.opening import as_read_error
from af_kit.errors import AfKitError, InputError

__all__ = ["is_processor", "nanoevents", "schema_named"]


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

    if schema is None:
        return nano.NanoAODSchema
    if isinstance(schema, str):
        names = [name for name in dir(nano) if name.endswith("Schema")]
        if schema not in names:
            from af_kit.errors import nearest

            raise InputError(f"coffea has no schema {schema!r}.{nearest(schema, names)}")
        return getattr(nano, schema)
    return schema


def nanoevents(schema: Any, path: str, layout: Layout, start: int, stop: int, metadata: dict[str, Any]) -> Any:
    """coffea's events for a range of entries."""
    from coffea.nanoevents import NanoEventsFactory

    try:
        return NanoEventsFactory.from_root(
            {path: layout.treename},
            entry_start=start,
            entry_stop=stop,
            schemaclass=schema,
            metadata={**metadata, "fileuuid": layout.uuid, "filename": path},
        ).events()
    except AfKitError:
        raise
    except OSError as error:
        raise as_read_error(path, error) from error
