"""Read one file's metadata into a `Layout`: the only place where a tree's structure is parsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from af_kit.data.reading.layout import Column, Layout
from af_kit.data.reading.open_file import as_read_error, find_tree, identity, open_file
from af_kit.errors import AfKitError

# A basket's position is cut from its neighbours where branches holding this share of the bytes agree on an edge;
# one rarely filled branch with a basket of its own rhythm must not make a whole file one cluster.
_AGREEING_SHARE = 0.9
# An ntuple's uncompressed size is not written in its header; used only to choose a default chunk size.
_TYPICAL_RATIO = 3
# What ROOT writes before the numbers of a std::vector: size, version, length.
_VECTOR_HEADER = 10


def describe(path: str, treename: str, *, known: tuple[str, int] | None = None) -> Layout | None:
    """Describe the tree ``treename`` of the file at ``path``.

    Parameters
    ----------
    path, treename : str
        The file and the tree in it.
    known : (str, int), optional
        ``uuid`` and ``end`` of a layout that the caller has already. If the file is still that one, its metadata is
        not parsed again and the answer is None.

    Raises
    ------
    ReadError
        The file cannot be opened or its metadata cannot be read.
    FilesetError
        There is no such tree.
    """
    with open_file(path) as file:
        found = identity(file)
        if found == known:
            return None
        tree = find_tree(file, path, treename)
        try:
            if hasattr(tree, "cluster_summaries"):
                return _describe_rntuple(tree, found, treename)
            return _describe_ttree(tree, found, treename)
        except AfKitError:
            raise
        except Exception as error:
            raise as_read_error(path, error) from error


def _describe_ttree(tree: Any, found: tuple[str, int], treename: str) -> Layout:
    entries = int(tree.num_entries)
    branches = dict(_leaf_branches(tree))
    columns: dict[str, Column] = {}
    forms: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    typenames: dict[str, str] = {}
    size = 0
    counting = _counting_leaves(branches)
    for name, branch in branches.items():
        typenames[name] = str(branch.typename)
        if branch.num_entries < entries:  # added to the tree when it had entries already
            unreadable[name] = f"it has {branch.num_entries} entries, the tree has {entries}"
            continue
        size += int(branch.uncompressed_bytes)
        column = _fast_column(branch, counting)
        if column is not None:
            columns[name] = column
            continue
        try:
            forms[name] = _form(branch)
        except Exception as error:  # noqa: BLE001 - uproot cannot interpret every class; others stay readable
            unreadable[name] = (
                f"uproot cannot interpret its type {branch.typename}: {' '.join(str(error).split())[:200]}"
            )
    for name, column in list(columns.items()):
        # A counter must itself be a plain whole number per entry, or its collection goes the slow way.
        counter = columns.get(column.counter) if column.counter else None
        if column.counter and (
            counter is None or counter.counter or counter.header or np.dtype(counter.dtype).kind not in "iu"
        ):
            del columns[name]
            forms[name] = _form(branches[name])
    readable = [branch for name, branch in branches.items() if name not in unreadable]
    clusters = _clusters(entries, [(branch.entry_offsets, int(branch.compressed_bytes)) for branch in readable])
    return Layout(*found, treename, "TTree", entries, clusters, size, columns, forms, unreadable, typenames)


def _leaf_branches(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every branch that holds data, under its own name or, where several share that, under its full path."""
    found = [(path, b) for path, b in tree.iteritems(recursive=True, full_paths=True) if not b.branches]
    shared = Counter(branch.name for _, branch in found)
    for path, branch in found:
        yield (branch.name if shared[branch.name] == 1 else path), branch


def _counting_leaves(branches: Mapping[str, Any]) -> dict[int, str]:
    """The branch of each leaf that can count, by the leaf's identity: its name may be that of another branch."""
    leaves = {name: branch.member("fLeaves") for name, branch in branches.items()}
    return {id(found[0]): name for name, found in leaves.items() if len(found) == 1}


