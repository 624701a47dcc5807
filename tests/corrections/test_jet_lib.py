"""Jet corrections of correctionlib files: compound ones, edges, pickling, and files that are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from small_jets import write_json

from af_kit.corrections.jet_lib import read_corrections
from af_kit.errors import InputError

JETS = {
    "JetPt": np.array([40.0, 40.0]),
    "JetEta": np.array([-1.0, 1.0]),
    "JetA": np.array([0.5, 0.5]),
    "Rho": np.array([20.0, 20.0]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_json(tmp_path / "jerc.json")


def test_a_compound_correction_hands_the_new_pt_on(path: Path) -> None:
    found = read_corrections(path, ("L1L2",))["L1L2"]
    first = 1 - 0.5 / 40 * 0.5 * 20
    assert found.evaluate(JETS) == pytest.approx([first * (1.1 + 0.001 * 40 * first), first])


def test_it_can_be_pickled_and_holds_only_what_it_needs(path: Path) -> None:
    found = read_corrections(path, ("L1L2",))["L1L2"]
    assert [item["name"] for item in json.loads(found.content)["corrections"]] == ["L1", "L2"]
    path.unlink()
    again = pickle.loads(pickle.dumps(found))
    assert again.evaluate(JETS).tolist() == found.evaluate(JETS).tolist()


def test_a_clamped_input_never_gives_the_value_that_stands_for_an_error(path: Path) -> None:
    source = read_corrections(path, ("Source_Absolute",))["Source_Absolute"]
    far = {"JetPt": np.array([40.0, 40.0]), "JetEta": np.array([5.0, -6.0])}
    assert source.evaluate(far).tolist() == [-999.0, -999.0]
    assert source.evaluate(far, clamp=("JetEta",)) == pytest.approx([0.046, 0.046])


def test_messages(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no correction 'L1L3' in .*Did you mean 'L1L2'"):
        read_corrections(path, ("L1L3",))
    with pytest.raises(InputError, match="L1L2 also needs JetA"):
        read_corrections(path, ("L1L2",))["L1L2"].evaluate({"JetPt": np.ones(1)})
    for text, message in (
        ("{", "is not a correctionlib file"),
        ('{"schema_version": 1, "corrections": []}', "version 1"),
    ):
        bad = tmp_path / "bad.json"
        bad.write_text(text)
        with pytest.raises(InputError, match=message):
            read_corrections(bad, ("L1",))
