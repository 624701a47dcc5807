"""The words for a cluster that several commands take, as ``connect`` does."""

from __future__ import annotations

import argparse
from typing import Any

from af_kit.cli.console import whole_number
from af_kit.errors import InputError


def add_cluster_words(group: Any) -> None:
    """What all kinds of clusters understand, and ``--option`` for the kind's own."""
    group.add_argument("--cores", type=whole_number(least=1), metavar="N", help="threads of each worker")
    group.add_argument("--memory", metavar="SIZE", help="memory of each worker, such as '4 GiB'")
    group.add_argument("--walltime", metavar="TIME", help="time limit of each worker's job, such as 2h")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of the kind's own options, such as partition=short; may be given again",
    )


def cluster_words(arguments: argparse.Namespace) -> dict[str, Any]:
    """These words as arguments of ``connect``, those that were given.

    Raises
    ------
    InputError
        An ``--option`` is not NAME=VALUE.
    """
    words = {name: getattr(arguments, name) for name in ("cores", "memory", "walltime")}
    return {name: value for name, value in words.items() if value is not None} | own_options(arguments.option)


def own_options(given: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a mapping; a name that is given twice is a list of its values."""
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
