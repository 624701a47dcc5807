"""What a lab's job asks for: the argument, else ``af_kit.lab``, else what the site configured for its batch system."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from af_kit import config
from af_kit.errors import InputError
from af_kit.lab.queue import Words


def words(
    kind: str,
    *,
    cores: int | None = None,
    memory: str | int | None = None,
    walltime: str | None = None,
    directives: Sequence[str] | None = None,
    **options: Any,
) -> Words:
    """The words of a job, checked.

    Parameters
    ----------
    kind : str
        ``"slurm"`` or ``"htcondor"``.
    cores : int, optional
        Cores.
    memory : str or int, optional
        ``"8 GiB"``, or bytes.
    walltime : str, optional
        ``"HH:MM:SS"``.
    directives : sequence of str, optional
        Further lines of the job, after those of the site.
    **options
        The batch system's own: ``partition``, ``account``, ...; None takes the site's.

    Raises
    ------
    InputError
        A value cannot be used.
    """
    from dask.utils import parse_bytes

    defaults = config.get("lab")
    memory = memory or defaults["memory"]
    try:
        size = int(parse_bytes(memory))
    except ValueError:
        raise InputError(f"memory={memory!r}: give a size such as '8 GiB'.") from None
    site: dict[str, Any] = {}
    chosen = {**site, **{name: value for name, value in options.items() if value is not None}}
    chosen["extra_directives"] = [*site.get("extra_directives", []), *(directives or [])]
    return Words(cores or defaults["cores"], size, seconds(walltime or defaults["walltime"]), chosen)


def seconds(walltime: str) -> int:
    """``"HH:MM:SS"`` or ``"D-HH:MM:SS"`` in seconds; ``"HH:MM"`` is too easily minutes, and refused."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", str(walltime))
    if not found:
        raise InputError(f"walltime={walltime!r}: give HH:MM:SS, or D-HH:MM:SS for days.")
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest
