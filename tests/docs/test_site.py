"""The documentation's site, built as `make docs` does, but with the notebooks as they are, without outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from builder import check, commands, configuration, pages, reference

import af_kit
from af_kit import config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """The built site. Warnings of Sphinx, unknown names, broken links and unreachable pages are errors."""
    out = tmp_path_factory.mktemp("docs")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'docs'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "builder", "--no-notebooks", "--out", out]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def search_index(html: Path) -> dict:
    return json.loads(text(html / "searchindex.js").removeprefix("Search.setIndex(").removesuffix(")"))


def test_every_page_of_the_repository_is_a_page_of_the_site(html):
    names = {Path(place).with_suffix(".html") for place in pages.where().values() if place.endswith((".md", ".ipynb"))}
    docs = {Path(path.name).with_suffix(".html") for path in (ROOT / "docs").glob("*.md")}
    notebooks = {Path("notebooks") / path.with_suffix(".html").name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert docs | notebooks <= names
    assert not [name for name in names if not (html / name).is_file()]


def test_every_public_name_has_an_entry(html):
    entries = set(re.findall(r'<dt class="sig[^>]* id="([\w.]+)"', "".join(map(text, html.glob("reference/*.html")))))
    modules = {"analysis", "corrections", "errors", "__version__"}
    assert {f"af_kit.{name}" for name in {*af_kit.__all__} - modules - {"doctor"}} <= entries
    assert "af_kit.doctor.doctor" in entries
    for module in [module for module in reference.public_modules() if module.startswith(("af_kit.a", "af_kit.c"))]:
        if module not in ("af_kit.analysis", "af_kit.cluster"):
            assert {f"{module}.{name}" for name in reference.exported(module)} <= entries, module
    assert {f"af_kit.errors.{name}" for name in reference.exported("af_kit.errors")} <= entries
    assert "af_kit.Result.retry" in entries  # methods of classes have one too


def test_every_key_of_the_configuration_has_an_entry(html):
    page = text(html / "reference" / "configuration.html")
    for key in configuration.keys(configuration.FILE.read_text(encoding="utf-8")):
        if key.default is not None:
            assert f'<span class="pre">{key.name}</span>' in page, key.name


def test_every_command_has_a_section_and_every_option_an_entry(html):
    page = text(html / "reference" / "command-line.html")
    for parser in commands.parsers():
        assert f'id="{parser.prog.replace(" ", "-")}"' in page
    assert "--chunk-entries" in page


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (["slurm", "partition"], "clusters"),
        (["replica"], "data"),
        (["scale_to_lumi"], "reference/af_kit.run"),
        (["backoff_"], "reference/configuration"),
        (["rochest"], "reference/af_kit.corrections.rochester"),
    ],
)
def test_the_search_finds(html, words, page):
    index = search_index(html)
    number = index["docnames"].index(page)
    for word in words:
        terms = [*index["terms"].items(), *index["titleterms"].items()]
        found = [places for term, places in terms if term.startswith(word)]
        assert any(number in (places if isinstance(places, list) else [places]) for places in found), word


def test_the_search_finds_objects(html):
    objects = search_index(html)["objects"]
    assert "process" in {entry[-1] for entry in objects["af_kit"]}
    assert "timeout_s" in {
        entry[-1].rpartition(".")[2] for entry in objects.get("", []) + objects.get("af_kit.cluster", [])
    }


def test_flowcharts_and_formulas_are_drawn(html):
    page = text(html / "clusters.html")
    assert page.count('<svg class="flowchart"') == text(ROOT / "docs" / "clusters.md").count("```mermaid")
    assert "language-mermaid" not in page
    assert '<svg class="formula"' in text(html / "reference" / "af_kit.analysis.dimuon.html")


def test_the_site_needs_no_network(html):
    for page in html.rglob("*.html"):
        assert not re.search(r'<(?:script|img|link)[^>]+(?:src|href)="(?:https?:)?//', text(page)), page


def test_a_broken_site_is_reported(html, tmp_path):
    page = '<a href="other.html#there">x</a><a href="none.html">y</a><img src="none.png"><a href="#nowhere">z</a>'
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "other.html").write_text('<h1 id="there"></h1><img src="https://example.org/a.png">')
    (tmp_path / "lost.html").write_text("")
    assert check.problems(tmp_path) == [
        "index.html: #nowhere: no such anchor",
        "index.html: none.html: no such file",
        "index.html: none.png: no such file",
        "lost.html: no way leads here from index.html",
        "other.html: https://example.org/a.png: comes from the internet",
    ]


def test_the_page_has_the_defaults():
    keys = [
        key for key in configuration.keys(configuration.FILE.read_text(encoding="utf-8")) if key.default is not None
    ]
    for key in keys:
        assert yaml.safe_load(key.default) == config.get(key.name.removeprefix("af_kit.")), key.name

    def leaves(name: str, value: object) -> set[str]:
        is_group = isinstance(value, dict) and value and name not in {key.name for key in keys}
        return {leaf for part in value for leaf in leaves(f"{name}.{part}", value[part])} if is_group else {name}

    assert leaves("af_kit", config.defaults()) == {key.name for key in keys}
