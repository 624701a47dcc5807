"""The parts that the documentation's site is built from."""

from __future__ import annotations

import json

import pytest
from builder import configuration, flowcharts, formulas, markdown, names, notebooks, pages

import af_kit.run.process


@pytest.mark.parametrize(
    ("source", "link", "on_site"),
    [
        ("docs/clusters.md", "[lab](lab.md)", "[lab](lab.md)"),
        ("docs/clusters.md", "[x](data.md#skims)", "[x](data.md#skims)"),
        ("docs/clusters.md", "[x](#slurm)", "[x](#slurm)"),
        ("docs/fits.md", "[a](../notebooks/03-dsphipi-mass-fit.ipynb)", "[a](notebooks/03-dsphipi-mass-fit.ipynb)"),
        ("notebooks/03-dsphipi-mass-fit.ipynb", "[fits](../docs/fits.md)", "[fits](../fits.md)"),
        ("docs/image.md", "[x](../CONTRIBUTING.md#style)", "[x](contributing.md#style)"),
        ("CONTRIBUTING.md", "[read](README.md)", "[read](index.md)"),
        ("docs/user-guide.md", "![panel](pictures/panel.png)", "![panel](pictures/panel.png)"),
        ("README.md", "![panel](docs/pictures/panel.png)", "![panel](pictures/panel.png)"),
        ("docs/image.md", "[the lock](../requirements.lock)", "the lock"),
        ("docs/image.md", "[site](https://example.org/a.md)", "[site](https://example.org/a.md)"),
        ("docs/image.md", "```\n[lab](../requirements.lock)\n```", "```\n[lab](../requirements.lock)\n```"),
    ],
)
def test_links_of_pages(source, link, on_site):
    assert pages.on_site(link, source) == on_site


def test_a_file_that_is_no_page_is_in_the_repository_if_it_has_an_address():
    page = pages.on_site("[the lock](../requirements.lock)", "docs/image.md", files_at="https://example.org/blob/main")
    assert page == "[the lock](https://example.org/blob/main/requirements.lock)"


def test_keys_of_a_commented_file():
    text = (
        "# The file.\n\nkit:\n  # Seconds that\n  # it waits.\n  wait_s: 5\n\n  group:\n    # A list.\n    a: [b, c]\n"
    )
    assert list(configuration.keys(text)) == [
        configuration.Key("kit", None, []),
        configuration.Key("kit.wait_s", "5", ["Seconds that", "it waits."]),
        configuration.Key("kit.group", None, []),
        configuration.Key("kit.group.a", "[b, c]", ["A list."]),
    ]
    with pytest.raises(ValueError, match="neither a comment nor a key"):
        list(configuration.keys("kit:\n  - a\n"))


def test_a_comment_as_markdown():
    lines = ["Names such as [a_b],", "`code` stays:", "", "  a: 1", "    b: 2", "", "The end."]
    assert markdown.blocks(lines) == (
        "Names such as \\[a\\_b\\], `code` stays:\n\n```text\na: 1\n  b: 2\n```\n\nThe end."
    )


def linked(text: str) -> tuple[str, list[str]]:
    unknown: list[str] = []
    return names.linked(text, "af_kit.run.process", af_kit.run.process.process, unknown=unknown), unknown


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("see `plan`", "see :py:obj:`plan <af_kit.plan>`"),
        ("`Result.retry`", ":py:obj:`Result.retry <af_kit.Result.retry>`"),
        ("the argument `fileset`", "the argument ``fileset``"),
        ("``plan`` stays, |eta| too", r"``plan`` stays, \|eta\| too"),
        ("code::\n\n    `plan` |x|\n\nthen `plan`", "code::\n\n    `plan` |x|\n\nthen :py:obj:`plan <af_kit.plan>`"),
    ],
)
def test_names_in_docstrings(text, result):
    assert linked(text) == (result, [])


def test_an_unknown_name_is_reported():
    text, unknown = linked("see `no_such_name`")
    assert text == "see ``no_such_name``"
    assert unknown == ["`no_such_name` in a docstring of af_kit.run.process: process"]


