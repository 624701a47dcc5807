"""Shell completion, in a real bash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from af_kit.cli import main
from af_kit.cli.completion import SHELLS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    import contextlib

    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        with (folder / shell).open("w") as file, contextlib.redirect_stdout(file):
            assert main(["completion", shell]) == 0
    return folder


def completed(script: Path, folder: Path, *words: str) -> set[str]:
    """Return what bash offers for the last word."""
    line = " ".join(words)
    code = (
        f"source {script}; COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE={line!r}; COMP_POINT={len(line)}\n"
        "f=$(complete -p af-kit | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        '$f af-kit "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def test_bash_completes_commands_options_choices_and_paths(scripts, tmp_path):
    (tmp_path / "data.root").touch()
    (tmp_path / "data_folder").mkdir()
    bash = scripts / "bash"
    assert {"run", "simulate", "doctor", "completion"} <= completed(bash, tmp_path, "af-kit", "")
    assert completed(bash, tmp_path, "af-kit", "sim") == {"simulate"}
    assert {"--events", "--seed"} <= completed(bash, tmp_path, "af-kit", "simulate", "--")
    assert {"bash", "zsh", "tcsh"} <= completed(bash, tmp_path, "af-kit", "completion", "")
    assert "data.root" in completed(bash, tmp_path, "af-kit", "run", "dimuon", "da")
    assert completed(bash, tmp_path, "af-kit", "run", "dimuon", "x.root", "--out", "da") == {"data_folder"}


def test_every_shell_has_a_script(scripts):
    texts = [(scripts / shell).read_text() for shell in SHELLS]
    assert all("simulate" in text and "af-kit" in text for text in texts)
    assert len(set(texts)) == len(SHELLS)
