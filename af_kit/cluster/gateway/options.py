"""From the words that all kinds of clusters share to the options that one gateway offers.

A gateway's admin chooses which options users have, and what they are called. Which of them is for the cores of a
worker, its memory and so on is configured (``af_kit.cluster.gateway.names``); all others are given by their own names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from af_kit import config
from af_kit.errors import InputError, nearest

__all__ = ["choose", "name_of"]

# Where a cluster keeps the name that the user gave it: a gateway knows its clusters by numbers of its own, and tells
# the options that each was started with.
_NAME_VARIABLE = "AF_KIT_CLUSTER_NAME"
# Dask's own way for a scheduler to end without work, for gateways that do not let users choose theirs.
_IDLE_VARIABLE = "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT"


def name_of(options: Mapping[str, Any]) -> str | None:
    """The name that a user gave to a cluster, in the options that the gateway tells of it."""
    environment = options.get(config.get("cluster.gateway.names")["environment"])
    return environment.get(_NAME_VARIABLE) if isinstance(environment, Mapping) else None


def choose(offered: Any, gateway: str, words: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Set what the user and the site want in the options that a gateway offers.

    Parameters
    ----------
    offered : dask_gateway.options.Options
        What the gateway offers, with its own defaults.
    gateway : str
        Its address, for messages.
    words : mapping
        ``cores``, ``memory`` (bytes), ``environment``, ``image``, ``name``; ``idle_timeout_s``, which the user asked
        for, and ``usual_idle_timeout_s``, which holds without, as far as the gateway lets users choose. None where left
        open.
    options : mapping
        Further options by the gateway's own names. They come before Dask's ``gateway.cluster.options``.

    Raises
    ------
    InputError
        The gateway has no such option, or refuses the value.
    """
    from dask.utils import format_bytes

    names = config.get("cluster.gateway.names")
    for name, value in _site_options().items():
        _set(offered, gateway, name, value, "gateway.cluster.options in Dask's configuration has")
    for word in ("cores", "memory", "image"):
        value = words.get(word)
        if value is not None:
            name = _offered(offered, gateway, word, names)
            said = format_bytes(value) if word == "memory" else value
            _set(offered, gateway, name, _in_units(word, value, offered[name]), f"{word}={said} sets")
    environment = _environment(offered, gateway, words, names)
    for name, value in options.items():
        if name == names["environment"] and isinstance(value, Mapping):
            environment |= {str(key): str(one) for key, one in value.items()}
        else:
            _set(offered, gateway, name, value, "options= has")
    if environment:
        name = names["environment"]
        _set(offered, gateway, name, {**offered[name], **environment}, "environment= sets")


def _site_options() -> dict[str, Any]:
    """Dask's own default options, with variables of the environment filled in as Dask does."""
    import dask.config

    configured = dask.config.get("gateway.cluster.options", default=None) or {}
    try:
        return {k: v.format(**os.environ) if isinstance(v, str) else v for k, v in configured.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"gateway.cluster.options in Dask's configuration names the variable {error}, which is not set here."
        ) from None


def _offered(offered: Any, gateway: str, word: str, names: Mapping[str, str]) -> str:
    """The gateway's own name of an option."""
    name = names[word]
    if name not in offered:
        raise InputError(
            f"{word}=: the gateway at {gateway} has no option {name!r}.{nearest(name, offered)} If another one is "
            f"meant for it, say so in af_kit.cluster.gateway.names.{word}; otherwise the gateway decides: leave it out."
        )
    return name


def _set(offered: Any, gateway: str, name: str, value: Any, whence: str) -> None:
    if name not in offered:
        raise InputError(f"{whence} {name!r}, and the gateway at {gateway} has no such option.{nearest(name, offered)}")
    try:
        offered[name] = value
    except (TypeError, ValueError) as error:
        choices = getattr(offered._fields[name], "options", None)
        hint = f" There is: {', '.join(choices)}." if choices else ""
        raise InputError(f"{whence} {name!r}, which the gateway at {gateway} refuses: {error}.{hint}") from None


def _in_units(word: str, value: Any, default: Any) -> Any:
    """A number of cores or bytes as the option wants it, judged by the option's default."""
    if word == "memory":
        if isinstance(default, str):
            return f"{math.ceil(value / 2**20)}M"
        value = value / _unit()
        return math.ceil(value) if isinstance(default, int) else value
    return str(value) if isinstance(default, str) else value


def _unit() -> int:
    from dask.utils import parse_bytes

    unit = config.get("cluster.gateway.memory_unit")
    try:
        return int(parse_bytes(f"1 {unit}"))
    except (ValueError, KeyError):
        raise InputError(f"af_kit.cluster.gateway.memory_unit is {unit!r}: give GiB, GB, MiB, ... or B.") from None


def _environment(offered: Any, gateway: str, words: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """The variables for scheduler and workers; empty where the gateway lets nobody set any."""
    asked = {name: value for name, value in (words.get("environment") or {}).items() if value is not None}
    if asked:
        _offered(offered, gateway, "environment", names)
    variables = {name: value for name, value in config.get("cluster.environment").items() if value is not None}
    removed = {name for name, value in (words.get("environment") or {}).items() if value is None}
    result = {name: str(value) for name, value in {**variables, **asked}.items() if name not in removed}
    if words.get("name") is not None:
        result[_NAME_VARIABLE] = str(words["name"])
    seconds = words.get("idle_timeout_s")
    usual = words.get("usual_idle_timeout_s")
    if seconds is not None or names["idle_timeout"] in offered or names["environment"] in offered:
        _choose_idle_timeout(offered, gateway, usual if seconds is None else seconds, names, result)
    return result if names["environment"] in offered else {}


def _choose_idle_timeout(
    offered: Any, gateway: str, seconds: float | None, names: Mapping[str, str], environment: dict[str, str]
) -> None:
    """Have the cluster end when it had no work for so long: by the gateway, else by its scheduler itself."""
    if seconds is None:
        return
    if (name := names["idle_timeout"]) in offered:
        value = math.ceil(seconds) if isinstance(offered[name], int) else float(seconds)
        _set(offered, gateway, name, value, f"idle_timeout_s={seconds:g} sets")
    elif names["environment"] in offered:
        environment[_IDLE_VARIABLE] = f"{seconds:g}s"
    else:
        raise InputError(
            f"idle_timeout_s={seconds:g}: the gateway at {gateway} lets nobody choose when an idle cluster ends. Leave "
            "it out: the gateway's own limit holds; its admin knows it."
        )
