"""The accepted forms of a fileset, parsed to one `DatasetSpec` per dataset. Paths stay as written.

dataset: [path, path]                        a list of files
dataset: {path: treename}                    coffea
dataset:
  files: [path, {replicas: [path, path]}]    a list; replicas are tried in order
         {path: treename}                    coffea
         {path: {object_path: treename}}     coffea
         "name name name"                    names in one string, usually with a rootpath
  rootpath: folder or URL
  treename: Events
  metadata: {year: 2012}
treename: Events                             at the top: for all datasets without their own
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from af_kit.data.fileset.documents import line_of
from af_kit.errors import FilesetError, nearest

__all__ = ["DatasetSpec", "FileSpec", "parse_fileset", "split_treename"]

_DATASET_KEYS = ("files", "treename", "rootpath", "metadata")
# Keys that coffea's preprocessing adds; planning finds out the same.
_COFFEA_DATASET_KEYS = ("form", "compressed_form", "save_form", "format", "did")
_COFFEA_FILE_KEYS = (
    *("object_path", "treename", "format", "lfn", "pfn"),
    *("steps", "num_entries", "num_selected_entries", "uuid"),
)
_FILE_KEYS = ("path", "replicas", "treename")

_WITH_TREENAME = re.compile(r"(?P<path>.+\.root):(?P<treename>(?!\d+/)[^:]+)", re.DOTALL)


@dataclass(frozen=True)
class FileSpec:
    """One file or glob as written in a fileset: its replicas in the order to try, and its treename if given."""

    paths: tuple[str, ...]
    treename: str | None = None
    uuid: str | None = None
    entries: int | None = None


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset as written in a fileset; error messages about it start with ``where``."""

    name: str
    files: tuple[FileSpec, ...]
    treename: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    where: str = ""


def parse_fileset(document: object, source: str) -> list[DatasetSpec]:
    """Parse a fileset of any accepted form; the datasets keep their order.

    ``source`` is the name of the fileset in messages. An unknown key, a wrong type or a dataset without files raises
    `FilesetError`, which names the place and the nearest valid key.
    """
    if not isinstance(document, Mapping):
        raise FilesetError(
            f"{source} must map the names of datasets to their files, not be {_describe(document)}. Write:\n"
            "  my_dataset:\n    treename: Events\n    files: [first.root, second.root]"
        )
    top = document.get("treename")
    default = top if isinstance(top, str) else None
    names = [name for name in document if not (name == "treename" and default is not None)]
    if not names:
        raise FilesetError(f"{source} names no dataset.")
    return [_parse_dataset(name, document[name], default, source, line_of(document, name)) for name in names]


def split_treename(path: str) -> FileSpec:
    """Split ``"path.root:treename"``; the treename is None if there is none."""
    match = _WITH_TREENAME.fullmatch(path)
    return FileSpec((match["path"],), match["treename"]) if match else FileSpec((path,))


def _parse_dataset(name: object, body: Any, default: str | None, source: str, line: str) -> DatasetSpec:
    where = f"{source}{line}: dataset {name!r}"
    if not isinstance(name, str) or not name:
        raise FilesetError(f"{where}: the name of a dataset must be text, not {_describe(name)}. Put it in quotes.")
    if _is_list(body) or (isinstance(body, Mapping) and _maps_paths(body)):
        body = {"files": body}
    elif not isinstance(body, Mapping):
        hint = nearest(name, ["treename"]) if isinstance(body, str) else ""
        raise FilesetError(
            f"{where} must be a list of files, or have the key 'files'; it is {_describe(body)}."
            f"{hint if 'Did you mean' in hint else ''}"
        )
    _check_keys(body, (*_DATASET_KEYS, *_COFFEA_DATASET_KEYS), _DATASET_KEYS, where)
    if "files" not in body:
        raise FilesetError(f"{where} has no key 'files'.")
    _check_format(body, where)
    rootpath = _text(body.get("rootpath"), f"{where}: rootpath")
    files = [_below_rootpath(rootpath, file, where) for file in _parse_files(body["files"], where)]
    if not files:
        raise FilesetError(f"{where} has an empty list of files.")
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping | None):
        raise FilesetError(f"{where}: metadata must map names to values, not be {_describe(metadata)}.")
    treename = _text(body.get("treename"), f"{where}: treename")
    return DatasetSpec(name, tuple(files), treename or default, _plain(metadata or {}), where)


def _parse_files(files: Any, where: str) -> list[FileSpec]:
    if isinstance(files, str):
        return [split_treename(path) for path in _names(files, where)]
    if isinstance(files, Mapping):
        return [_parse_coffea_file(path, tree, f"{where}{line_of(files, path)}") for path, tree in files.items()]
    if _is_list(files):
        return [_parse_listed_file(item, f"{where}, file {number}") for number, item in enumerate(files, 1)]
    raise FilesetError(f"{where}: files must be a list, a mapping or one string of names, not {_describe(files)}.")


def _names(text: str, where: str) -> list[str]:
    """Split names in one string; a name with a space in it would be taken for two."""
    names = text.split()
    odd = [name for name in names if not re.search(r"\.root\b|[*?\[]|://", name)]
    if odd and len(odd) < len(names):
        raise FilesetError(
            f"{where}: files is one string of names separated by spaces, in which {odd[0]!r} is not the name of a ROOT "
            f"file. If a name has a space in it, write a list: files: [{text.strip()!r}]."
        )
    return names


