"""The kit's exceptions: one small tree.

Every message says what is wrong, where, the nearest valid value where there is one, and what to do next.

    AfKitError
    |-- InputError            what the user gave cannot be used (also a ValueError)
    |   |-- FilesetError      a fileset file, dataset, path or glob
    |   `-- BranchError       a branch that cannot be used: another type than before, not readable
    |       `-- MissingBranchError   a branch that is not there, or was not declared
    |-- ReadError             a file could not be read (also an OSError)
    |   `-- WriteError        a file could not be written; retried as reading is
    |-- FunctionError         the user's function raised; carries file and entries
    |-- MergeError            results of two chunks cannot be merged
    |-- IncompleteError       entries are missing from a result
    |-- FitError              a fit is not valid: why, what was at a limit, what to do
    |-- ConnectError          a cluster did not come up, or is not usable
    `-- MissingExtraError     an optional package is not installed (also an ImportError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class AfKitError(Exception):
    """Base of all errors that the kit raises on purpose."""


class InputError(AfKitError, ValueError):
    """What the user gave cannot be used as it is."""


class FilesetError(InputError):
    """A fileset cannot be loaded: its file, a dataset, a path, a glob or a key."""


class BranchError(InputError):
    """A branch is missing, or its type differs between files or from what was declared."""


class MissingBranchError(BranchError, AttributeError, KeyError):
    """A branch is not in the file, or not among the declared ones.

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
        Whether another try on the same replica may help. A missing file or a refused access does not get better
        in seconds; a broken connection does.
    """

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_error, (type(self), self.args[0], self.transient)


class WriteError(ReadError):
    """A file could not be written to a store (`stage_out`): in a run it is retried and listed as a `ReadError` is."""


def _read_error(kind: type[ReadError], message: str, transient: bool) -> ReadError:
    return kind(message, transient=transient)


class FunctionError(AfKitError):
    """The user's function raised an exception on a chunk; the message holds file, entries and traceback.

    ``result`` is what was done before, where `process` raised it: a `Result`, with its report.
    """

    result: Any = None


class MergeError(AfKitError, TypeError):
    """What the user's function returned cannot be merged."""


class IncompleteError(AfKitError):
    """Not every planned entry was processed."""


class FitError(AfKitError):
    """A fit is not valid, and so has no result.

    Attributes
    ----------
    reasons : tuple of str
        All that was wrong, the most telling first.
    at_limit : tuple of str
        The parameters that ended at a limit.
    status : int
        As Minuit2 counts: 1 the covariance was forced to be positive definite, 2 Hesse failed, 3 the minimum was not
        reached, 4 the call limit was, 5 anything else. 0 where Minuit itself saw nothing wrong.
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
    """A cluster did not come up before its deadline, or cannot be used from here."""


class MissingExtraError(AfKitError, ImportError):
    """An optional package is needed and not installed."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A sentence that names the closest of ``choices``, or lists the first of them.

    Returns an empty string where there is nothing to choose from, so that it can be appended to any message.
    """
    names = sorted(str(choice) for choice in choices)
    if not names:
        return ""
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    shown = ", ".join(repr(name) for name in names[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f" There is: {shown}{more}."
