"""docs/troubleshooting.md: every message that it quotes is one of the kit's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import af_kit

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^### `(.+)`$", PAGE.read_text(), re.MULTILINE)


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the strings of a module; an f-string without its values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "\0".join(part.value for part in node.values if isinstance(part, ast.Constant))


@pytest.fixture(scope="module")
def messages() -> list[str]:
    sources = Path(af_kit.__file__).parent.rglob("*.py")
    return [text for path in sources for text in texts(ast.parse(path.read_text(encoding="utf-8")))]


def is_in(message: str, quoted: str) -> bool:
    """Whether the message has all quoted parts in this order; the dots between them are names and numbers."""
    position = 0
    for part in quoted.split("..."):
        position = message.find(part.strip(), position)
        if position < 0:
            return False
    return True


def test_the_page_quotes_messages():
    assert len(QUOTED) > 30
    assert len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_in_the_source(quoted, messages):
    assert any(is_in(message, quoted) for message in messages)


def test_a_message_that_does_not_exist_is_not_found(messages):
    assert not any(is_in(message, "There is no tree ... in the garden") for message in messages)
