"""What a user may ask of a cluster, in the words that all kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from af_kit import config
from af_kit.errors import InputError


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
    """

    n_workers: int | None
    cores: int | None
    memory: int | None
    adapt: tuple[int, int] | None
    timeout_s: float
    security: Any = None

    @property
    def first(self) -> int | None:
        """Workers to start with."""
        return self.adapt[0] if self.adapt else self.n_workers

    @property
    def most(self) -> int | None:
        """Workers there may ever be."""
        return self.adapt[1] if self.adapt else self.n_workers


def check(*, n_workers: Any, cores: Any, memory: Any, adapt: Any, timeout_s: Any, security: Any) -> Request:
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
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s > 0:
        raise InputError(f"timeout_s={timeout_s!r}: give seconds, more than 0.")
    return Request(n_workers, cores, None if memory is None else _bytes(memory), adapt, float(timeout_s), security)


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
