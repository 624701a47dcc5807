"""Options of ``connect`` that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from af_kit.cli.console import whole_number
from af_kit.errors import InputError


def add_cluster_options(group: Any) -> None:
    """Add the options that all backends share, and ``--option`` for those of one backend."""
    group.add_argument("--cores", type=whole_number(least=1), metavar="N", help="threads of each worker")
    group.add_argument("--memory", metavar="SIZE", help="memory of each worker, such as '4 GiB'")
    group.add_argument("--walltime", metavar="TIME", help="time limit of each worker's job, such as 2h")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the backend, such as partition=short; can be repeated",
    )


def cluster_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the given options as arguments of ``connect``.

    Raises
    ------
    InputError
        An ``--option`` does not have the form NAME=VALUE.
    """
    given = {name: getattr(arguments, name) for name in ("cores", "memory", "walltime")}
    return {name: value for name, value in given.items() if value is not None} | backend_options(arguments.option)


def backend_options(given: list[str]) -> dict[str, Any]:
    """Return ``NAME=VALUE`` texts as a mapping. A repeated name has a list of its values."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--option {text}: give NAME=VALUE, such as --option partition=short.")
        if name in options:
            before = options[name] if isinstance(options[name], list) else [options[name]]
            options[name] = [*before, value]
        else:
            options[name] = value
    return options
