"""The page of the command line, from the parsers of ``af-kit``."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator

from af_kit.cli.command import build_parser
from builder.markdown import escaped


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of ``af-kit``, then that of each command, and of each of its actions."""

    def below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    yield from below(command)

    yield from below(build_parser())


def page() -> str:
    """Return the page, as Markdown."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"  # argparse would use the width of the terminal
    try:
        return "# Command line\n\n" + "\n".join(_section(parser) for parser in parsers())
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns


def _section(parser: argparse.ArgumentParser) -> str:
    parser.color = False  # type: ignore[attr-defined]  # Python 3.14 would colour the usage
    depth = max(2, parser.prog.count(" ") + 1)
    usage = parser.format_usage().removeprefix("usage: ").strip()
    usage = re.sub(r"\n {7}( *)", r"\n\1", usage)  # the lines after the first lose the indentation of "usage: "
    description = " ".join((parser.description or "").split())
    parts = [f"{'#' * depth} {parser.prog}", escaped(description), f"```text\n{usage}\n```"]
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if all(isinstance(action, argparse._HelpAction) for action in shown):
            continue
        title = group.title or ""
        parts.append(f"**{escaped(title[:1].upper() + title[1:])}**")
        for action in shown:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    anchor = f"{parser.prog} {choice.dest}".replace(" ", "-")
                    parts.append(f"[`{choice.dest}`](#{anchor})\n: {escaped(choice.help or '')}")
            else:
                parts.append(f"`{_invocation(parser, action)}`\n: {escaped(_help(parser, action))}")
    return "\n\n".join(part for part in [*parts, _epilog(parser.epilog or "")] if part) + "\n"


def _invocation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = parser._get_formatter()
    if action.option_strings:
        values = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {values}".strip()
    return formatter._format_args(action, formatter._get_default_metavar_for_positional(action))


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if not action.help:
        raise ValueError(f"{parser.prog}: {_invocation(parser, action)} has no help text")
    return parser._get_formatter()._expand_help(action)


def _epilog(text: str) -> str:
    """Return the text at the end of a help: lines below a heading ("examples:") are code, others are paragraphs."""
    parts = []
    for block in text.strip("\n").split("\n\n"):
        heading, _, rest = block.partition("\n")
        if rest.startswith("  "):
            lines = rest.splitlines()
            width = min(len(line) - len(line.lstrip()) for line in lines)
            code = "\n".join(line[width:] for line in lines)
            parts += [f"**{escaped(heading.removesuffix(':').capitalize())}**", f"```text\n{code}\n```"]
        elif block:
            parts.append(escaped(" ".join(block.split())))
    return "\n\n".join(parts)
