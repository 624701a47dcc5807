"""The shapes a fileset may have, brought to one: a `Spec` per dataset, its files still as they were written.

dataset: [path, path]                        a list of files
dataset: {path: treename}                    coffea
dataset:
  files: [path, {replicas: [path, path]}]    a list, each file alone or with its copies in the order to try
         {path: treename}                    coffea
         {path: {object_path: treename}}     coffea
         "name name name"                    one string of names, usually below a rootpath
  rootpath: folder or URL
  treename: Events
  metadata: {year: 2012}
treename: Events                             beside the datasets: for all that name none
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from af_kit.data.fileset.documents import line_of
from af_kit.errors import FilesetError, nearest

__all__ = ["Entry", "Spec", "split_treename", "specs"]

_DATASET_KEYS = ("files", "treename", "rootpath", "metadata")
# What coffea's preprocessing adds: knowledge about the trees that the plan finds out by itself.
_COFFEA_DATASET_KEYS = ("form", "compressed_form", "save_form", "format", "did")
_COFFEA_FILE_KEYS = (
    *("object_path", "treename", "format", "lfn", "pfn"),
    *("steps", "num_entries", "num_selected_entries", "uuid"),
)
_ENTRY_KEYS = ("path", "replicas", "treename")

_WITH_TREENAME = re.compile(r"(?P<path>.+\.root):(?P<treename>(?!\d+/)[^:]+)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One file, or one glob, as it is written in a fileset: its copies, in the order to try, and its tree."""

    paths: tuple[str, ...]
    treename: str | None = None


@dataclass(frozen=True)
class Spec:
    """One dataset as it is written in a fileset; ``where`` begins every message about it."""

    name: str
    entries: tuple[Entry, ...]
    treename: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    where: str = ""


def specs(document: object, source: str) -> list[Spec]:
    """Bring a fileset of any of the shapes above to a list of `Spec`, in the order it is written.

    Parameters
    ----------
    document : object
        What YAML or JSON held, or a mapping made by hand.
    source : str
        What to call it in messages.

    Raises
    ------
    FilesetError
        A wrong key, a wrong type, or a dataset without files; says where, and the nearest valid key.
    """
    if not isinstance(document, Mapping):
        raise FilesetError(
            f"{source} must map the names of datasets to their files, not be {_kind(document)}. Write:\n"
            "  my_dataset:\n    treename: Events\n    files: [first.root, second.root]"
        )
    default = document.get("treename")
    names = [name for name in document if not (name == "treename" and isinstance(default, str))]
    if not names:
        raise FilesetError(f"{source} names no dataset.")
    treename = default if isinstance(default, str) else None
    return [_spec(name, document[name], treename, source, line_of(document, name)) for name in names]


def split_treename(path: str) -> Entry:
    """Split ``"path.root:treename"``; the tree is None where the path names none."""
    match = _WITH_TREENAME.fullmatch(path)
    return Entry((match["path"],), match["treename"]) if match else Entry((path,))


def _spec(name: object, body: Any, treename: str | None, source: str, line: str) -> Spec:
    where = f"{source}{line}: dataset {name!r}"
    if not isinstance(name, str) or not name:
        raise FilesetError(f"{where}: the name of a dataset must be text, not {_kind(name)}. Put it in quotes.")
    if isinstance(body, Mapping):
        if _maps_paths(body):
            body = {"files": body}
    elif _is_list(body):
        body = {"files": body}
    else:
        raise FilesetError(
            f"{where} must be a list of files, or have the key 'files'; it is {_kind(body)}."
            f"{nearest(name, ['treename']) if isinstance(body, str) and _similar(name) else ''}"
        )
    _refuse_unknown(body, (*_DATASET_KEYS, *_COFFEA_DATASET_KEYS), _DATASET_KEYS, where)
    if "files" not in body:
        raise FilesetError(f"{where} has no key 'files'.")
    if body.get("format") not in (None, "root"):
        raise FilesetError(f"{where} is said to be of format {body['format']!r}; the kit reads ROOT files.")
    rootpath = _text(body.get("rootpath"), f"{where}: rootpath")
    entries = [_under(rootpath, entry, where) for entry in _entries(body["files"], where)]
    if not entries:
        raise FilesetError(f"{where} has an empty list of files.")
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping | None):
        raise FilesetError(f"{where}: metadata must map names to values, not be {_kind(metadata)}.")
    own = _text(body.get("treename"), f"{where}: treename")
    return Spec(name, tuple(entries), own or treename, _plain(metadata or {}), where)


