"""Tables for notebooks: the one place that makes the HTML of every ``_repr_html_`` of the kit.

All text is escaped here. Colours are JupyterLab's own variables, so that a table follows the light and the dark theme;
on other pages they fall back to the page's own text colour and to greys that show on both backgrounds.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence

__all__ = ["MOST", "Markup", "fold", "items", "lines", "mark", "panel", "paragraph", "stacked", "strong", "table"]

MOST = 20
"""Rows of a table that are shown; a last line says how many more there are."""

# The class is repeated below because JupyterLab's own rules for tables would otherwise win.
_STYLE = """<style>
.af-kit { color: var(--jp-content-font-color1, inherit); overflow-x: auto; }
.af-kit p { margin: 0.2em 0 0.4em; }
.af-kit table { border-collapse: collapse; margin: 0.2em 0 0.6em; table-layout: auto; width: auto; }
.af-kit th, .af-kit td { text-align: left; vertical-align: top; padding: 0.25em 0.8em; border: none;
  color: inherit; white-space: normal; overflow-wrap: break-word; }
.af-kit th { font-weight: 600; overflow-wrap: normal; }
.af-kit thead tr { border-bottom: 1px solid var(--jp-border-color1, rgba(128, 128, 128, 0.6)); }
.af-kit tbody tr { background: none; border-bottom: 1px solid var(--jp-border-color3, rgba(128, 128, 128, 0.2)); }
.af-kit .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.af-kit .soft { color: var(--jp-content-font-color2, inherit); opacity: 0.85; }
.af-kit :is(.ok, .warning, .problem) { font-weight: 600; }
.af-kit .ok { color: var(--jp-success-color1, #2e9149); }
.af-kit .warning { color: var(--jp-warn-color1, #c77700); }
.af-kit .problem { color: var(--jp-error-color1, #e0524b); }
.af-kit summary { cursor: pointer; }
</style>""".replace(".af-kit", ".af-kit" * 3)


class Markup(str):
    """Text that is HTML already; every other text is escaped."""

    __slots__ = ()


def mark(text: str, state: str) -> Markup:
    """Return text in the colour of a state: ``"ok"``, ``"warning"``, ``"problem"``, or ``"soft"`` for side remarks."""
    return Markup(f"<span class='{state}'>{_text(text)}</span>")


def strong(text: str) -> Markup:
    """Return text in bold."""
    return Markup(f"<b>{_text(text)}</b>")


def stacked(text: str, remark: str = "") -> Markup:
    """Return text, and a remark in italics below it."""
    return Markup(_text(text) + (f"<br><i>{_text(remark)}</i>" if remark else ""))


def paragraph(text: str) -> Markup:
    """Return text as a paragraph."""
    return Markup(f"<p>{_text(text)}</p>")


def table(
    rows: Iterable[Sequence[object]],
    *,
    head: Sequence[str] = (),
    numbers: Collection[int] = (),
    most: int = MOST,
    total: int | None = None,
) -> Markup:
    """Return an HTML table.

    Parameters
    ----------
    rows
        Texts, `Markup`, or whole numbers, which get separators between thousands.
    head
        Names of the columns; none: a table without a head.
    numbers
        Columns that are aligned to the right, counted from 0, although their cells are texts.
    most
        Rows that are shown.
    total
        The number of rows, if ``rows`` does not hold all of them.
    """
    shown, count = [], 0
    for count, row in enumerate(rows, start=1):
        if count <= most:
            shown.append(row)
    right = {*numbers, *(i for row in shown[:1] for i, cell in enumerate(row) if _is_number(cell))}
    top = "".join(_cell("th", name, i in right) for i, name in enumerate(head))
    body = "".join(f"<tr>{''.join(_cell('td', cell, i in right) for i, cell in enumerate(row))}</tr>" for row in shown)
    hidden = max(count, total or 0) - len(shown)
    if hidden:
        width = max([len(head), *map(len, shown)])
        body += f"<tr><td colspan='{width}' class='soft'>and {hidden:,} more</td></tr>"
    return Markup(f"<table>{f'<thead><tr>{top}</tr></thead>' if top else ''}<tbody>{body}</tbody></table>")


def items(rows: Iterable[tuple[str, object]]) -> Markup:
    """Return a table of two columns: what it is, in bold, and its value."""
    body = "".join(f"<tr>{_cell('th', name, False)}{_cell('td', value, False)}</tr>" for name, value in rows)
    return Markup(f"<table><tbody>{body}</tbody></table>")


def fold(title: str, content: str, *, is_open: bool = False) -> Markup:
    """Return content that a click on its title shows or hides."""
    return Markup(f"<details{' open' if is_open else ''}><summary>{_text(title)}</summary>{_text(content)}</details>")


def lines(texts: Iterable[str], *, most: int = MOST, total: int | None = None) -> Markup:
    """Return a numbered list, cut like a `table`."""
    shown, count = [], 0
    for count, text in enumerate(texts, start=1):
        if count <= most:
            shown.append(f"<li>{_text(text)}</li>")
    hidden = max(count, total or 0) - len(shown)
    more = f"<p class='soft'>and {hidden:,} more</p>" if hidden else ""
    return Markup(f"<ol>{''.join(shown)}</ol>{more}")


def panel(title: str, *parts: str) -> Markup:
    """Return the HTML of one object: a title and its parts. A text that is not `Markup` becomes a paragraph."""
    body = "".join(part if isinstance(part, Markup) else paragraph(part) for part in parts if part)
    return Markup(f"<div class='af-kit'>{_STYLE}{paragraph(strong(title))}{body}</div>")


def _cell(tag: str, content: object, right: bool) -> str:
    kind = " class='n'" if right else ""
    return f"<{tag}{kind}>{_text(content)}</{tag}>"


def _text(content: object) -> str:
    if isinstance(content, Markup):
        return content
    return html.escape(f"{content:,}" if _is_number(content) else str(content))


def _is_number(content: object) -> bool:
    return isinstance(content, int) and not isinstance(content, bool)
