"""YAML and JSON files of which nothing is lost: a key that stands twice is an error, and every key knows its line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from af_kit.errors import FilesetError

__all__ = ["Node", "load_document", "line_of"]


class Node(dict[Any, Any]):
    """A mapping that was read from a file and remembers on which line each of its keys stands.

    Attributes
    ----------
    lines : dict
        Key to line number, from 1. Empty for JSON, whose parser does not tell.
    """

    lines: dict[Any, int]

    def __init__(self, items: Any = (), lines: dict[Any, int] | None = None) -> None:
        super().__init__(items)
        self.lines = lines or {}


def line_of(mapping: object, key: object) -> str:
    """``", line 12"`` if it is known on which line ``key`` of ``mapping`` stands, else nothing."""
    line = getattr(mapping, "lines", {}).get(key)
    return f", line {line}" if line else ""


def load_document(path: Path) -> Any:
    """Read a YAML (``.yaml``, ``.yml``) or JSON (``.json``) file.

    Returns
    -------
    object
        What the file holds; each mapping in it is a `Node`.

    Raises
    ------
    FilesetError
        The file is missing, unreadable, not YAML or JSON, or a mapping in it has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FilesetError(f"There is no file {str(path)!r}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FilesetError(f"The file {str(path)!r} cannot be read as text: {error}") from error
    return _load_json(text, path) if path.suffix.lower() == ".json" else _load_yaml(text, path)


def _load_json(text: str, path: Path) -> Any:
    def mapping(pairs: Iterable[tuple[str, Any]]) -> Node:
        node = Node()
        for key, value in pairs:
            if key in node:
                raise FilesetError(_twice(path, key))
            node[key] = value
        return node

    try:
        return json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        raise FilesetError(
            f"{path} is not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, whose mappings are `Node`s and refuse a key that stands twice."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> Node:
    own = [pair for pair in node.value if pair[0].tag != "tag:yaml.org,2002:merge"]
    lines: dict[Any, int] = {}
    for key_node, _ in own:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int | float | bool | None):
            raise FilesetError(f"{loader.name}, line {line}: a key must be a plain word, not {type(key).__name__}.")
        if key in lines:
            raise FilesetError(_twice(loader.name, key, f" on lines {lines[key]} and {line}"))
        lines[key] = line
    loader.flatten_mapping(node)  # what "<<" merges in may be overridden: that is what it is for
    return Node(loader.construct_mapping(node, deep=True), lines)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def _load_yaml(text: str, path: Path) -> Any:
    loader = _Loader(text)
    loader.name = str(path)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise FilesetError(f"{path} is not valid YAML{where}: {reason}.") from None
    finally:
        loader.dispose()


def _twice(path: object, key: object, where: str = "") -> str:
    return (
        f"{path}: the key {key!r} stands twice{where}. Only the last would count, and what the first one says would be "
        "lost: rename or remove one of them."
    )
