"""From connect()'s arguments to the options that a gateway offers.

A gateway's admin chooses its options and their names. The configuration ``af_kit.cluster.gateway.names`` maps cores,
memory and so on to these names; users give all other options by the gateway's own names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dask.config

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

    offer = _Offer(offered, gateway)
    for name, value in _site_options().items():
        offer.set(name, value, "gateway.cluster.options in Dask's configuration has")
    for option in ("cores", "memory", "image"):
        if (value := common.get(option)) is not None:
            name = offer.name(option)
            shown = format_bytes(value) if option == "memory" else value
            offer.set(name, _convert(option, value, offered[name]), f"{option}={shown} sets")
    environment = _environment(offer, common)
    for name, value in options.items():
        if name == offer.names["environment"] and isinstance(value, Mapping):
            environment |= {str(key): str(one) for key, one in value.items()}
        else:
            offer.set(name, value, "options= has")
    if environment:
        name = offer.names["environment"]
        offer.set(name, {**offered[name], **environment}, "environment= sets")


class _Offer:
    """The options of one gateway, by the kit's and by its own names."""

    def __init__(self, options: Any, gateway: str) -> None:
        self.options, self.gateway = options, gateway
        self.names: Mapping[str, str] = config.get("cluster.gateway.names")

    def __contains__(self, option: str) -> bool:
        return self.names[option] in self.options

    def name(self, option: str) -> str:
        """Return the gateway's own name of an option."""
        name = self.names[option]
        if option not in self:
            raise InputError(
                f"{option}=: the gateway at {self.gateway} has no option {name!r}.{nearest(name, self.options)} If it "
                f"has another name there, set af_kit.cluster.gateway.names.{option}. Otherwise leave it out: the "
                "gateway decides."
            )
        return name

    def set(self, name: str, value: Any, source: str) -> None:
        """Set an option by the gateway's own name; ``source`` starts the message if that is not possible."""
        if name not in self.options:
            raise InputError(
                f"{source} {name!r}, and the gateway at {self.gateway} has no such option.{nearest(name, self.options)}"
            )
        try:
            self.options[name] = value
        except (TypeError, ValueError) as error:
            choices = getattr(self.options._fields[name], "options", None)
            hint = f" Choose from: {', '.join(choices)}." if choices else ""
            raise InputError(
                f"{source} {name!r}, which the gateway at {self.gateway} refuses: {error}.{hint}"
            ) from None


def _site_options() -> dict[str, Any]:
    """Return the options in Dask's configuration, with environment variables replaced as Dask does it."""
    from dask_gateway.utils import format_template

    configured = dask.config.get("gateway.cluster.options", default=None) or {}
    try:
        return {name: format_template(value) for name, value in configured.items()}
    except KeyError as error:
        raise InputError(
            f"gateway.cluster.options in Dask's configuration names the variable {error}, which is not set here."
        ) from None


def _convert(option: str, value: Any, default: Any) -> Any:
    """Return a value in the type and unit of the gateway's option, judged by the option's default."""
    if option != "memory":
        return str(value) if isinstance(default, str) else value
    if isinstance(default, str):
        return f"{math.ceil(value / 2**20)}M"
    value /= config.as_bytes(f"1 {config.get('cluster.gateway.memory_unit')}", "af_kit.cluster.gateway.memory_unit")
    return math.ceil(value) if isinstance(default, int) else value


def _environment(offer: _Offer, common: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of scheduler and workers; none if users of the gateway may not set any.

    An idle cluster ends through the gateway's option, which is set here, or else through its scheduler's environment.
    """
    given = common.get("environment") or {}
    if any(value is not None for value in given.values()):
        offer.name("environment")  # an error if users may not set any
    variables = {**config.get("cluster.environment"), **given, _NAME_VARIABLE: common.get("name")}
    idle_s = common.get("idle_timeout_s")
    if idle_s is None and ("idle_timeout" in offer or "environment" in offer):
        idle_s = common.get("default_idle_timeout_s")
    if idle_s is not None and "idle_timeout" in offer:
        name = offer.names["idle_timeout"]
        value = math.ceil(idle_s) if isinstance(offer.options[name], int) else float(idle_s)
        offer.set(name, value, f"idle_timeout_s={idle_s:g} sets")
    elif idle_s is not None and "environment" in offer:
        variables[_IDLE_VARIABLE] = f"{idle_s:g}s"
    elif idle_s is not None:
        raise InputError(
            f"idle_timeout_s={idle_s:g}: the gateway at {offer.gateway} does not let users choose when an idle cluster "
            "ends. Leave it out: the gateway has its own limit, which its admin can tell you."
        )
    if "environment" not in offer:
        return {}
    return {name: str(value) for name, value in variables.items() if value is not None}
