"""How long what was sent will last, so that a run that takes longer can say so."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from af_kit.credentials.credential import duration
from af_kit.plugins.credential_handle import last_sent
from af_kit.plugins.proxy import X509ProxyPlugin
from af_kit.plugins.tokens import TokenPlugin

__all__ = ["Lifetime", "lifetimes", "shortfall"]


@dataclass(frozen=True)
class Lifetime:
    """One credential on the workers, by whomever it was sent.

    Attributes
    ----------
    what, who, renew : str
        ``"X.509 proxy"`` or ``"bearer token"``; whose; how to get a new one.
    seconds_left : float
        Negative once it has expired, infinite if it does not tell.
    """

    what: str
    who: str
    renew: str
    seconds_left: float


def lifetimes(client: Any) -> list[Lifetime]:
    """The credentials that the workers of a client have, the one that ends first in front; empty if none was sent."""
    found = []
    for name in (X509ProxyPlugin.name, TokenPlugin.name):
        last = last_sent(client, name)
        if last is not None:
            left = float("inf") if last["until"] is None else last["until"] - time.time()
            found.append(Lifetime(last["what"], last["who"], last["renew"], left))
    return sorted(found, key=lambda lifetime: lifetime.seconds_left)


def shortfall(client: Any, needed_s: float = 0) -> str | None:
    """What to tell the user about a run that will outlast its credentials; None if there is nothing to tell.

    Parameters
    ----------
    needed_s : float
        How long the run is going to take, in seconds; 0 finds what has expired already.
    """
    for lifetime in lifetimes(client):
        left = lifetime.seconds_left
        whose = f"The workers' {lifetime.what} ({lifetime.who})"
        if left <= 0:
            return f"{whose} expired {duration(-left)} ago: what they open now fails. {lifetime.renew} and send it."
        if left < needed_s:
            return (
                f"{whose} ends in {duration(left)}, and this run is going to take {duration(needed_s)}. "
                f"{lifetime.renew} before that; a session that watches it sends it by itself."
            )
    return None
