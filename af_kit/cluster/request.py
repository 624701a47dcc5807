"""The options of `connect` that all backends share: `check` turns them into a `Request`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from af_kit import config
from af_kit.cluster.detached.registry import check_name
from af_kit.errors import InputError

# [days-]hours:minutes:seconds. Batch systems differ on what 02:00 means, so it is refused.
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")


@dataclass(frozen=True)
class Request:
    """The checked options that all backends share. None means that an option was not given.

    Attributes
    ----------
    n_workers : int or None
        Workers to start, or to wait for if the cluster is already running.
    cores : int or None
        Threads of each worker.
    memory : int or None
        Bytes of each worker.
    adapt : (int, int) or None
        Minimum and maximum number of workers of a cluster that adapts to its load.
    timeout_s : float
        Seconds in which the scheduler must answer and the workers must join.
    security : Any
        ``distributed.Security``, True for temporary certificates, or None.
    walltime_s : int or None
        Time limit of each worker's job, in seconds.
    name : str or None
        Name of the cluster, by which it can be found again.
    detach : bool
        Whether the cluster outlives this session.
    idle_timeout_s : float or None
        Seconds without a task after which the cluster ends.
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
        """Workers at the start."""
        return self.adapt[0] if self.adapt else self.n_workers

    @property
    def most(self) -> int | None:
        """The largest number of workers at any time."""
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
    """Check what the user gave, before anything is started.

    Raises
    ------
    InputError
        A value cannot be used. The message has an example of one that can.
    """
    if n_workers is not None and not _is_whole(n_workers, 0):
        raise InputError(f"n_workers={n_workers!r}: give the number of workers, a whole number.")
    if cores is not None and not _is_whole(cores, 1):
        raise InputError(f"cores={cores!r}: give the threads of each worker, a whole number of 1 or more.")
    if adapt is not None:
        if n_workers is not None:
            raise InputError("Give n_workers or adapt=(minimum, maximum), not both.")
        adapt = _range(adapt)
    if timeout_s is None:
        timeout_s = config.get("cluster.timeout_s")
    if not _is_time(timeout_s):
        raise InputError(f"timeout_s={timeout_s!r}: give a number of seconds above 0.")
    if idle_timeout_s is not None and not _is_time(idle_timeout_s):
        raise InputError(f"idle_timeout_s={idle_timeout_s!r}: give a number of seconds above 0.")
    if not isinstance(detach, bool):
        raise InputError(f"detach={detach!r}: give True for a cluster that outlives this session, else False.")
    return Request(
        n_workers,
        cores,
        None if memory is None else config.as_worker_memory(memory, "memory"),
        adapt,
        float(timeout_s),
        security,
        None if walltime is None else seconds(walltime),
        None if name is None else check_name(name),
        detach,
        None if idle_timeout_s is None else float(idle_timeout_s),
    )


def generated_name(backend: str) -> str:
    """Return a name for a cluster that the user did not name."""
    return f"{backend}-{secrets.token_hex(4)}"


def seconds(walltime: Any) -> int:
    """Return a time limit in seconds.

    Parameters
    ----------
    walltime : str, int, float or timedelta
        ``"2h"``, ``"90 minutes"``, ``"02:00:00"``, ``"1-12:00:00"`` (a day and a half), or seconds.

    Raises
    ------
    InputError
        The time limit has none of these forms.
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
    """Return an argument that is a list of lines; a single text is a list of one line."""
    found = [given] if isinstance(given, str) else list(given or [])
    if not all(isinstance(line, str) for line in found):
        raise InputError(f"{name}={given!r}: give a list of texts, one line each.")
    return found


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _range(adapt: Any) -> tuple[int, int]:
    match adapt:
        case [minimum, maximum] if _is_whole(minimum, 0) and _is_whole(maximum, max(minimum, 1)):
            return minimum, maximum
    raise InputError(f"adapt={adapt!r}: give the minimum and the maximum number of workers, such as adapt=(0, 10).")


def _is_whole(value: Any, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum
