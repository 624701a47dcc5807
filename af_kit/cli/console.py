"""What the commands share: words to the terminal, and numbers from it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


def say(text: str) -> None:
    """Print a line; a reader who has left (``| head``) is no error of the command."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print one paragraph about what went wrong on stderr."""
    print(f"af-kit: {text.strip()}", file=sys.stderr, flush=True)


def whole_number(*, least: int) -> Callable[[str], int]:
    """An argparse type: a whole number from ``least`` on; ``1_000_000`` and ``1e6`` are understood."""

    def convert(text: str) -> int:
        try:
            value = float(text)
            if value != int(value) or value < least:
                raise ValueError
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on") from None
        return int(value)

    return convert
