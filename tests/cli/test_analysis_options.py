"""Options that are made of a function's parameters."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from af_kit.cli.analysis_options import add_derived, described
from af_kit.errors import InputError


def analyse(
    events,
    pt_min: float = 10.0,
    *,
    n: int | None = None,
    mode: Literal["fast", "exact"] = "fast",
    blind: bool = True,
    files: Sequence[str | Path] | Mapping[str, str] | None = None,
    where: Path | None = None,
    guessed=3,
    table: Mapping[str, float] | None = None,
    anything: Any = None,
    no_default_type=None,
):
    """Analyse.

    Parameters
    ----------
    pt_min, n : float, int
        What `both` are for,
        in 100 % of cases. No more.
    mode
        How.

    Returns
    -------
    dict
        blind : not a parameter
    """


def parsed(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_derived(parser, analyse, skip=1, where="analyse()")
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


def test_types_follow_annotations_and_defaults():
    assert parsed() == {}
    given = ["--pt-min", "5", "--n", "3", "--mode", "exact", "--no-blind", "--files", "a", "--files", "b"]
    assert parsed(*given, "--where", "x", "--guessed", "4") == {
        "pt_min": 5.0,
        "n": 3,
        "mode": "exact",
        "blind": False,
        "files": ["a", "b"],
        "where": Path("x"),
        "guessed": 4,
    }


@pytest.mark.parametrize("option", ["--table", "--anything", "--no-default-type", "--events"])
def test_other_types_are_no_options(option):
    with pytest.raises(SystemExit):
        parsed(option, "1")


@pytest.mark.parametrize("wrong", [["--mode", "slow"], ["--n", "1.5"], ["--pt-min", "ten"]])
def test_a_wrong_value(wrong):
    with pytest.raises(SystemExit):
        parsed(*wrong)


def test_the_help_is_the_docstrings():
    parser = argparse.ArgumentParser()
    add_derived(parser, analyse, skip=1, where="analyse()")
    text = " ".join(parser.format_help().split())
    assert "what both are for, in 100 % of cases (default: 10.0)" in text
    assert "--mode {fast,exact} how (default: fast)" in text
    assert "not a parameter" not in text
    assert described("No section.") == {}


def test_a_name_that_is_taken():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pt-min")
    with pytest.raises(InputError, match="'pt_min'"):
        add_derived(parser, analyse, skip=1, where="analyse()")
