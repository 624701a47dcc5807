"""What a lab needs of a batch system; ``slurm`` and ``htcondor`` are modules of this form.

- ``submit(lab, words) -> str``: hands in the lab's job, and gives its id.
- ``look(lab) -> State``: what the queue says of it now.
- ``cancel(lab)``: ends it; one that has ended is no error.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple

from af_kit.errors import ConnectError, InputError

KINDS = ("slurm", "htcondor")

# A batch system that is busy may take long to answer; one that hangs must not hold the user for ever.
_ANSWER_S = 60


class State(NamedTuple):
    """Where a job is."""

    phase: Literal["waiting", "running", "ended"]
    words: str
    """The queue's own, such as "PENDING (Priority)"."""


@dataclass(frozen=True)
class Words:
    """What a lab's job asks for.

    Attributes
    ----------
    cores : int
        Cores of one machine.
    memory : int
        Bytes.
    walltime_s : int
        Seconds.
    options : dict
        Of this batch system: as ``connect`` takes them (``partition``, ``account``, ...).
    """

    cores: int
    memory: int
    walltime_s: int
    options: dict[str, Any]


def of(kind: str) -> ModuleType:
    """The module of a batch system."""
    return importlib.import_module(f"{__package__}.{kind}")


def ask(command: Sequence[str], *, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of a batch system's commands. Ctrl-C goes to us, not to it: it would leave a job nobody knows of.

    Raises
    ------
    InputError
        The command is not there.
    ConnectError
        It does not answer.
    """
    try:
        return subprocess.run(
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_S,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise InputError(
            f"There is no command {command[0]} here: log in to a host that submits to this queue."
        ) from None
    except subprocess.TimeoutExpired:
        raise ConnectError(f"{command[0]} does not answer within {_ANSWER_S} s: is the batch system down?") from None
