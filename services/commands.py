"""The commands of a service: ``services/NAME/VERB``, where the verbs are ``start``, ``stop``, ``logs`` and others."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from services.common import Service, ServiceError, find_program

__all__ = ["Commands"]


class Commands:
    """The verbs of a service: ``stop``, ``logs``, and those that are added.

    Parameters
    ----------
    name : str
        The service's folder below ``services``.
    service : subclass of Service, optional
        Every verb has the option ``--folder``, and gets the service in that folder as ``given.service``. Without a
        service there is no such option, and ``stop`` and ``logs`` must be added.
    """

    def __init__(self, name: str, service: type[Service] | None = None) -> None:
        self._name, self._service = name, service
        self._parser = ArgumentParser(prog=f"services/{name}")
        self._verbs = self._parser.add_subparsers(required=True, metavar="VERB")

    def add(self, verb: Callable[[Namespace], None]) -> ArgumentParser:
        """Add a verb with the function's name and docstring, and return its parser."""
        name = verb.__name__
        parser: ArgumentParser = self._verbs.add_parser(
            name, prog=f"services/{self._name}/{name}", help=verb.__doc__, description=verb.__doc__
        )
        parser.set_defaults(run=verb)
        if service := self._service:
            default = service()
            parser.add_argument(
                "--folder",
                dest="service",
                metavar="DIR",
                type=lambda path: service(Path(path).absolute()),  # daemons run in another folder
                default=default,
                help=f"default: {default.folder}",
            )
        return parser

    def run(self) -> None:
        """Run the verb of this process's command line; an error is printed without a traceback."""
        if self._service and "stop" not in self._verbs.choices:
            self.add(stop)
        if self._service:
            parser = self.add(logs)
            parser.add_argument("--lines", type=int, default=20)
            parser.add_argument("--follow", action="store_true", help="keep printing until Ctrl-C")
        given = self._parser.parse_args()
        try:
            given.run(given)
        except ServiceError as error:
            sys.exit(str(error))
        except (BrokenPipeError, KeyboardInterrupt):  # `logs | head`, and Ctrl-C after `logs --follow`
            sys.exit(1)


def stop(given: Namespace) -> None:
    """Stop the service; its files and ports stay for the next start."""
    given.service.stop()


def logs(given: Namespace) -> None:
    """Print the ends of the logs."""
    wanted = given.service.logs()
    found = [str(log) for log in wanted if log.exists()]
    if not found:
        raise ServiceError(f"There is no log yet: {wanted[0]}")
    command = [find_program("tail"), f"--lines={given.lines}", *(["--follow"] if given.follow else []), *found]
    subprocess.run(command, check=False)
