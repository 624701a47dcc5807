"""Parse the metadata of a tree in a file to a `Layout`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from af_kit.data.reading.describe_rntuple import describe_rntuple
from af_kit.data.reading.identity import Identity, identify
from af_kit.data.reading.layout import Column, Layout
from af_kit.data.reading.open_file import as_read_error, find_tree, open_file, ranges_of
from af_kit.data.reading.tree_record import UnexpectedRecord, parse_tree
from af_kit.data.transport.ranges import samples
from af_kit.errors import AfKitError

# An entry is a cluster edge if branches with this share of the bytes have a basket edge there: a rarely filled branch
# with other baskets must not turn the whole file into one cluster.
_AGREEING_SHARE = 0.9
# Bytes that ROOT writes before the elements of a std::vector: size, version, length.
_VECTOR_HEADER = 10


def describe(path: str, treename: str, *, known: Identity | None = None) -> Layout | None:
    """Describe the tree ``treename`` of the file at ``path``.

    If the file's identity is ``known``, its metadata are not parsed again and the result is None. Raises `ReadError` if
    the file or its metadata cannot be read, and `FilesetError` if there is no such tree.
    """
    with open_file(path) as file:
        try:
            end = int(file.file.fEND)
            found = identify(ranges_of(file), samples(end))
            if keep := getattr(file.file.source, "keep", None):  # the run that follows reads it
                keep(found.uuid)
            if found == known:
                return None
            about = {"path": path, **found._asdict(), "end": end, "treename": treename}
            if (layout := _describe_flat(file, about)) is not None:
                return layout
            tree = find_tree(file, path, treename)
            if not hasattr(tree, "branches"):
                return describe_rntuple(tree, about, ranges_of(file))
            return _describe_ttree(tree, about)
        except AfKitError:
            raise
        except Exception as error:
            raise as_read_error(path, error) from error


def _describe_flat(file: Any, about: Mapping[str, Any]) -> Layout | None:
    """Describe a TTree that `parse_tree` can read, and whose branches the fast path reads; else return None."""
    try:
        key = file.key(about["treename"])
    except Exception:  # noqa: BLE001 - no such tree, or a path into something else: `find_tree` says so
        return None
    try:
        if key.fClassName != "TTree":
            return None
        if fetch_ahead := getattr(file.file.source, "fetch_ahead", None):  # uproot may need the same bytes
            fetch_ahead([(key.data_cursor.index, key.data_cursor.index + key.data_compressed_bytes)])
        record, _ = key.get_uncompressed_chunk_cursor()
        tree = parse_tree(bytes(record.raw_data), key.fKeylen)
    except UnexpectedRecord:
        return None
    of_leaf = {branch.leaf: branch.name for branch in tree.branches}
    counters = {leaf.counter for leaf in of_leaf if leaf.counter is not None}
    names = {branch.name for branch in tree.branches if branch.name and "/" not in branch.name}
    if len(names) < len(tree.branches) or not all(leaf in of_leaf and leaf.counts for leaf in counters):
        return None
    columns = {
        branch.name: Column(
            branch.leaf.dtype,
            of_leaf[branch.leaf.counter] if branch.leaf.counter is not None else None,
            branch.edges,
            branch.seeks,
            branch.sizes,
        )
        for branch in tree.branches
    }
    return Layout(
        **about,
        kind="TTree",
        entries=tree.entries,
        clusters=_clusters(tree.entries, [(branch.edges, branch.compressed_bytes) for branch in tree.branches]),
        bytes=sum(branch.uncompressed_bytes for branch in tree.branches),
        columns=columns,
        forms={},
        unreadable={},
        typenames={branch.name: branch.leaf.typename for branch in tree.branches},
    )


def _describe_ttree(tree: Any, about: Mapping[str, Any]) -> Layout:
    entries = int(tree.num_entries)
    branches: dict[str, Any] = {}
    repeated: dict[str, None] = {}
    for name, branch in _leaf_branches(tree):
        if branches.setdefault(name, branch) is not branch:  # the first one, as by its name in uproot and ROOT
            repeated[name] = None
    columns: dict[str, Column] = {}
    forms: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    typenames: dict[str, str] = {}
    longer: list[str] = []
    size = 0
    counting = _counting_leaves(branches)
    _fetch_first_baskets(tree, branches, counting)

    def add(name: str, *, fast: bool) -> None:
        branch = branches[name]
        try:
            edges = _basket_edges(branch)
            if len(edges) > 1 and (edges[0] < 0 or edges[-1] > branch.num_entries or np.any(np.diff(edges) < 0)):
                unreadable[name] = "the file is damaged: the baskets of this branch are not in the order of its entries"
                return
            if _is_misread(branch):
                unreadable[name] = f"uproot reads its type {typenames[name]} wrongly"
                return
            column = _fast_column(branch, counting) if fast else None
            if column is not None:
                columns[name] = column
            else:
                forms[name] = _form(branch)
        except Exception as error:  # noqa: BLE001 - uproot cannot interpret every class; the other branches can be read
            unreadable[name] = (
                f"uproot cannot interpret its type {typenames[name]}: {' '.join(str(error).split())[:200]}"
            )

    for name, branch in branches.items():
        typenames[name] = _typename(branch)
        found = int(branch.num_entries)
        if found < entries:  # added to the tree after its first entries
            unreadable[name] = f"it has {found} entries, the tree has {entries}"
            continue
        if found > entries:
            longer.append(name)
        size += int(branch.uncompressed_bytes)
        add(name, fast=True)
    for name, column in list(columns.items()):
        # A counter must be one integer per entry, else uproot reads the collection.
        counter = columns.get(column.counter) if column.counter else None
        if column.counter and (
            counter is None or counter.counter or counter.header or np.dtype(counter.dtype).kind not in "iu"
        ):
            del columns[name]
            add(name, fast=False)
    readable = [branch for name, branch in branches.items() if name not in unreadable]
    clusters = _clusters(entries, [(branch.entry_offsets, int(branch.compressed_bytes)) for branch in readable])
    return Layout(
        **about,
        kind="TTree",
        entries=entries,
        clusters=clusters,
        bytes=size,
        columns=columns,
        forms=forms,
        unreadable=unreadable,
        typenames=typenames,
        repeated=tuple(repeated),
        longer=tuple(longer),
    )


def _fetch_first_baskets(tree: Any, branches: Mapping[str, Any], counting: Mapping[int, str]) -> None:
    """Fetch what `_form` reads, in one request, if the file is remote and there are many such branches."""
    fetch_ahead = getattr(tree.file.source, "fetch_ahead", None)
    if fetch_ahead is None:
        return
    ranges = []
    for branch in branches.values():
        try:
            if branch._num_normal_baskets and _fast_column(branch, counting) is None:
                start = int(branch.member("fBasketSeek")[0])
                ranges.append((start, start + int(branch.basket_compressed_bytes(0))))
        except Exception:  # noqa: BLE001 - the branch says so itself when it is described
            continue
    fetch_ahead(ranges)


def _leaf_branches(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the branches that hold data, each under its name, or under its full path if the name is not unique."""
    found = [(path, b) for path, b in tree.iteritems(recursive=True, full_paths=True) if not b.branches]
    shared = Counter(branch.name for _, branch in found)
    for path, branch in found:
        yield (branch.name if shared[branch.name] == 1 else path), branch


