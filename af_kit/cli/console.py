"""Output and argument types that the commands share.

A command says what it does with `say`, gives what it was asked for with `answer`, reports what is wrong with `complain`
or what the user should know with `note`, and ends with `emit_json`. Which of these are shown depends on ``--quiet``,
``--verbose`` and ``--json``, which `talking` sets for the length of a command.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Mode:
    quiet: bool = False
    as_json: bool = False


_mode = _Mode()


@contextlib.contextmanager
def talking(arguments: argparse.Namespace) -> Iterator[None]:
    """Apply ``--quiet``, ``--verbose`` and ``--json`` until the end of the block."""
    from af_kit.display import progress

    global _mode
    before = _mode
    _mode = _Mode(arguments.quiet, arguments.json)
    logger, handler = logging.getLogger("af_kit"), _LogHandler()
    level, propagates = logger.level, logger.propagate
    if arguments.verbose:
        logger.setLevel(logging.INFO)
    elif arguments.quiet:
        logger.setLevel(logging.ERROR)
    if arguments.verbose or arguments.quiet:
        logger.addHandler(handler)
        logger.propagate = False  # Dask may have configured the root logger, which would print each line again
    try:
        with progress.hidden(arguments.quiet):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
        _mode = before


def say(text: str) -> None:
    """Print a line about what was done; not with ``--quiet`` or ``--json``."""
    if not (_mode.quiet or _mode.as_json):
        _print(text)


def answer(text: str) -> None:
    """Print what the command was asked for, also with ``--quiet``; not with ``--json``, which prints it as JSON."""
    if not _mode.as_json:
        _print(text)


def emit_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print the one JSON document of a command on stdout if ``--json`` is given; numbers that are not finite are null.

    Call it once, at the end.
    """
    if _mode.as_json:
        _print(json.dumps(_plain(content), indent=2, allow_nan=False))


def note(text: str) -> None:
    """Print one paragraph on stderr that the user should read; not with ``--quiet``."""
    if not _mode.quiet:
        complain(text)


def complain(text: str) -> None:
    """Print one paragraph about an error on stderr."""
    print(f"af-kit: {text.strip()}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Send what functions print on stdout during the block to stderr, or nowhere with ``--quiet``.

    Stdout is for the command's own output.
    """
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(open(os.devnull, "w")) if _mode.quiet else sys.stderr  # noqa: PTH123
        stack.enter_context(contextlib.redirect_stdout(target))
        yield


class _LogHandler(logging.Handler):
    """Prints log lines on stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        line = f"{record.name}: {record.getMessage()}"
        if bars := sys.modules.get("tqdm"):
            bars.tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


def _print(text: str) -> None:
    """Print a line. A pipe whose reader has ended (``| head``) is not an error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would raise again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)  # numbers of numpy; paths


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
