"""Which files of the repository are pages of the site, and their links.

A link between two files works in a forge's view of the files. On the site, a link to a file that is a page leads to
that page; one to any other file leads to the project's repository, or is plain text if pyproject.toml has no address.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parents[2]

# Pages outside docs/, by their name on the site. The start page takes the place of the README.
_OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
    "tests/README.md": "tests.md",
    "benchmarks/README.md": "benchmarks.md",
    "services/README.md": "services.md",
}
_FOLDERS = {"docs": ("*.md", "pictures/*.*"), "notebooks": ("*.ipynb",)}

_FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
_LOCAL = re.compile(r"<a [^>]*href=['\"](?!#|[a-z]+://)[^'\"]*['\"][^>]*>(.*?)</a>", re.DOTALL)
_BAR = re.compile(r"\d%\|.*\[\d\d:\d\d")  # tqdm's
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


@functools.cache
def where() -> dict[str, str]:
    """Return the place on the site of each file that is part of it: path in the repository to path on the site."""
    found = {source: target for source, target in _OUTSIDE.items() if (ROOT / source).is_file()}
    for folder, patterns in _FOLDERS.items():
        for pattern in patterns:
            for path in sorted((ROOT / folder).glob(pattern)):
                name = path.relative_to(ROOT).as_posix()
                found[name] = name.removeprefix("docs/")
    return found


def repository() -> str | None:
    """Return the address below which the repository's files are shown, if pyproject.toml has one."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    address = next((url for name, url in urls.items() if name.lower() in ("repository", "source", "source code")), None)
    return f"{address.rstrip('/')}/blob/main" if address else None


def on_site(text: str, source: str, *, files_at: str | None = None) -> str:
    """Return a page with the links that it has on the site.

    Parameters
    ----------
    text : str
        Markdown.
    source : str
        Path of the page in the repository.
    files_at : str, optional
        The address of the repository's files; without it, a link to a file that is no page becomes plain text.
    """

    def target_of(link: str) -> tuple[str, str | None]:
        """Return the path in the repository of what a link leads to, and its place on the site."""
        path = os.path.normpath(PurePosixPath(source).parent / link)
        return path, where().get(path)

    def picture(match: re.Match[str]) -> str:
        _, place = target_of(match[2])
        return f"![{match[1]}]({_relative(place, source)})" if place else match[0]

    def link(match: re.Match[str]) -> str:
        label = _PICTURE.sub(picture, match[1])
        address, hash_, anchor = match[2].partition("#")
        if not address or re.match(r"[a-z]+:", address):
            return f"[{label}]({match[2]})"
        path, place = target_of(address)
        if place:
            return f"[{label}]({_relative(place, source)}{hash_}{anchor})"
        return f"[{label}]({files_at}/{path})" if files_at else label

    return _outside_code(text, lambda part: _PICTURE.sub(picture, _LINK.sub(link, part)))


def _relative(place: str, source: str) -> str:
    return os.path.relpath(place, PurePosixPath(where()[source]).parent)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Apply a change to a Markdown text, but not to its blocks of code."""
    parts, end = [], 0
    for block in _FENCE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])


def notebook_on_site(path: Path, source: str, *, files_at: str | None = None) -> str:
    """Return a notebook, as JSON, whose text has the links that it has on the site.

    An output that links to a file of the run keeps the text of the link only: the site does not have the file. Progress
    bars, which need a kernel, and messages about this machine's fonts are left out.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if not _is_passing(output)]
        for data in [output["data"] for output in cell.get("outputs", ()) if "text/html" in output.get("data", {})]:
            data["text/html"] = _LOCAL.sub(r"\1", "".join(data["text/html"]))
        if cell["cell_type"] == "markdown":
            cell["source"] = on_site("".join(cell["source"]), source, files_at=files_at).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False)


def _is_passing(output: dict[str, Any]) -> bool:
    """Return whether an output is only of interest while the notebook runs."""
    text = "".join(output.get("data", {}).get("text/plain", ()))
    return "".join(output.get("text", ())).startswith("findfont:") or _BAR.search(text) is not None
