"""Events as an awkward array whose columns are read when they are used.

The structure follows NanoAOD's names: a counter ``nMuon`` and the jagged ``Muon_*`` become the collection
``events.Muon`` of records with four-momentum behaviour, also if uproot has written them with a counter each; so do
Delphes' ``Jet_size`` and ``Jet.*``; scalars with a common prefix (``HLT_*``, ``MET_*``) become
``events.HLT.IsoMu24``; other branches keep their names. ``events["Muon_pt"]`` works for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak

from af_kit.data.reading.reader import Reader
from af_kit.data.reading.structure import FlatBranches, structure_of
from af_kit.errors import MissingBranchError, nearest

__all__ = ["EventsArray", "build", "possible_splits"]

# Attributes with "@" are transient: neither pickled nor written to Parquet.
_METADATA = "@metadata"
_BRANCHES = "@branches"
_DECLARED = "@declared"


class EventsArray(ak.Array):
    """The events of one chunk: an awkward array of records, one per entry."""

    _source: tuple[FlatBranches, ak.contents.Content] | None = None

    @property
    def flat_branches(self) -> FlatBranches | None:
        """The branches as flat arrays; None unless these are all events of the chunk, with the fields as read."""
        # Selected events are another array, without a source; a new field changes the layout in place.
        return self._source[0] if self._source is not None and self._source[1] is self.layout else None

    @property
    def metadata(self) -> dict[str, Any]:
        """``dataset``, ``file``, ``entry_start``, ``entry_stop`` and the dataset's own metadata."""
        return dict(self.attrs.get(_METADATA, {}))

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, str) and where not in self.fields:
            for prefix, rest in self._splits(where):
                if rest in ak.fields(super().__getitem__(prefix)):
                    return super().__getitem__(prefix)[rest]
            raise self._missing(where)
        return super().__getitem__(where)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in self.fields or hasattr(type(self), name):
            return super().__getattr__(name)
        return self[name]

    def _splits(self, name: str) -> list[tuple[str, str]]:
        """Return the collections that the branch may belong to, with its field in each."""
        return [(prefix, field) for prefix, field in possible_splits(name) if prefix in self.fields]

    def _missing(self, name: str) -> MissingBranchError:
        reasons: Mapping[str, str] = self.attrs.get(_BRANCHES, {})
        where = self.metadata.get("file", "these events")
        if name in reasons:
            return MissingBranchError(f"Branch {name!r} of {where} cannot be used: {reasons[name]}.")
        choices = list(self.fields)
        for prefix, _ in self._splits(name):
            choices += [f"{prefix}_{field}" for field in ak.fields(super().__getitem__(prefix))]
        if self.attrs.get(_DECLARED):
            return MissingBranchError(
                f"{name!r} is not among the declared branches of {where}.{nearest(name, choices)} Add it to `branches`."
            )
        return MissingBranchError(f"There is no branch or collection {name!r} in {where}.{nearest(name, choices)}")


ak.behavior["*", "Events"] = EventsArray


def possible_splits(branch: str) -> list[tuple[str, str]]:
    """Return each way to split a branch's name into collection and field: two for ``Gen_Jet_pt``."""
    return [(branch[:i], branch[i + 1 :]) for i, sign in enumerate(branch) if sign in "_."]


def build(reader: Reader, start: int, stop: int, metadata: Mapping[str, Any]) -> EventsArray:
    """Return the entries ``start`` to ``stop`` of a reader as events; nothing is read yet."""
    structure, entries = structure_of(reader.layout), (start - reader.start, stop - reader.start)
    attrs = {_METADATA: dict(metadata), _BRANCHES: reader.layout.unreadable, _DECLARED: reader.layout.declared}
    events = EventsArray(structure.events(reader, *entries), attrs=attrs)
    events._source = FlatBranches(structure, reader, *entries), events.layout
    return events
