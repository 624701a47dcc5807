"""Read a branch with uproot, for the types that the fast path does not read."""

from __future__ import annotations

import json
from typing import Any

import awkward as ak
import numpy as np

from af_kit.data.reading.layout import Layout
from af_kit.data.reading.open_file import as_read_error, close_tree, open_tree
from af_kit.errors import AfKitError, BranchError, FilesetError, ReadError

__all__ = ["flat_numbers", "flat_strings", "read_branch"]


def read_branch(path: str, layout: Layout, name: str, start: int, stop: int) -> tuple[ak.Array, int]:
    """Return a branch of these entries as an awkward array, and the number of bytes that were read.

    A type that uproot cannot read raises `BranchError`, an unreadable or damaged file `ReadError`.
    """
    if name in layout.unreadable:
        raise BranchError(f"Branch {name!r} of {path} cannot be read: {layout.unreadable[name]}.")
    try:
        branch = open_tree(path, layout)[name]
        until = _uproots_stop(branch, stop)
        array = branch.array(entry_start=start, entry_stop=until, library="ak")[: stop - start]
    except FilesetError as error:  # the tree existed when the file was planned, so this replica is damaged
        raise ReadError(str(error), transient=False) from error
    except AfKitError:
        raise
    except Exception as error:
        close_tree(path)
        raise as_read_error(path, error) from error
    if _contradicts_itself(array):  # it would fail later, in the user's expression
        raise ReadError(
            f"{path}: branch {name!r} is damaged in entries {start} to {stop}: its counts contradict each other. "
            "Copy the file again, or read another replica."
        )
    if len(array) != stop - start:
        raise ReadError(f"{path}: branch {name!r} has only {len(array)} of the requested {stop - start} entries.")
    array = ak.to_packed(array)
    form = layout.forms.get(name)
    if form is not None and array.layout.form.to_dict() != json.loads(form):
        array = ak.enforce_type(array, ak.forms.from_json(form).type)
    return array, _bytes_read(branch, layout, name, start, until)


def _uproots_stop(branch: Any, stop: int) -> int:
    """Return where uproot must stop reading: if a range of strided objects, such as ``TLorentzVector``, ends with a
    basket, uproot 5.7 looks for the next basket, which it has not read."""
    from uproot.interpretation.objects import AsStridedObjects

    strided = isinstance(getattr(branch, "interpretation", None), AsStridedObjects)
    return stop + 1 if strided and stop in branch.entry_offsets[:-1] else stop


def _contradicts_itself(array: ak.Array) -> bool:
    """Whether lists end before they start, as in a damaged file: neither uproot nor awkward checks that.

    `ak.validity_error` does, but it also objects to unions that are fine.
    """
    buffers = ak.to_buffers(array)[2].items()
    return any(bool(np.any(np.diff(part) < 0)) for key, part in buffers if key.endswith("-offsets"))


def flat_numbers(array: ak.Array) -> np.ndarray:
    """Return the flat content of an array of numbers, or of lists of numbers."""
    return np.asarray(ak.flatten(array) if array.ndim > 1 else array)


def flat_strings(array: ak.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return offsets of the entries, starts and stops of the strings, and the characters."""
    entries = ak.to_layout(array).to_ListOffsetArray64(True)
    strings = entries.content.to_ListOffsetArray64(True)
    offsets = np.asarray(strings.offsets.data)
    return np.asarray(entries.offsets.data), offsets[:-1], offsets[1:], np.asarray(strings.content.data)


def _bytes_read(branch: Any, layout: Layout, name: str, start: int, stop: int) -> int:
    """Return the compressed bytes of the baskets or pages that uproot reads for these entries."""
    if layout.pages is not None:
        # uproot reads whole clusters, and also the one that starts at the last entry
        starts = [cluster.num_first_entry for cluster in branch.ntuple.cluster_summaries]
        first, last = np.searchsorted(starts, [start, stop], side="right")
        return sum(
            int(page.locator.num_bytes)
            for cluster in branch.ntuple.page_link_list[max(int(first) - 1, 0) : int(last)]
            for number in layout.pages.fields[name].columns
            for page in (cluster[number].pages if number < len(cluster) else [])
        )
    edges = branch.entry_offsets
    return sum(
        int(branch.basket_compressed_bytes(i))
        for i in range(len(edges) - 1)
        if edges[i] < stop and edges[i + 1] > start
    )
