"""Tables for notebooks: escaped, cut, and in the colours of the page."""

from __future__ import annotations

import re

import pytest

from af_kit.display.tables import Markup, fold, items, lines, mark, panel, stacked, strong, table

EVIL = "<script>alert('x')</script>"


@pytest.mark.parametrize(
    "made",
    [
        table([(EVIL, 1)], head=(EVIL, "n")),
        items([(EVIL, EVIL)]),
        lines([EVIL]),
        fold(EVIL, EVIL),
        mark(EVIL, "ok"),
        strong(EVIL),
        stacked(EVIL, EVIL),
        panel(EVIL, EVIL, table([(EVIL,)])),
    ],
)
def test_text_is_escaped(made):
    assert isinstance(made, Markup)
    assert "<script>" not in made
    assert "&lt;script&gt;" in made


def test_a_long_table_is_cut_and_says_so():
    made = table(((i, f"file{i}") for i in range(1000)), head=("", "file"), most=3)
    assert made.count("<tr>") == 5
    assert "file2" in made
    assert "file3" not in made
    assert "<td colspan='2' class='soft'>and 997 more</td>" in made
    assert "and 7 more" in table([("a",)], total=8)
    assert "and 5 more" in lines(map(str, range(25)))
    assert "more" not in table([("a",)] * 20)


def test_numbers_are_aligned_with_separators():
    made = table([("all", 1234567, "1.5")], head=("name", "entries", "value"), numbers=(2,))
    assert made.count("class='n'") == 4
    assert "<td class='n'>1,234,567</td>" in made
    assert "<td>all</td>" in made
    assert "<td>True</td>" in table([(True,)])


def test_colours_come_from_the_theme():
    made = panel("title")
    colours = re.findall(r"(?:color|background|border-bottom): ([^;]+);", made)
    assert colours
    for colour in colours:
        assert "var(--jp-" in colour or colour in ("inherit", "none")
