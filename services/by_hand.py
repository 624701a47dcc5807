"""A service by hand: ``services/NAME/VERB``, with the verbs ``start``, ``stop``, ``logs`` and what else it can do."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common import ServiceError, find_program

__all__ = ["ByHand", "command_line"]


@dataclass(frozen=True)
class ByHand:
    """What the verbs of a service have in common.

    Parameters
    ----------
    name : str
        The service's folder.
    folder : path
        Its scratch folder, if no other is given.
    """

    name: str
    folder: Path

    def parser(self, verb: str, about: str) -> argparse.ArgumentParser:
        """The options of a verb: ``--folder``, so far."""
        parser = argparse.ArgumentParser(prog=f"services/{self.name}/{verb}", description=about)
        # Absolute, as daemons have a folder of their own.
        parser.add_argument("--folder", type=_absolute, default=self.folder, help="default: %(default)s")
        return parser

    def given(self, verb: str, about: str, arguments: Sequence[str], **more: Mapping[str, Any]) -> argparse.Namespace:
        """What was given to a verb that also has the options ``more``."""
        parser = self.parser(verb, about)
        for name, options in more.items():
            parser.add_argument(f"--{name}", **options)
        return parser.parse_args(arguments)

    def show_logs(self, arguments: Sequence[str], logs: Callable[[Path], Sequence[Path]]) -> None:
        """The verb ``logs``: print the end of those that there are of ``logs(folder)``."""
        lines, follow = {"type": int, "default": 20}, {"action": "store_true", "help": "go on until Ctrl-C"}
        given = self.given("logs", "Show the end of the logs.", arguments, lines=lines, follow=follow)
        wanted = logs(given.folder)
        there = [str(log) for log in wanted if log.exists()]
        if not there:
            raise ServiceError(f"There is no log yet: {wanted[0]}")
        command = [find_program("tail"), f"--lines={given.lines}", *(["--follow"] if given.follow else []), *there]
        subprocess.run(command, check=False)


def _absolute(path: str) -> Path:
    return Path(path).absolute()


def command_line(verbs: Mapping[str, Callable[[list[str]], None]]) -> None:
    """Run ``VERB ARGUMENTS`` of this process's command line; a `ServiceError` is told in one paragraph."""
    verb, *arguments = sys.argv[1:] or [""]
    if verb not in verbs:
        sys.exit(f"What to do? One of: {', '.join(verbs)}")
    try:
        verbs[verb](arguments)
    except ServiceError as error:
        sys.exit(str(error))
    except (BrokenPipeError, KeyboardInterrupt):  # `logs | head`, and Ctrl-C after `logs --follow`
        sys.exit(1)
