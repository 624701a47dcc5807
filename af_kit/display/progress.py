"""Progress bars: what is done, the rate, the time left, failures; in a terminal and in a notebook, not in a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["Progress", "hidden", "progressing", "say", "shown_in_notebook"]

T = TypeVar("T")

_DELAY_S = 1.0
# From this total on, numbers are shown as 1.2k, 3.4M.
_SCALED = 10_000
_state = {"hidden": False}


class Progress:
    """A progress bar, also a context manager.

    Parameters
    ----------
    total : int
        How much there is to do.
    shown : bool, optional
        Whether to draw it. By default in a notebook and on a terminal, not into a file or a pipe.
    what : str
        What is being done, in front of the bar.
    unit : str
        What is counted. ``"B"`` counts bytes.
    brief : bool
        For what is usually short: the bar appears after a second only, and disappears at its end.
    """

    def __init__(
        self, total: int, shown: bool | None = None, *, what: str = "", unit: str = "entries", brief: bool = False
    ) -> None:
        self.what = what
        self._failed = 0
        self._bar: Any = None
        if _is_shown(shown):
            from tqdm.auto import tqdm

            size = {"unit": "B", "unit_divisor": 1024} if unit == "B" else {"unit": f" {unit}"}
            self._bar = tqdm(
                total=total,
                desc=what or None,
                unit_scale=unit == "B" or total >= _SCALED,
                smoothing=0.1,
                dynamic_ncols=True,
                delay=_DELAY_S if brief else 0,
                leave=not brief,
                **size,
            )

    def update(self, done: int = 1, failed: int = 0) -> None:
        """Count what has been done, and what has failed."""
        if self._bar is None:
            return
        if failed:
            self._failed += failed
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)
        self._bar.update(done + failed)

    def skip(self, number: int) -> None:
        """Take away what does not have to be done after all."""
        if self._bar is not None:
            self._bar.total -= number
            self._bar.refresh()

    def close(self) -> None:
        """Stop the bar, and leave it on the screen unless it is brief."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def progressing(
    values: Iterable[T], total: int, shown: bool | None = None, *, what: str = "", unit: str, brief: bool = False
) -> Iterator[T]:
    """Yield the values, and count each one in a bar (`Progress`) when the next one is asked for."""
    with Progress(total, shown, what=what, unit=unit, brief=brief) as bar:
        for value in values:
            yield value
            bar.update()


@contextlib.contextmanager
def hidden(hide: bool = True) -> Iterator[None]:
    """Draw no bars and print no lines during the block, whatever the calls inside ask for."""
    before = _state["hidden"]
    _state["hidden"] = before or hide
    try:
        yield
    finally:
        _state["hidden"] = before


def say(line: str, shown: bool | None = None) -> None:
    """Print a line if a progress bar would be shown."""
    if _is_shown(shown):
        print(line, file=sys.stdout if _in_notebook() else sys.stderr, flush=True)


def shown_in_notebook() -> bool:
    """Return whether what is displayed appears below the cell of a notebook, and is not `hidden`."""
    return not _state["hidden"] and _in_notebook()


def _is_shown(shown: bool | None) -> bool:
    if _state["hidden"]:
        return False
    return (_in_notebook() or sys.stderr.isatty()) if shown is None else shown


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return bool(shell and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell")
