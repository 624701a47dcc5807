"""From connect()'s arguments to the options that a gateway offers.

A gateway's admin chooses its options and their names. The configuration ``af_kit.cluster.gateway.names`` maps cores,
memory and so on to these names; users give all other options by the gateway's own names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from af_kit import config
from af_kit.errors import InputError, nearest

__all__ = ["set_options", "user_given_name"]

# The user's name for a cluster is stored in its environment: the gateway has its own names, and reports the options.
_NAME_VARIABLE = "AF_KIT_CLUSTER_NAME"
# Has Dask's scheduler end when it is idle, for gateways without an option for that.
_IDLE_VARIABLE = "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT"


def user_given_name(options: Mapping[str, Any]) -> str | None:
    """Return the user's name for a cluster, from the options that the gateway reports."""
    environment = options.get(config.get("cluster.gateway.names")["environment"])
    return environment.get(_NAME_VARIABLE) if isinstance(environment, Mapping) else None


def set_options(offered: Any, gateway: str, common: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Set the user's and the site's values in the options that a gateway offers.

    Parameters
    ----------
    offered : dask_gateway.options.Options
        The gateway's options, with its own defaults. Changed in place.
    gateway : str
        Its address, for messages.
    common : mapping
        ``cores``, ``memory`` (bytes), ``environment``, ``image``, ``name``, ``idle_timeout_s``, and
        ``default_idle_timeout_s``, which is ignored if the gateway has no way to set it. None: the gateway's default.
    options : mapping
        Further options by the gateway's own names. They replace those in Dask's ``gateway.cluster.options``.

    Raises
    ------
    InputError
        The gateway does not have an option, or refuses a value.
    """
    from dask.utils import format_bytes

    names = config.get("cluster.gateway.names")
    for name, value in _site_options().items():
        _set(offered, gateway, name, value, "gateway.cluster.options in Dask's configuration has")
    for option in ("cores", "memory", "image"):
        value = common.get(option)
        if value is not None:
            name = _gateway_name(offered, gateway, option, names)
            shown = format_bytes(value) if option == "memory" else value
            _set(offered, gateway, name, _convert(option, value, offered[name]), f"{option}={shown} sets")
    environment = _environment(offered, gateway, common, names)
    for name, value in options.items():
        if name == names["environment"] and isinstance(value, Mapping):
            environment |= {str(key): str(one) for key, one in value.items()}
        else:
            _set(offered, gateway, name, value, "options= has")
    if environment:
        name = names["environment"]
        _set(offered, gateway, name, {**offered[name], **environment}, "environment= sets")


def _site_options() -> dict[str, Any]:
    """Return the options in Dask's configuration, with environment variables replaced as Dask does it."""
    import dask.config

    configured = dask.config.get("gateway.cluster.options", default=None) or {}
    try:
        return {k: v.format(**os.environ) if isinstance(v, str) else v for k, v in configured.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"gateway.cluster.options in Dask's configuration names the variable {error}, which is not set here."
        ) from None


def _gateway_name(offered: Any, gateway: str, option: str, names: Mapping[str, str]) -> str:
    """Return the gateway's own name of an option."""
    name = names[option]
    if name not in offered:
        raise InputError(
            f"{option}=: the gateway at {gateway} has no option {name!r}.{nearest(name, offered)} If it has another "
            f"name there, set af_kit.cluster.gateway.names.{option}. Otherwise leave it out: the gateway decides."
        )
    return name


def _set(offered: Any, gateway: str, name: str, value: Any, source: str) -> None:
    if name not in offered:
        raise InputError(f"{source} {name!r}, and the gateway at {gateway} has no such option.{nearest(name, offered)}")
    try:
        offered[name] = value
    except (TypeError, ValueError) as error:
        choices = getattr(offered._fields[name], "options", None)
        hint = f" Choose from: {', '.join(choices)}." if choices else ""
        raise InputError(f"{source} {name!r}, which the gateway at {gateway} refuses: {error}.{hint}") from None


def _convert(option: str, value: Any, default: Any) -> Any:
    """Return a value in the type and unit of the gateway's option, judged by the option's default."""
    if option != "memory":
        return str(value) if isinstance(default, str) else value
    if isinstance(default, str):
        return f"{math.ceil(value / 2**20)}M"
    value = value / _memory_unit()
    return math.ceil(value) if isinstance(default, int) else value


def _memory_unit() -> int:
    from dask.utils import parse_bytes

    unit = config.get("cluster.gateway.memory_unit")
    try:
        return int(parse_bytes(f"1 {unit}"))
    except (ValueError, KeyError):
        raise InputError(f"af_kit.cluster.gateway.memory_unit is {unit!r}: give GiB, GB, MiB, ... or B.") from None


def _environment(offered: Any, gateway: str, common: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of scheduler and workers; none if users of the gateway may not set any."""
    given = common.get("environment") or {}
    if any(value is not None for value in given.values()):
        _gateway_name(offered, gateway, "environment", names)
    variables = {**config.get("cluster.environment"), **given}
    result = {name: str(value) for name, value in variables.items() if value is not None}
    if common.get("name") is not None:
        result[_NAME_VARIABLE] = str(common["name"])
    can_set = names["idle_timeout"] in offered or names["environment"] in offered
    idle_s = common.get("idle_timeout_s")
    if idle_s is None and can_set:
        idle_s = common.get("default_idle_timeout_s")
    if idle_s is not None:
        _set_idle_timeout(offered, gateway, idle_s, names, result)
    return result if names["environment"] in offered else {}


def _set_idle_timeout(
    offered: Any, gateway: str, seconds: float, names: Mapping[str, str], environment: dict[str, str]
) -> None:
    """Have an idle cluster end: through the gateway's option, or else through its scheduler's environment."""
    if (name := names["idle_timeout"]) in offered:
        value = math.ceil(seconds) if isinstance(offered[name], int) else float(seconds)
        _set(offered, gateway, name, value, f"idle_timeout_s={seconds:g} sets")
    elif names["environment"] in offered:
        environment[_IDLE_VARIABLE] = f"{seconds:g}s"
    else:
        raise InputError(
            f"idle_timeout_s={seconds:g}: the gateway at {gateway} does not let users choose when an idle cluster "
            "ends. Leave it out: the gateway has its own limit, which its admin can tell you."
        )
