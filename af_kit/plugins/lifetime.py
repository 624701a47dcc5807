"""The remaining lifetime of the workers' credentials, for a warning before a run that takes longer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from af_kit.credentials.credential import format_duration
from af_kit.plugins.credential_handle import last_sent
from af_kit.plugins.proxy import X509ProxyPlugin
from af_kit.plugins.tokens import TokenPlugin

__all__ = ["Lifetime", "lifetimes", "shortfall"]


@dataclass(frozen=True)
class Lifetime:
    """The lifetime of one credential on the workers, whichever client sent it.

    Attributes
    ----------
    what, who, renew : str
        ``"X.509 proxy"`` or ``"bearer token"``; its owner; how to renew it.
    seconds_left : float
        Negative after the expiry, infinite if the credential does not say.
    """

    what: str
    who: str
    renew: str
    seconds_left: float


def lifetimes(client: Any) -> list[Lifetime]:
    """Return the lifetimes of all credentials on a client's workers, the shortest first."""
    found = []
    for name in (X509ProxyPlugin.name, TokenPlugin.name):
        last = last_sent(client, name)
        if last is not None:
            left = float("inf") if last["until"] is None else last["until"] - time.time()
            found.append(Lifetime(last["what"], last["who"], last["renew"], left))
    return sorted(found, key=lambda lifetime: lifetime.seconds_left)


def shortfall(client: Any, needed_s: float = 0) -> str | None:
    """Return a warning for a run that will outlast the workers' credentials; None if they last long enough.

    Parameters
    ----------
    needed_s : float
        The expected duration of the run in seconds; 0 only finds expired credentials.
    """
    for lifetime in lifetimes(client):
        left = lifetime.seconds_left
        subject = f"The workers' {lifetime.what} ({lifetime.who})"
        if left <= 0:
            return (
                f"{subject} expired {format_duration(-left)} ago: they can no longer open files. "
                f"{lifetime.renew} and send it."
            )
        if left < needed_s:
            return (
                f"{subject} expires in {format_duration(left)}, but this run will take {format_duration(needed_s)}. "
                f"{lifetime.renew} before that; a session that watches it sends the new one."
            )
    return None
