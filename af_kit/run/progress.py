"""The progress bar: entries done, entries per second, time left, failures; in a terminal and in a notebook."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["Progress", "say"]


class Progress:
    """A progress bar over the planned entries.

    Parameters
    ----------
    total : int
        Planned entries.
    shown : bool, optional
        Whether to draw it. By default in a notebook and on a terminal, not into a file or a pipe.
    """

    def __init__(self, total: int, shown: bool | None = None) -> None:
        self._failed = 0
        self._bar: Any = None
        if _is_shown(shown):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit=" entries", unit_scale=True, smoothing=0.1, dynamic_ncols=True)

    def update(self, done: int, failed: int = 0) -> None:
        """Count the entries that a task has processed, and those that failed."""
        if self._bar is None:
            return
        if failed:
            self._failed += failed
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)
        self._bar.update(done + failed)

    def close(self) -> None:
        """Stop the bar and leave it on the screen."""
        if self._bar is not None:
            self._bar.close()


def say(line: str, shown: bool | None = None) -> None:
    """Print a line if a progress bar would be shown."""
    if _is_shown(shown):
        print(line, file=sys.stdout if _in_notebook() else sys.stderr, flush=True)


def _is_shown(shown: bool | None) -> bool:
    return (_in_notebook() or sys.stderr.isatty()) if shown is None else shown


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return bool(shell and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell")
