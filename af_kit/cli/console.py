"""Output and argument types that the commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


def say(text: str) -> None:
    """Print a line. A pipe whose reader has ended (``| head``) is not an error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would raise again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print one paragraph about an error on stderr."""
    print(f"af-kit: {text.strip()}", file=sys.stderr, flush=True)


def whole_number(*, least: int) -> Callable[[str], int]:
    """Return an argparse type for whole numbers of ``least`` or more. It accepts ``1_000_000`` and ``1e6``."""

    def convert(text: str) -> int:
        try:
            value = float(text)
            if value != int(value) or value < least:
                raise ValueError
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more") from None
        return int(value)

    return convert
