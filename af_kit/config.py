"""The kit's configuration: keys below ``af_kit`` in Dask's own configuration system.

The defaults, with a comment on each key, are in ``af_kit.yaml`` next to this file. They are loaded when a key is first
read, so that importing the kit is fast. A site's file, a user's file, the environment
(``DASK_AF_KIT__CLUSTER__TIMEOUT_S=120``) and ``dask.config.set`` take precedence over them.
"""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from af_kit.errors import InputError, nearest

__all__ = ["as_bytes", "as_count", "as_worker_memory", "get"]

# Below these keys, any name is valid (environment variables, labels).
_FREE = frozenset(
    f"cluster.{name}"
    for name in ("environment", *(f"kubernetes.{key}" for key in ("labels", "annotations", "node_selector", "pod")))
)
# Boolean keys that also accept a string: an address, a path.
_SWITCH_OR_TEXT = frozenset(
    {"cluster.local.dashboard", "cluster.batch.dashboard", "cluster.htcondor.proxy", "cluster.kubernetes.proxy_secret"}
)
_ABSENT = object()
# A worker that has only imported its libraries takes about this much.
_LEAST_MEMORY = 200 << 20


def get(key: str) -> Any:
    """Return the value of one key.

    Parameters
    ----------
    key : str
        Names joined by dots, below ``af_kit``: ``"cluster.timeout_s"``.

    Returns
    -------
    Any
        A value of the default's type; for a group such as ``"cluster.local"``, a dict with all its keys.

    Raises
    ------
    InputError
        The key or a configured key does not exist, or a configured value does not have the default's type.
    """
    import dask.config

    default = defaults()
    for name in key.split("."):
        if not isinstance(default, Mapping) or name not in default:
            raise InputError(f"There is no configuration key af_kit.{key}.{nearest(key, _keys(defaults()))}")
        default = default[name]
    # Not cached: dask.config.set may be in effect, and the end of its block may have removed our defaults.
    _check_names(dask.config.get("af_kit", default=None), defaults())
    given = dask.config.get(f"af_kit.{key}", default=_ABSENT)
    return copy.deepcopy(default if given is _ABSENT else _merge(key, given, default))


def as_bytes(size: Any, name: str) -> int:
    """Return a size in bytes.

    Parameters
    ----------
    size : str or int
        Such as ``"4 GiB"``, or a number of bytes.
    name : str
        The name of the argument or key, for the message: ``"memory"``, ``"af_kit.data.upload_limit"``.

    Raises
    ------
    InputError
        It is not a size above 0.
    """
    from dask.utils import parse_bytes

    try:
        found = 0 if isinstance(size, bool) else int(parse_bytes(size))
    except (ValueError, TypeError, AttributeError, OverflowError):
        found = 0
    if found < 1:
        raise InputError(f"{name}={size!r} is not a size: give one such as '4 GiB', or a number of bytes.")
    return found


def as_worker_memory(size: Any, name: str) -> int:
    """Return the memory of a worker in bytes; as `as_bytes`, and an InputError if no Python process fits in."""
    found = as_bytes(size, name)
    if found >= _LEAST_MEMORY:
        return found
    given = str(size).strip()
    number = given.rstrip("bB").strip()
    hint = " Did you mean '4 GiB'?"
    if number.replace(".", "", 1).isdigit():
        unit = "GiB" if float(number) < 1000 else "MiB"
        hint = f" Did you mean '{number} {unit}'?" if as_bytes(f"{number} {unit}", name) >= _LEAST_MEMORY else hint
    raise InputError(
        f"{name}={size!r} is {found} byte{'' if found == 1 else 's'}, and a worker needs 200 MiB or more.{hint}"
    )


def as_count(value: Any, key: str) -> int:
    """Return a configured number that must be whole and 1 or more; an InputError that names its source otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise InputError(f"af_kit.{key} is {value!r}{_where(key)}: expected a whole number of 1 or more.")


@functools.cache
def defaults() -> dict[str, Any]:
    """Return the content of ``af_kit.yaml``. From the first call on, ``dask.config.get`` finds it too."""
    import dask.config
    import yaml

    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("af_kit.yaml").read_text(encoding="utf-8"))
    dask.config.update_defaults(copy.deepcopy(content))
    defaults: dict[str, Any] = content["af_kit"]
    return defaults


def _keys(group: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in group.items():
        yield above + name
        if isinstance(value, Mapping) and above + name not in _FREE:
            yield from _keys(value, f"{above}{name}.")


def _check_names(given: Any, default: Mapping[str, Any], above: str = "") -> None:
    """Raise an InputError for a configured name that does not exist."""
    if not isinstance(given, Mapping) or above.rstrip(".") in _FREE:
        return
    for name, value in given.items():
        known = str(name).replace("-", "_")  # Dask accepts both
        if known not in default:
            key = above + known
            raise InputError(f"Unknown configuration key af_kit.{key}{_where(key)}.{nearest(key, _keys(defaults()))}")
        if isinstance(default[known], Mapping):
            _check_names(value, default[known], f"{above}{known}.")


def _where(key: str) -> str:
    """Return in which file or variable the user set ``key``, as the end of a sentence."""
    import dask.config

    variable = "DASK_AF_KIT__" + key.upper().replace(".", "__")
    if variable in os.environ:
        return f", from ${variable}"
    files = [str(path) for path in dask.config.paths_containing_key(f"af_kit.{key}", paths=dask.config.paths)]
    return f", from {files[-1]}" if files else ""


def _merge(key: str, given: Any, default: Any) -> Any:
    """Return ``given`` after checking its type against ``default``. Groups are completed with their defaults."""
    if isinstance(default, Mapping):
        if not isinstance(given, Mapping):
            raise InputError(f"af_kit.{key} is {given!r}{_where(key)}: expected a group of keys.")
        ours = {str(name).replace("-", "_") if key not in _FREE else name: value for name, value in given.items()}
        checked = {name: _merge(f"{key}.{name}", ours[name], default[name]) for name in ours if name in default}
        return {**default, **ours, **checked} if key in _FREE else {**default, **checked}
    if isinstance(default, list) and isinstance(given, str):
        return [given]  # a single entry needs no brackets, which matters for environment variables
    if key.rpartition(".")[0] in _FREE or default is None or _has_type(key, given, default):
        return given
    raise InputError(f"af_kit.{key} is {given!r}{_where(key)}: expected a value such as {default!r}.")


def _has_type(key: str, given: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(given, bool) or (isinstance(given, str) and key in _SWITCH_OR_TEXT)
    if isinstance(default, list):
        return isinstance(given, (list, tuple))
    if isinstance(default, str):  # sizes such as 4 GiB can also be numbers
        return isinstance(given, (str, int, float)) and not isinstance(given, bool)
    return isinstance(given, (int, float)) and not isinstance(given, bool)