def _entries(files: Any, where: str) -> list[Entry]:
    if isinstance(files, str):
        return [split_treename(path) for path in files.split()]
    if isinstance(files, Mapping):
        return [_coffea_entry(path, tree, f"{where}{line_of(files, path)}") for path, tree in files.items()]
    if _is_list(files):
        return [_listed_entry(item, f"{where}, file {number}") for number, item in enumerate(files, 1)]
    raise FilesetError(f"{where}: files must be a list, a mapping or one string of names, not {_kind(files)}.")


def _listed_entry(item: Any, where: str) -> Entry:
    if isinstance(item, Mapping):
        _refuse_unknown(item, _ENTRY_KEYS, _ENTRY_KEYS, where)
        if ("path" in item) == ("replicas" in item):
            raise FilesetError(f"{where} must have either 'path' or 'replicas' (a list, in the order to try).")
        copies = [item["path"]] if "path" in item else item["replicas"]
        if not _is_list(copies) or not copies:
            raise FilesetError(f"{where}: replicas must be a list of at least one path, not {_kind(copies)}.")
        paths = tuple(_path(copy, where) for copy in copies)
        for path in paths:
            if (named := split_treename(path).treename) is not None:
                raise FilesetError(f"{where}: write 'treename: {named}' beside the paths, not behind {path!r}.")
        return Entry(paths, _text(item.get("treename"), f"{where}: treename"))
    if _is_list(item):
        raise FilesetError(f"{where} is a list. For several copies of one file write {{replicas: [first, second]}}.")
    return split_treename(_path(item, where))


def _coffea_entry(path: Any, tree: Any, where: str) -> Entry:
    entry = split_treename(_path(path, where))
    where = f"{where}, file {path!r}"
    if isinstance(tree, Mapping):
        _refuse_unknown(tree, _COFFEA_FILE_KEYS, ("object_path",), where)
        _refuse_parts(tree, where)
        if tree.get("format") not in (None, "root"):
            raise FilesetError(f"{where} is said to be of format {tree['format']!r}; the kit reads ROOT files.")
        tree = tree.get("object_path", tree.get("treename"))
    tree = _text(tree, f"{where}: the tree")
    if tree and entry.treename and tree != entry.treename:
        raise FilesetError(f"{where} names two trees, {entry.treename!r} and {tree!r}.")
    return Entry(entry.paths, tree or entry.treename)


def _refuse_parts(file: Mapping[Any, Any], where: str) -> None:
    """A fileset that asks for some entries only must not be read whole in silence."""
    steps, entries = file.get("steps"), file.get("num_entries")
    if steps is None:
        return
    stop = 0
    for step in sorted(steps):
        if step[0] != stop:
            break
        stop = step[1]
    else:
        if stop == entries:
            return
    raise FilesetError(
        f"{where} has 'steps' that are not known to cover all its entries. The kit accounts for whole files: "
        "remove 'steps', or give 'num_entries' beside steps that cover it."
    )


def _under(rootpath: str | None, entry: Entry, where: str) -> Entry:
    if rootpath is None:
        return entry
    for path in entry.paths:
        if path.startswith("/") or "://" in path:
            raise FilesetError(f"{where}: {path!r} is complete, and cannot stand below the rootpath {rootpath!r}.")
    return Entry(tuple(f"{rootpath.rstrip('/')}/{path}" for path in entry.paths), entry.treename)


def _maps_paths(body: Mapping[Any, Any]) -> bool:
    """Whether this is coffea's ``{path: treename}``, and not a dataset whose key 'files' is missing or misspelt."""
    return (
        bool(body)
        and not any(key in body for key in _DATASET_KEYS)
        and all(isinstance(key, os.PathLike) or (isinstance(key, str) and re.search(r"[./*?]", key)) for key in body)
    )


def _refuse_unknown(mapping: Mapping[Any, Any], valid: Sequence[str], advised: Iterable[str], where: str) -> None:
    for key in mapping:
        if key not in valid:
            raise FilesetError(f"{where}{line_of(mapping, key)}: unknown key {key!r}.{nearest(str(key), advised)}")


def _path(value: Any, where: str) -> str:
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return str(os.fspath(value))
    raise FilesetError(f"{where} must be a path, not {_kind(value)}.")


def _text(value: Any, what: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise FilesetError(f"{what} must be a name, not {_kind(value)}.")


def _similar(name: str) -> bool:
    return bool(nearest(name, ["treename"]).startswith(" Did"))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    names = {str: "text", dict: "a mapping", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    for kind, name in names.items():
        if isinstance(value, kind):
            return f"{name} ({value!r})" if kind in (str, bool, int, float) else name
    return f"a {type(value).__name__}"


def _plain(value: Any) -> Any:
    """The same with ordinary dicts and lists: metadata travels to the workers with every chunk."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
