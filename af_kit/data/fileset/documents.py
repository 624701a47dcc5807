"""Load YAML and JSON files strictly: a duplicate key is an error, and each key knows its line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from af_kit.errors import FilesetError

__all__ = ["LineMapping", "line_of", "load_document"]


class LineMapping(dict[Any, Any]):
    """A mapping read from a file, with the line number of each key in ``lines`` (none for JSON)."""

    lines: dict[Any, int]

    def __init__(self, items: Any = (), lines: dict[Any, int] | None = None) -> None:
        super().__init__(items)
        self.lines = lines or {}


def line_of(mapping: object, key: object) -> str:
    """Return ``", line 12"`` if the line of ``key`` is known, else an empty string."""
    line = getattr(mapping, "lines", {}).get(key)
    return f", line {line}" if line else ""


def load_document(path: Path) -> Any:
    """Read a YAML (``.yaml``, ``.yml``) or JSON (``.json``) file, or one packed with gzip (``.json.gz``).

    Its mappings are `LineMapping`.

    Raises `FilesetError` if the file is missing, unreadable or not valid, or if a mapping has a duplicate key.
    """
    try:
        packed = path.suffix.lower() == ".gz"
        text = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode("utf-8")
    except FileNotFoundError:
        raise FilesetError(f"The file {str(path)!r} does not exist.") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FilesetError(f"The file {str(path)!r} cannot be read as text: {error}") from error
    name = path.name.lower().removesuffix(".gz")
    return _load_json(text, path) if name.endswith(".json") else _load_yaml(text, path)


def _load_json(text: str, path: Path) -> Any:
    def mapping(pairs: Iterable[tuple[str, Any]]) -> LineMapping:
        found = LineMapping()
        for key, value in pairs:
            if key in found:
                raise FilesetError(_duplicate_key(path, key))
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=mapping)
    except FilesetError:
        raise
    except json.JSONDecodeError as error:
        raise FilesetError(
            f"{path} is not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except (ValueError, RecursionError) as error:  # a number with too many digits, too many levels
        raise FilesetError(f"{path} is not valid JSON: {error}.") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with line numbers and an error for duplicate keys."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> LineMapping:
    lines: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # keys merged with "<<" may be overridden
            continue
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int | float | bool | None):
            raise FilesetError(f"{loader.name}, line {line}: a key must be a plain word, not {type(key).__name__}.")
        if key in lines:
            raise FilesetError(_duplicate_key(loader.name, key, f" on lines {lines[key]} and {line}"))
        lines[key] = line
    loader.flatten_mapping(node)
    return LineMapping(loader.construct_mapping(node, deep=True), lines)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def _load_yaml(text: str, path: Path) -> Any:
    loader = None
    try:
        loader = _Loader(text)  # refuses characters that YAML does not allow
        loader.name = str(path)
        return loader.get_single_data()
    except FilesetError:
        raise
    except yaml.reader.ReaderError as error:
        line, column = text[: error.position].count("\n") + 1, error.position - text.rfind("\n", 0, error.position)
        raise FilesetError(
            f"{path} is not valid YAML at line {line}, column {column}: it has the character {chr(error.character)!r}, "
            "which no text has. Is it the right file, and complete?"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise FilesetError(f"{path} is not valid YAML{where}: {reason}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        # PyYAML's own, without a line: a date that does not exist, a tag with another value, too many levels
        raise FilesetError(f"{path} is not valid YAML: {type(error).__name__}: {error}.") from None
    finally:
        if loader is not None:
            loader.dispose()


def _duplicate_key(path: object, key: object, where: str = "") -> str:
    return f"{path}: duplicate key {key!r}{where}. Rename or remove one: otherwise only the last would be used."