CHART = """flowchart LR
    subgraph farm["the farm"]
        a["one<br/>two"] -->|"label, x"| b
    end
    b -.-> c["three"]
    a --> c
    c <--> d
"""


def test_a_flowchart():
    chart = flowcharts.parse(CHART)
    assert chart.boxes["a"].lines == ["one", "two"]
    assert [(arrow.label, arrow.dotted, arrow.both_ways) for arrow in chart.arrows] == [
        ("label, x", False, False),
        ("", True, False),
        ("", False, False),
        ("", False, True),
    ]
    assert chart.groups == {"farm": "the farm"}
    drawn = flowcharts.svg(CHART)
    assert drawn.count('class="box"') == 4
    assert "label, x" in drawn
    assert "the farm" in drawn


def test_the_boxes_of_a_flowchart_do_not_overlap():
    chart = flowcharts.parse(CHART)
    boxes = list(chart.boxes.values())
    width, height = flowcharts.place(boxes, chart.arrows, horizontal=True)
    assert [box.rank for box in boxes] == [0, 1, 2, 3]
    for number, box in enumerate(boxes):
        assert box.width / 2 <= box.x <= width - box.width / 2
        assert box.height / 2 <= box.y <= height - box.height / 2
        for other in boxes[:number]:
            apart = abs(box.x - other.x) >= (box.width + other.width) / 2
            assert apart or abs(box.y - other.y) >= (box.height + other.height) / 2


@pytest.mark.parametrize("line", ["a ==> b", "a -->", "a --> b c"])
def test_a_line_of_a_flowchart_that_is_not_understood(line):
    with pytest.raises(ValueError, match="not understood"):
        flowcharts.parse(f"flowchart LR\n{line}")


def test_a_chart_of_another_kind_is_not_understood():
    with pytest.raises(ValueError, match="sequenceDiagram"):
        flowcharts.parse("sequenceDiagram\na->>b: hello")


def test_a_formula():
    drawn = formulas.svg(r"\sqrt{q_0}")
    assert drawn.startswith('<svg class="formula"')
    assert 'aria-label="\\sqrt{q_0}"' in drawn
    assert "currentColor" in drawn
    with pytest.raises(ValueError, match="nosuch"):
        formulas.svg(r"\nosuch{x}")


def test_an_output_has_no_link_to_a_file_of_the_run(tmp_path):
    html = "<a href='/tmp/out/a.html' target='_blank'>a.html</a> <a href='https://example.org'>x</a>"
    cell = {"cell_type": "code", "source": "1", "outputs": [{"data": {"text/html": [html]}}]}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
    page = json.loads(pages.notebook_on_site(tmp_path / "a.ipynb", "notebooks/00-start-here.ipynb"))
    assert page["cells"][0]["outputs"][0]["data"]["text/html"] == "a.html <a href='https://example.org'>x</a>"


def test_a_notebook_is_executed_once(tmp_path):
    every = notebooks.outdated(tmp_path)
    assert every
    (tmp_path / every[0].name).write_text("{}")
    assert notebooks.outdated(tmp_path) == every[1:]


def test_bars_and_messages_about_fonts_are_left_out(tmp_path):
    outputs = [
        {"data": {"text/plain": ["run:  40%|████      | 4.00k/10.0k [00:01<00:02, 3.1k events/s]"]}},
        {"name": "stderr", "text": ["findfont: not found"]},
        {"name": "stderr", "text": ["UserWarning: 5000 of 20000 entries were not processed"]},
        {"name": "stdout", "text": ["Connected: 2 workers"]},
        {"data": {"text/plain": ["50 % of [a, b]"]}},
    ]
    cell = {"cell_type": "code", "source": "1", "outputs": outputs}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
    page = json.loads(pages.notebook_on_site(tmp_path / "a.ipynb", "notebooks/00-start-here.ipynb"))
    assert page["cells"][0]["outputs"] == outputs[2:]
