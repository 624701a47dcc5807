from __future__ import annotations

import sys
from pathlib import Path

import pytest
from distributed import Client
from plugin_tools import kill_one_worker

from af_kit.errors import InputError
from af_kit.plugins.package import send_package


def call(name: str) -> str:
    import importlib

    return str(importlib.import_module(name).answer())


def test_a_package_is_replaced_when_its_content_changes(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "my_analysis"
    folder.mkdir()
    (folder / "__init__.py").write_text("from my_analysis.cuts import answer\n")
    (folder / "cuts.py").write_text("def answer():\n    return 'yesterday'\n")
    first = send_package(client, folder)
    assert set(client.run(call, "my_analysis").values()) == {"yesterday"}
    assert send_package(client, folder) == first
    (folder / "cuts.py").write_text("def answer():\n    return 'today'\n")
    assert send_package(client, folder) != first
    assert set(client.run(call, "my_analysis").values()) == {"today"}
    kill_one_worker(client)
    assert set(client.run(call, "my_analysis").values()) == {"today"}
    assert "my_analysis" not in sys.modules  # only the workers import it


def test_single_modules_are_sent_and_other_things_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "one_file.py").write_text("def answer():\n    return 1\n")
    send_package(client, tmp_path / "one_file.py")
    assert set(client.run(call, "one_file").values()) == {"1"}
    (tmp_path / "project" / "inner").mkdir(parents=True)
    (tmp_path / "project" / "inner" / "__init__.py").touch()
    with pytest.raises(InputError, match=r"no Python package at .*project. Did you mean '.*project/inner'"):
        send_package(client, tmp_path / "project")
    (tmp_path / "not-a-name").mkdir()
    with pytest.raises(InputError, match=r"'not-a-name' .* cannot be imported"):
        send_package(client, tmp_path / "not-a-name")


@pytest.mark.parametrize("name", ["json", "numpy", "this.py"])
def test_a_package_that_would_hide_an_installed_one_is_refused(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    if name.endswith(".py"):
        source.touch()
    else:
        source.mkdir()
        (source / "__init__.py").touch()
    with pytest.raises(InputError, match=rf"'{source.stem}' is also (a module of Python|installed as)"):
        send_package(None, source)
