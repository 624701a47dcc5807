"""A credential: its secret content, and the public facts about it (owner, expiry)."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from af_kit.credentials.secret import SecretBytes
from af_kit.errors import InputError

__all__ = ["Credential", "CredentialInfo", "check_lifetime", "format_duration", "format_expiry", "warn"]


@dataclass(frozen=True, kw_only=True)
class CredentialInfo:
    """The public facts about a credential.

    Attributes
    ----------
    source : str
        The file or the environment variable it was read from.
    who : str
        The identity of its owner.
    until : datetime or None
        The expiry in UTC; None if the credential does not say.
    """

    what: ClassVar[str] = "credential"
    renew: ClassVar[str] = "Renew it"

    source: str
    who: str
    until: datetime | None

    @property
    def seconds_left(self) -> float:
        """Seconds until the expiry: negative afterwards, infinite if the credential does not say."""
        return float("inf") if self.until is None else self.until.timestamp() - time.time()

    def event(self) -> dict[str, Any]:
        """Return the facts for the scheduler's event log, which every user of the cluster can read."""
        until = None if self.until is None else self.until.timestamp()
        return {"what": self.what, "who": self.who, "until": until, "renew": self.renew}

    def __str__(self) -> str:
        return f"{self.what} of {self.who}, {format_expiry(self.until)}"


@dataclass(frozen=True)
class Credential:
    """A secret with its public facts.

    Attributes
    ----------
    options : mapping
        Further settings for the workers, in plain types.
    """

    secret: SecretBytes
    info: CredentialInfo
    options: Mapping[str, Any]


def check_lifetime(info: CredentialInfo, min_lifetime_s: float) -> None:
    """Refuse a credential that has expired or expires too soon.

    Raises
    ------
    InputError
        The message has the remaining time, the threshold, and how to renew.
    """
    left = info.seconds_left
    if left <= 0:
        raise InputError(
            f"The {info.what} in {info.source} expired {format_duration(-left)} ago ({format_expiry(info.until)}; "
            f"{info.who}). {info.renew}, then try again."
        )
    if left < min_lifetime_s:
        raise InputError(
            f"The {info.what} in {info.source} has only {format_duration(left)} left ({format_expiry(info.until)}; "
            f"{info.who}), less than min_lifetime_s={min_lifetime_s:g} ({format_duration(min_lifetime_s)}). "
            f"{info.renew}, or pass a smaller min_lifetime_s."
        )


def warn(message: str) -> None:
    """Issue a warning that points at the user's line: the first one outside the kit."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("af_kit."):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, stacklevel=depth + 1)


def format_duration(seconds: float) -> str:
    """Format seconds for a message: ``"11 h 58 min"``."""
    seconds = int(seconds)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def format_expiry(until: datetime | None) -> str:
    """Format an expiry time for a message: ``"until 2026-01-31 12:00:00 UTC"``."""
    if until is None:
        return "no expiry time"
    return f"until {until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
