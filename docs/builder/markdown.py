"""Plain text as Markdown."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """Return Markdown that shows a text as it is, except that code in backticks stays code."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<>\[\]{}$|~#])", r"\\\1", part) for part in parts)


def blocks(lines: list[str]) -> str:
    """Return the Markdown of a commented text: paragraphs, and indented lines as blocks of code.

    Parameters
    ----------
    lines : list of str
        Lines without the comment's own sign and the space after it.
    """
    found: list[str] = []
    paragraph: list[str] = []
    code: list[str] = []

    def end() -> None:
        if paragraph:
            found.append(escaped(" ".join(paragraph)))
            paragraph.clear()
        if code:
            width = min(len(line) - len(line.lstrip()) for line in code if line)
            text = "\n".join(line[width:] for line in code).strip("\n")
            found.append(f"```text\n{text}\n```")
            code.clear()

    for line in lines:
        is_code = line.startswith("  ") or (not line and bool(code))
        if (is_code and paragraph) or (line and not is_code and code) or (not line and paragraph):
            end()
        if is_code:
            code.append(line)
        elif line:
            paragraph.append(line)
    end()
    return "\n\n".join(found)