def _fast_column(branch: Any, counting: Mapping[int, str]) -> Column | None:
    """The branch as the fast path sees it, or None where only uproot can read it."""
    import uproot

    content, counter, header = branch.interpretation, None, 0
    texts = _is_texts(content)
    if texts:
        content, header = uproot.interpretation.numerical.AsDtype("u1"), _VECTOR_HEADER
    elif isinstance(content, uproot.interpretation.jagged.AsJagged):
        if content.header_bytes == _VECTOR_HEADER:
            content, header = content.content, _VECTOR_HEADER
        else:
            leaves = branch.member("fLeaves")
            count = leaves[0].member("fLeafCount") if len(leaves) == 1 else None
            if id(count) not in counting or content.header_bytes != 0:
                return None
            content, counter = content.content, counting[id(count)]
    if type(content) is not uproot.interpretation.numerical.AsDtype or content.from_dtype.shape:
        return None
    dtype = content.from_dtype
    if dtype.kind not in "iufb" or dtype != content.to_dtype.newbyteorder(dtype.byteorder):
        return None
    baskets = int(branch._num_normal_baskets)
    sizes = np.asarray(branch.member("fBasketBytes")[:baskets], dtype=np.int64)
    if np.any(sizes <= 0):  # files of very old ROOT versions leave the sizes out
        return None
    return Column(
        dtype.str,
        counter,
        np.asarray(branch.member("fBasketEntry")[: baskets + 1], dtype=np.int64).copy(),
        np.asarray(branch.member("fBasketSeek")[:baskets], dtype=np.int64),
        sizes,
        header,
        texts,
    )


def _is_texts(interpretation: Any) -> bool:
    """Whether a branch holds a ``std::vector<std::string>`` in each entry."""
    import uproot

    if not isinstance(interpretation, uproot.interpretation.objects.AsObjects):
        return False
    vector = interpretation.model
    if not isinstance(vector, uproot.containers.AsVector) or not vector.header:
        return False
    text = vector.values
    return isinstance(text, uproot.containers.AsString) and not text.header and text.length_bytes == "1-5"


def _form(branch: Any) -> str:
    """The awkward form of what uproot gives for a branch or field, found by reading no entries of it."""
    import awkward as ak

    empty = branch.array(entry_start=0, entry_stop=0, library="ak")
    return str(ak.to_layout(empty, primitive_policy="error").form.to_json())


def _clusters(entries: int, offsets: list[tuple[Any, int]]) -> np.ndarray:
    """Entry edges on which the branches agree, from 0 to ``entries``."""
    weight: dict[int, int] = {}
    total = 0
    for edges, size in offsets:
        total += size
        for edge in edges:
            weight[edge] = weight.get(edge, 0) + size
    agreed = [edge for edge, size in weight.items() if 0 < edge < entries and size >= _AGREEING_SHARE * total]
    return np.asarray([0, *sorted(agreed), entries] if entries else [0], dtype=np.int64)


def _describe_rntuple(ntuple: Any, found: tuple[str, int], treename: str) -> Layout:
    entries = int(ntuple.num_entries)
    starts = [int(cluster.num_first_entry) for cluster in ntuple.cluster_summaries]
    forms: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    typenames: dict[str, str] = {}
    for name in ntuple.keys(recursive=False):
        typenames[name] = str(ntuple[name].typename)
        try:
            forms[name] = _form(ntuple[name])
        except Exception as error:  # noqa: BLE001 - as for branches
            unreadable[name] = f"uproot cannot read its type {typenames[name]}: {' '.join(str(error).split())[:200]}"
            continue
        if "UnionArray" in forms[name] and len(starts) > 1:
            # Seen in uproot 5.7: the indices of the second cluster point into the first, and nothing tells.
            del forms[name]
            unreadable[name] = f"uproot reads its type {typenames[name]} wrongly where there are several clusters"
    size = _TYPICAL_RATIO * int(ntuple.file.source.num_bytes or 0)
    edges = np.unique(np.asarray([0, *starts, entries], dtype=np.int64))
    return Layout(*found, treename, "RNTuple", entries, edges, size, {}, forms, unreadable, typenames)
