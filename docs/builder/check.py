"""Checks of the built site: every link, anchor and picture leads somewhere, and every page can be reached."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Pages that Sphinx makes for itself: the search and the index are in every page's menu or search box
_OF_SPHINX = {"search.html", "genindex.html", "py-modindex.html"}


class _Page(HTMLParser):
    """The links, the pictures and the anchors of a page; and the links of its text, without those of the menus."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect one element's links and anchors."""
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "name" in values:
            self.anchors.add(values["name"])
        if tag in ("a", "link") and "href" in values:
            self.links.append(values["href"])
        if tag in ("img", "script", "source", "video") and "src" in values:
            self.sources.append(values["src"])


def problems(html: Path) -> list[str]:
    """Return what is wrong with a built site, one line for each broken link; an empty list is a good site.

    Addresses on the internet are not opened. Pictures and scripts from the internet are reported: the site must be
    readable without a network.
    """
    pages = {
        path.relative_to(html).as_posix(): _Page(path.read_text(encoding="utf-8")) for path in html.rglob("*.html")
    }
    pages = {name: page for name, page in pages.items() if not name.startswith("_static/")}
    found = []
    for name, page in pages.items():
        for address in [*page.links, *page.sources]:
            if (problem := _problem(html, pages, name, address, is_source=address in page.sources)) is not None:
                found.append(f"{name}: {address}: {problem}")
    unreached = pages.keys() - reached(pages) - _OF_SPHINX
    return sorted({*found, *(f"{name}: no way leads here from index.html" for name in unreached)})


def _problem(html: Path, pages: dict[str, _Page], name: str, address: str, *, is_source: bool) -> str | None:
    parts = urlsplit(address)
    if parts.scheme == "data" or (parts.scheme in ("https", "http", "mailto") and not is_source):
        return None
    if parts.scheme or parts.netloc:
        return "comes from the internet"
    target = _target(name, address)
    if not (html / target).is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such anchor"
    return None


def _target(name: str, address: str) -> str:
    path = unquote(urlsplit(address).path)
    if not path:
        return name
    parts: list[str] = [] if path.startswith("/") else name.split("/")[:-1]
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def reached(pages: dict[str, _Page]) -> set[str]:
    """Return the pages that a reader finds by following links, from the first page on."""
    found, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in pages and name not in found:
            found.add(name)
            waiting += [_target(name, link) for link in pages[name].links if not urlsplit(link).scheme]
    return found
