"""What a user may ask of a cluster, in the words that all kinds share."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from af_kit import config
from af_kit.cluster.detached.registry import check_name
from af_kit.errors import InputError

# Days and hours, or hours. Batch systems differ on what 02:00 means, so it means nothing here.
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")


@dataclass(frozen=True)
class Request:
    """The arguments that all kinds of clusters share, checked; None where something was left open.

    Attributes
    ----------
    n_workers : int or None
        Workers to start, or to wait for where they run already.
    cores : int or None
        Threads of each worker.
    memory : int or None
        Bytes of each worker.
    adapt : (int, int) or None
        Fewest and most workers of a cluster that follows its load.
    timeout_s : float
        Seconds until the scheduler and the awaited workers must be there.
    security : Any
        ``distributed.Security``, True for temporary certificates, or None.
    walltime_s : int or None
        Seconds after which the batch system ends a worker.
    name : str or None
        What the cluster is called, to be found again.
    detach : bool
        Whether it outlives this session.
    idle_timeout_s : float or None
        Seconds without a task after which it ends by itself.
    """

    n_workers: int | None
    cores: int | None
    memory: int | None
    adapt: tuple[int, int] | None
    timeout_s: float
    security: Any = None
    walltime_s: int | None = None
    name: str | None = None
    detach: bool = False
    idle_timeout_s: float | None = None

    @property
    def first(self) -> int | None:
        """Workers to start with."""
        return self.adapt[0] if self.adapt else self.n_workers

    @property
    def most(self) -> int | None:
        """Workers there may ever be."""
        return self.adapt[1] if self.adapt else self.n_workers


def check(
    *,
    n_workers: Any = None,
    cores: Any = None,
    memory: Any = None,
    adapt: Any = None,
    timeout_s: Any = None,
    security: Any = None,
    walltime: Any = None,
    name: Any = None,
    detach: Any = False,
    idle_timeout_s: Any = None,
) -> Request:
    """A request from what the user gave, before anything is started.

    Raises
    ------
    InputError
        A value cannot be used; the message holds one that can.
    """
    if n_workers is not None and not _is_whole(n_workers, 0):
        raise InputError(f"n_workers={n_workers!r}: give a whole number of workers.")
    if cores is not None and not _is_whole(cores, 1):
        raise InputError(f"cores={cores!r}: give the threads of one worker, a whole number from 1.")
    if adapt is not None:
        if n_workers is not None:
            raise InputError("Give n_workers or adapt=(fewest, most), not both.")
        adapt = _limits(adapt)
    if timeout_s is None:
        timeout_s = config.get("cluster.timeout_s")
    if not _is_time(timeout_s):
        raise InputError(f"timeout_s={timeout_s!r}: give seconds, more than 0.")
    if idle_timeout_s is not None and not _is_time(idle_timeout_s):
        raise InputError(f"idle_timeout_s={idle_timeout_s!r}: give seconds, more than 0.")
    if not isinstance(detach, bool):
        raise InputError(f"detach={detach!r}: give True, for a cluster that outlives this session, or False.")
    return Request(
        n_workers,
        cores,
        None if memory is None else _bytes(memory),
        adapt,
        float(timeout_s),
        security,
        None if walltime is None else seconds(walltime),
        None if name is None else check_name(name),
        detach,
        None if idle_timeout_s is None else float(idle_timeout_s),
    )


def any_name(kind: str) -> str:
    """A name for a cluster that nobody has named."""
    return f"{kind}-{secrets.token_hex(4)}"


def seconds(walltime: Any) -> int:
    """A time limit in seconds.

    Parameters
    ----------
    walltime : str, int, float or timedelta
        ``"2h"``, ``"90 minutes"``, ``"02:00:00"``, ``"1-12:00:00"`` (a day and a half), or seconds.

    Raises
    ------
    InputError
        It is none of these.
    """
    from dask.utils import parse_timedelta

    try:
        if isinstance(walltime, str) and (clock := _CLOCK.fullmatch(walltime.strip())):
            days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
            length = 86400 * days + 3600 * hours + 60 * minutes + rest
        elif isinstance(walltime, bool) or walltime is None:
            length = 0
        else:
            length = int(parse_timedelta(walltime, default="s"))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        length = 0
    if length < 1:
        raise InputError(
            f"walltime={walltime!r}: give a time limit such as '2h', '02:00:00', '1-12:00:00', or seconds."
        )
    return length


def lines(name: str, given: Sequence[str] | None) -> list[str]:
    """An argument that is a list of lines; one line alone is one, too."""
    found = [given] if isinstance(given, str) else list(given or [])
    if not all(isinstance(line, str) for line in found):
        raise InputError(f"{name}={given!r}: give a list of texts, a line each.")
    return found


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _limits(adapt: Any) -> tuple[int, int]:
    match adapt:
        case [fewest, most] if _is_whole(fewest, 0) and _is_whole(most, max(fewest, 1)):
            return fewest, most
    raise InputError(f"adapt={adapt!r}: give the fewest and the most workers, such as adapt=(0, 10).")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _bytes(memory: Any) -> int:
    from dask.utils import parse_bytes

    try:
        size = 0 if isinstance(memory, bool) else int(parse_bytes(memory))
    except (ValueError, TypeError, AttributeError):
        size = 0
    if size < 1:
        raise InputError(f"memory={memory!r}: give the memory of one worker, such as '4 GiB', or bytes.")
    return size
