"""VBF theory uncertainties: the formula, bins, and events that have none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cms_files import cms_file

from af_kit.corrections.vbf_theory import VBFTheory
from af_kit.errors import InputError

TABLE = {
    "names": ["TOT", "JET01"],
    "acceptance": {"200": [0.07, 0.0], "201": [0.05, -0.2]},
    "deltas": [10.0, 20.0],
    "powheg_xsec": {"200": 100.0, "201": 50.0},
}


def write(path: Path, **change: object) -> Path:
    path.write_text(json.dumps({**TABLE, **change}))
    return path


def test_the_effect_of_each_source(tmp_path: Path) -> None:
    theory = VBFTheory.load(write(tmp_path / "vbf.json"))
    assert theory.sources == ("THU_VBF_TOT", "THU_VBF_JET01")
    found = theory.weight(np.array([201, 200, 0]))
    assert found.nominal.tolist() == [1, 1, 1]
    assert found.variations["THU_VBF_TOT"].up.tolist() == pytest.approx([1.01, 1.007, 1])
    assert found.variations["THU_VBF_JET01"].up.tolist() == pytest.approx([0.92, 1, 1])
    assert found.variations["THU_VBF_JET01"].down.tolist() == pytest.approx([1.08, 1, 1])


def test_events_of_another_process_are_refused(tmp_path: Path) -> None:
    theory = VBFTheory.load(write(tmp_path / "vbf.json"))
    for other in (110, 202, -1):
        with pytest.raises(InputError, match=f"1 events are in STXS bin {other}.*for vector-boson fusion only"):
            theory.weight(np.array([200, other]))


@pytest.mark.parametrize("change", [{"deltas": [1.0]}, {"powheg_xsec": {}}, {"names": ["TOT"]}, {"acceptance": []}])
def test_other_tables_are_refused(tmp_path: Path, change: dict) -> None:
    with pytest.raises(InputError, match=r"vbf\.json"):
        VBFTheory.load(write(tmp_path / "vbf.json", **change))


def test_the_real_table() -> None:
    theory = VBFTheory.load(cms_file("run2/vbf_stxs.json"))
    assert len(theory.sources) == 10
    found = theory.weight(np.arange(200, 225))
    assert found.variations["THU_VBF_PTH200"].up[10] == pytest.approx(1 + 0.3062 * 0.394 / 385.566)
    assert found.variations["THU_VBF_JET01"].down[2] == pytest.approx(1 + 0.7464 * 18.094 / 1317.635)
