"""What is sent: a secret, and what may be told about it."""

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

__all__ = ["About", "Credential", "check_lifetime", "duration", "moment", "warn"]


@dataclass(frozen=True, kw_only=True)
class About:
    """What may be told about a credential.

    Attributes
    ----------
    source : str
        The file that it was read from, or the variable.
    who : str
        Whom it speaks for.
    until : datetime or None
        When it ends, in UTC; None if it does not tell.
    """

    what: ClassVar[str] = "credential"
    renew: ClassVar[str] = "Renew it"

    source: str
    who: str
    until: datetime | None

    @property
    def seconds_left(self) -> float:
        """Seconds until it ends: negative once it has, infinite if it does not tell."""
        return float("inf") if self.until is None else self.until.timestamp() - time.time()

    def message(self) -> dict[str, Any]:
        """The same for the scheduler's event log, where everybody on this cluster may read it."""
        until = None if self.until is None else self.until.timestamp()
        return {"what": self.what, "who": self.who, "until": until, "renew": self.renew}

    def __str__(self) -> str:
        return f"{self.what} of {self.who}, {moment(self.until)}"


@dataclass(frozen=True)
class Credential:
    """A secret and what may be told about it.

    Attributes
    ----------
    options : mapping
        What the workers need to know besides, in plain types.
    """

    secret: SecretBytes
    about: About
    options: Mapping[str, Any]


def check_lifetime(about: About, min_lifetime_s: float) -> None:
    """Refuse a credential that has ended, or ends too soon.

    Raises
    ------
    InputError
        With the time that is left, the threshold, and how to renew.
    """
    left = about.seconds_left
    if left <= 0:
        raise InputError(
            f"The {about.what} in {about.source} expired {duration(-left)} ago ({moment(about.until)}; {about.who}). "
            f"{about.renew}, then try again."
        )
    if left < min_lifetime_s:
        raise InputError(
            f"The {about.what} in {about.source} has only {duration(left)} left ({moment(about.until)}; {about.who}), "
            f"less than min_lifetime_s={min_lifetime_s:g} ({duration(min_lifetime_s)}). {about.renew}, or pass a "
            "smaller min_lifetime_s."
        )


def warn(message: str) -> None:
    """Warn, as if it came from the first line outside the kit: the user's own."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("af_kit."):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, stacklevel=depth + 1)


def duration(seconds: float) -> str:
    """Seconds in words: ``"11 h 58 min"``."""
    seconds = int(seconds)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def moment(until: datetime | None) -> str:
    """When something ends, in words."""
    if until is None:
        return "it does not say until when"
    return f"until {until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
