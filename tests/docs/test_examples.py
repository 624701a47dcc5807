"""The commands on the pages are ones that `af-kit` accepts, and their calls use names and arguments that exist."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import af_kit
from af_kit.cli.command import build_parser, main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


def snippets(text: str) -> Iterator[str]:
    """Yield the blocks of code of a page, then its code in sentences and tables."""
    for block in FENCE.finditer(text):
        yield inspect.cleandoc(block[3])
    yield from (code.replace("\\|", "|") for code in INLINE.findall(FENCE.sub("", text)))


def commands(text: str) -> set[str]:
    """Return the command lines of a page that are complete: with their arguments and output folder."""
    found = set()
    for snippet in snippets(text):
        for line in snippet.splitlines():
            line = re.sub(r"^\$ |\s+#.*$|\s+(?:\|\||>>?) .*$", "", line)  # without comments and redirections
            if re.match(r"af-kit (?:simulate|run|train|bench) ", line) and "--out" not in line:
                continue  # a part of one, in a sentence
            if re.match(r"af-kit \w+ \S", line) and "..." not in line:
                found.add(line)
    return found


def calls(text: str) -> Iterator[ast.Call]:
    """Yield the calls of ``af.NAME`` on a page."""
    for snippet in snippets(text):
        with contextlib.suppress(SyntaxError):
            for node in ast.walk(ast.parse(snippet)):
                if isinstance(node, ast.Call) and re.fullmatch(r"af\.\w+", ast.unparse(node.func)):
                    yield node


COMMANDS = sorted({command for page in PAGES for command in commands(page.read_text())})
CALLS = sorted({ast.unparse(call) for page in PAGES for call in calls(page.read_text())})


def test_the_pages_have_examples():
    assert len(COMMANDS) > 30
    assert len(CALLS) > 40


@pytest.fixture(scope="module")
def analyses(tmp_path_factory) -> Path:
    """A folder with the analyses that the pages run from files."""
    folder = tmp_path_factory.mktemp("analyses") / "new"
    main(["new", str(folder)])
    for name in ("my_processor.py", "dimuon.py"):
        (folder / name).write_text((folder / "analysis.py").read_text())
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_a_page_is_accepted(command, analyses, monkeypatch, capsys):
    monkeypatch.chdir(analyses)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    arguments = shlex.split(command)[1:]
    try:
        build_parser(arguments).parse_args(arguments)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_on_a_page_has_names_and_arguments_that_exist(call):
    node = ast.parse(call, mode="eval").body
    name = node.func.attr
    assert name in af_kit.__all__
    signature = inspect.signature(getattr(af_kit, name))
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        return  # the options of backends and samples
    keywords = {keyword.arg for keyword in node.keywords}
    assert keywords <= signature.parameters.keys()
    bind = signature.bind_partial if "..." in call else signature.bind
    bind(*node.args, **dict.fromkeys(keywords))