def _typename(branch: Any) -> str:
    """Return the C++ type of a branch; uproot cannot name that of every leaf."""
    try:
        return str(branch.typename)
    except Exception as error:  # noqa: BLE001 - whatever an odd leaf leads to
        return f"unknown ({type(error).__name__})"


def _counting_leaves(branches: Mapping[str, Any]) -> dict[int, str]:
    """Map the id of each leaf that can be a counter to its branch: the leaf may have the name of another branch."""
    leaves = {name: branch.member("fLeaves") for name, branch in branches.items()}
    return {id(found[0]): name for name, found in leaves.items() if len(found) == 1}


def _fast_column(branch: Any, counting: Mapping[int, str]) -> Column | None:
    """Return the branch for the fast path, or None if only uproot can read it."""
    import uproot

    content, counter, header = branch.interpretation, None, 0
    strings = _is_strings(content)
    if strings:
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
        _basket_edges(branch),
        np.asarray(branch.member("fBasketSeek")[:baskets], dtype=np.int64),
        sizes,
        header,
        strings,
    )


def _basket_edges(branch: Any) -> np.ndarray:
    """Return the entries at which the baskets outside the tree's own record start, and the one after the last."""
    baskets = int(branch._num_normal_baskets)
    return np.asarray(branch.member("fBasketEntry")[: baskets + 1], dtype=np.int64).copy()


