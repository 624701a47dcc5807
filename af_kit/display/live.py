"""Outputs of the running notebook cell that are replaced while it runs: a text, and a picture below it."""

from __future__ import annotations

import base64
from typing import Any

from af_kit.display.progress import shown_in_notebook

__all__ = ["Screen", "screen"]


class Screen:
    """The two outputs; each appears when it is first shown."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    def text(self, markup: str, plain: str) -> None:
        """Show HTML, and its text where there is no HTML, in place of the last one."""
        self._show("text", {"text/html": markup, "text/plain": plain})

    def picture(self, png: bytes, plain: str) -> None:
        """Show a PNG in place of the last one; ``plain`` is its description."""
        self._show("picture", {"image/png": base64.b64encode(png).decode("ascii"), "text/plain": plain})

    def _show(self, name: str, bundle: dict[str, str]) -> None:
        from IPython.display import display

        if name in self._handles:
            self._handles[name].update(bundle, raw=True)
        else:
            self._handles[name] = display(bundle, raw=True, display_id=True)


def screen() -> Screen | None:
    """Return a new screen in a notebook, and None elsewhere, or in a block of `hidden`."""
    return Screen() if shown_in_notebook() else None
