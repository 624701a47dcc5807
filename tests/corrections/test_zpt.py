"""Z pt weights: bins, edges, years, and files that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cms_files import cms_file

from af_kit.corrections.zpt import ZPt
from af_kit.errors import InputError


def write(path: Path, bins: dict[str, float]) -> Path:
    table = {name: {"value": value} for name, value in bins.items()}
    path.write_text(json.dumps({"zpt_weights": {"2016": table}}))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "zpt.json", {"pt:[10.0,1000.0]": 0.9, "pt:[0.0,10.0]": 1.1})


def test_bins_contain_their_lower_edge_and_the_last_goes_on(path: Path) -> None:
    found = ZPt.load(path, year="2016").weight(np.array([0.0, 9.99, 10.0, 999.0, 5000.0]))
    assert found.nominal.tolist() == [1.1, 1.1, 0.9, 0.9, 0.9]
    assert found.variations == {}


def test_an_unknown_year_and_bad_pt_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights for '2018' in .* Did you mean '2016'"):
        ZPt.load(path, year="2018")
    with pytest.raises(InputError, match="pt is negative for 1 events"):
        ZPt.load(path, year="2016").weight(np.array([-1.0]))


@pytest.mark.parametrize("bins", [{"pt:[0.0,10.0]": 1.0, "pt:[20.0,30.0]": 1.0}, {"0-10": 1.0}, {}])
def test_other_tables_are_refused(tmp_path: Path, bins: dict[str, float]) -> None:
    with pytest.raises(InputError, match="is not a table of Z pt weights"):
        ZPt.load(write(tmp_path / "bad.json", bins), year="2016")


def test_the_real_table() -> None:
    found = ZPt.load(cms_file("zpt_weights.histo.json"), year="2017").weight(np.array([0.0, 85.0, 2000.0]))
    assert found.nominal.tolist() == [0.910385, 0.966127, 0.904518]