def _is_strings(interpretation: Any) -> bool:
    """Whether a branch holds a ``std::vector<std::string>`` in each entry."""
    import uproot

    if not isinstance(interpretation, uproot.interpretation.objects.AsObjects):
        return False
    vector = interpretation.model
    if not isinstance(vector, uproot.containers.AsVector) or not vector.header:
        return False
    string = vector.values
    return isinstance(string, uproot.containers.AsString) and not string.header and string.length_bytes == "1-5"


def _is_misread(branch: Any) -> bool:
    """Whether uproot 5.7 reads other numbers than the file has, without an error.

    In a list of arrays of ``Double32_t`` or ``Float16_t``, such as ``x[n][3]``, it takes each number for an element and
    reads memory after the last. In an array or list with a range, such as ``x[3]/d[0,1,16]``, it takes the length for
    the range.
    """
    import uproot

    content = branch.interpretation
    if isinstance(content, uproot.interpretation.jagged.AsJagged):
        content = content.content
        if isinstance(content, uproot.interpretation.numerical.TruncatedNumerical) and content.to_dims != ():
            return True
    titles = [leaf.member("fTitle") for leaf in branch.member("fLeaves") if leaf.classname in ("TLeafD32", "TLeafF16")]
    if str(getattr(branch.streamer, "typename", "")).startswith(("Double32_t", "Float16_t")):
        titles.append(branch.streamer.title)
    brackets = [re.findall(r"\[(.*?)\]", title or "") for title in titles]
    return any(found and "," not in found[0] and any("," in one for one in found[1:]) for found in brackets)


def _form(branch: Any) -> str:
    """Return the awkward form of a branch or field by reading zero entries of it with uproot.

    For a vector of objects with a fixed size, uproot gives zero entries another form than the others.
    """
    import awkward as ak
    import uproot

    empty = branch.array(entry_start=0, entry_stop=0, library="ak")  # an error if uproot cannot read it
    interpretation = getattr(branch, "interpretation", None)
    if isinstance(interpretation, uproot.interpretation.jagged.AsJagged) and isinstance(
        interpretation.content, uproot.interpretation.objects.AsStridedObjects
    ):
        return json.dumps(_without_hidden(interpretation.awkward_form(branch.file).to_dict()))
    return str(ak.to_layout(empty, primitive_policy="error").form.to_json())


def _without_hidden(form: Any) -> Any:
    """Return a form without the fields that uproot has in the form of an object such as ``TRef``, not in its arrays."""
    if not isinstance(form, dict):
        return form
    form = form | {"content": _without_hidden(form["content"])} if "content" in form else form
    if form.get("fields") is None:
        return form
    parts = [(f, _without_hidden(c)) for f, c in zip(form["fields"], form["contents"], strict=True) if f[:1] != "@"]
    return form | {"fields": [field for field, _ in parts], "contents": [content for _, content in parts]}


def _clusters(entries: int, offsets: list[tuple[Any, int]]) -> np.ndarray:
    """Return the entries, from 0 to ``entries``, at which most branches have a basket edge."""
    if not entries:
        return np.zeros(1, dtype=np.int64)
    sizes = np.asarray([size for _, size in offsets], dtype=np.float64)
    edges = [np.unique(np.asarray(found, dtype=np.int64)) for found, _ in offsets]
    every, position = np.unique(np.concatenate([[0], *edges]), return_inverse=True)
    weight = np.bincount(position[1:], np.repeat(sizes, [len(found) for found in edges]), minlength=len(every))
    agreed = every[(every > 0) & (every < entries) & (weight >= _AGREEING_SHARE * sizes.sum())]
    return np.concatenate([[0], agreed, [entries]]).astype(np.int64)
