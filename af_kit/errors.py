"""The kit's exceptions.

Every message says what is wrong, where, the nearest valid value if there is one, and what to do.

    AfKitError
    |-- InputError            an argument, file or key cannot be used (also a ValueError)
    |   |-- FilesetError      a fileset file, dataset, path or glob
    |   `-- BranchError       a branch of another type than declared, or not readable
    |       `-- MissingBranchError   a branch that does not exist or was not declared
    |-- ReadError             a file could not be read (also an OSError)
    |   `-- WriteError        a file could not be written; retried like a read
    |-- FunctionError         the user's function raised; carries file and entries
    |-- MergeError            results of two chunks cannot be merged
    |-- IncompleteError       entries are missing from a result
    |-- FitError              a fit is not valid: reasons, parameters at a limit, what to do
    |-- ConnectError          a cluster did not start, or is not usable
    `-- MissingExtraError     an optional package is not installed (also an ImportError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class AfKitError(Exception):
    """Base class of the kit's exceptions."""


class InputError(AfKitError, ValueError):
    """An argument, a file or a configured value cannot be used."""


class FilesetError(InputError):
    """A fileset cannot be loaded, because of its file, a dataset, a path, a glob or a key."""


class BranchError(InputError):
    """A branch is missing, or its type differs between files or from the declared one."""


class MissingBranchError(BranchError, AttributeError, KeyError):
    """A branch is not in the file, or not among the declared branches.

    Also an ``AttributeError`` and a ``KeyError``, so that ``hasattr(events, "HLT")`` and
    ``try: events["HLT_IsoMu24"]`` work as Python users expect.
    """

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr


class ReadError(AfKitError, OSError):
    """A file could not be opened or read.

    Attributes
    ----------
    transient : bool
        Whether another attempt on the same replica may help, as after a broken connection. It does not help if the
        file is missing or access is refused.
    """

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_error, (type(self), self.args[0], self.transient)


class WriteError(ReadError):
    """A file could not be written (`stage_out`). In a run it is retried and listed like a `ReadError`."""


def _read_error(error: type[ReadError], message: str, transient: bool) -> ReadError:
    return error(message, transient=transient)


class FunctionError(AfKitError):
    """The user's function raised an exception on a chunk; the message holds file, entries and traceback.

    Or ``finish`` did, on the merged output. If `process` raised it, ``result`` is the `Result` of the chunks processed
    before, with its report.
    """

    result: Any = None


class MergeError(AfKitError, TypeError):
    """Return values of the user's function cannot be merged."""


class IncompleteError(AfKitError):
    """Not every planned entry was processed."""


class FitError(AfKitError):
    """A fit is not valid, so it has no result.

    Attributes
    ----------
    reasons : tuple of str
        Everything that was wrong, the most important first.
    at_limit : tuple of str
        The parameters that ended at a limit.
    status : int
        Minuit2's status: 1 covariance forced positive definite, 2 Hesse failed, 3 minimum not reached, 4 call limit
        reached, 5 any other failure; 0 if Minuit itself found no fault.
    """

    def __init__(
        self, message: str, *, reasons: Iterable[str] = (), at_limit: Iterable[str] = (), status: int = 5
    ) -> None:
        super().__init__(message)
        self.reasons, self.at_limit, self.status = tuple(reasons), tuple(at_limit), status

    def __reduce__(self) -> tuple[Any, ...]:
        return _fit_error, (self.args[0], self.reasons, self.at_limit, self.status)


def _fit_error(message: str, reasons: tuple[str, ...], at_limit: tuple[str, ...], status: int) -> FitError:
    return FitError(message, reasons=reasons, at_limit=at_limit, status=status)


class ConnectError(AfKitError):
    """A cluster did not start before its deadline, or this session cannot use it."""


class MissingExtraError(AfKitError, ImportError):
    """A required optional package is not installed."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return a sentence that names the closest of ``choices``, or lists the first of them.

    The sentence starts with a space, to be appended to a message. It is empty if there are no choices.
    """
    names = sorted(str(choice) for choice in choices)
    if not names:
        return ""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    shown = ", ".join(repr(name) for name in names[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f" There is: {shown}{more}."