def _parse_listed_file(item: Any, where: str) -> FileSpec:
    if isinstance(item, Mapping):
        _check_keys(item, _FILE_KEYS, _FILE_KEYS, where)
        if ("path" in item) == ("replicas" in item):
            raise FilesetError(f"{where} must have either 'path' or 'replicas' (a list, in the order to try).")
        replicas = [item["path"]] if "path" in item else item["replicas"]
        if not _is_list(replicas) or not replicas:
            raise FilesetError(f"{where}: replicas must be a list of at least one path, not {_describe(replicas)}.")
        paths = tuple(_path(replica, where) for replica in replicas)
        for path in paths:
            if (treename := split_treename(path).treename) is not None:
                raise FilesetError(f"{where}: write 'treename: {treename}' next to the paths, not in {path!r}.")
        return FileSpec(paths, _text(item.get("treename"), f"{where}: treename"))
    if _is_list(item):
        raise FilesetError(f"{where} is a list. For several replicas of one file write {{replicas: [first, second]}}.")
    return split_treename(_path(item, where))


def _parse_coffea_file(path: Any, tree: Any, where: str) -> FileSpec:
    file = split_treename(_path(path, where))
    where = f"{where}, file {path!r}"
    if isinstance(tree, Mapping):
        _check_keys(tree, _COFFEA_FILE_KEYS, ("object_path",), where)
        _check_steps(tree, where)
        _check_format(tree, where)
        file = replace(file, uuid=_uuid(tree.get("uuid"), where), entries=_entries(tree, where))
        tree = tree.get("object_path", tree.get("treename"))
    tree = _text(tree, f"{where}: the treename")
    if tree and file.treename and tree != file.treename:
        raise FilesetError(f"{where} names two trees, {file.treename!r} and {tree!r}.")
    return replace(file, treename=tree or file.treename)


def _uuid(value: Any, where: str) -> str | None:
    """Return a file's identifier; zero, which some programs write for an RNTuple, says nothing."""
    if value is None:
        return None
    try:
        found = uuid.UUID(str(value))
    except ValueError:
        raise FilesetError(f"{where}: uuid must be a file's identifier, not {_describe(value)}.") from None
    return str(found) if found.int else None


def _entries(file: Mapping[Any, Any], where: str) -> int | None:
    entries = file.get("num_entries")
    if entries is not None and (not isinstance(entries, int) or isinstance(entries, bool) or entries < 0):
        raise FilesetError(f"{where}: num_entries must be a number of entries, not {_describe(entries)}.")
    return entries


def _check_format(mapping: Mapping[Any, Any], where: str) -> None:
    if mapping.get("format") not in (None, "root"):
        raise FilesetError(f"{where} has the format {mapping['format']!r}; af-kit reads ROOT files.")


def _check_steps(file: Mapping[Any, Any], where: str) -> None:
    """Refuse a file of which coffea would read only a part: the kit would read all of it."""
    steps, entries = file.get("steps"), file.get("num_entries")
    if steps is None:
        return
    if not _is_list(steps) or not all(
        _is_list(step) and len(step) == 2 and all(type(edge) is int for edge in step) for step in steps
    ):
        raise FilesetError(f"{where}: steps must be a list of [start, stop] pairs, such as [[0, 1000]], not {steps!r}.")
    stop = 0
    for step in sorted(steps):
        if step[0] != stop:
            break
        stop = step[1]
    else:
        if stop == entries:
            return
    raise FilesetError(
        f"{where} has 'steps' that do not cover all of its entries ('num_entries'). af-kit processes whole files: "
        "remove 'steps', or add the 'num_entries' that they cover."
    )


def _below_rootpath(rootpath: str | None, file: FileSpec, where: str) -> FileSpec:
    if rootpath is None:
        return file
    for path in file.paths:
        if path.startswith("/") or "://" in path:
            raise FilesetError(
                f"{where}: {path!r} is a complete path and can't be combined with rootpath {rootpath!r}."
            )
    return replace(file, paths=tuple(f"{rootpath.rstrip('/')}/{path}" for path in file.paths))


def _maps_paths(body: Mapping[Any, Any]) -> bool:
    """Whether this is coffea's ``{path: treename}``, and not a dataset whose key 'files' is missing or misspelt."""
    return (
        bool(body)
        and not any(key in body for key in _DATASET_KEYS)
        and all(isinstance(key, os.PathLike) or (isinstance(key, str) and re.search(r"[./*?]", key)) for key in body)
    )


def _check_keys(mapping: Mapping[Any, Any], valid: Sequence[str], suggested: Iterable[str], where: str) -> None:
    for key in mapping:
        if key not in valid:
            raise FilesetError(f"{where}{line_of(mapping, key)}: unknown key {key!r}.{nearest(str(key), suggested)}")


def _path(value: Any, where: str) -> str:
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return str(os.fspath(value))
    raise FilesetError(f"{where} must be a path, not {_describe(value)}.")


def _text(value: Any, what: str) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise FilesetError(f"{what} must be a name, not {_describe(value)}.")


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _describe(value: object) -> str:
    if value is None:
        return "empty"
    names = {str: "text", dict: "a mapping", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    for type_, name in names.items():
        if isinstance(value, type_):
            return name if type_ in (dict, list) else f"{name} ({value!r})"
    return f"a {type(value).__name__}"


def _plain(value: Any) -> Any:
    """Convert to ordinary dicts and lists: metadata is pickled with every chunk."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
