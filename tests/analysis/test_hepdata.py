from __future__ import annotations

import numpy as np
import pytest
import yaml

from af_kit.analysis.hepdata import Column, Table, bins, write_hepdata
from af_kit.errors import InputError

TABLE = Table(
    "Mass spectrum",
    "Candidates per bin",
    [Column("M", bins([1.65, 1.7, 1.75]), "GEV")],
    [
        Column(
            "Candidates",
            np.array([10, 20]),
            errors={"stat": [3.16227766, 4.47213595], "sys": [(-1.0, 2.0), (np.nan, 1.0)]},
            qualifiers={"SQRT(S) [GEV]": 13000},
        ),
        Column("Model", [9.123456789, np.nan]),
    ],
)


def test_a_submission_names_its_tables_and_their_files(tmp_path):
    words = Table("Words", "", [Column("step", ["a", "b"])], [Column("events", [1, None])])
    files = write_hepdata(
        [TABLE, words],
        tmp_path / "new",
        comment="What it is",
        keywords={"cmenergies": [13000], "reactions": ["P P --> X"]},
    )
    assert [file.name for file in files] == ["submission.yaml", "mass_spectrum.yaml", "words.yaml"]
    first, *tables = yaml.safe_load_all(files[0].read_text())
    assert first == {"comment": "What it is"}
    assert [table["data_file"] for table in tables] == ["mass_spectrum.yaml", "words.yaml"]
    assert tables[0]["keywords"] == [
        {"name": "cmenergies", "values": [13000]},
        {"name": "reactions", "values": ["P P --> X"]},
    ]
    assert yaml.safe_load(files[2].read_text())["dependent_variables"][0]["values"] == [{"value": 1}, {"value": "-"}]


def test_points_have_their_bins_and_errors(tmp_path):
    content = yaml.safe_load(write_hepdata([TABLE], tmp_path)[1].read_text())
    (mass,) = content["independent_variables"]
    assert mass == {
        "header": {"name": "M", "units": "GEV"},
        "values": [{"low": 1.65, "high": 1.7}, {"low": 1.7, "high": 1.75}],
    }
    candidates, model = content["dependent_variables"]
    assert candidates["qualifiers"] == [{"name": "SQRT(S) [GEV]", "value": 13000}]
    assert candidates["values"][0] == {
        "value": 10,
        "errors": [
            {"symerror": 3.16228, "label": "stat"},
            {"asymerror": {"minus": -1.0, "plus": 2.0}, "label": "sys"},
        ],
    }
    assert [error["label"] for error in candidates["values"][1]["errors"]] == ["stat"]
    assert model["values"] == [{"value": 9.12346}, {"value": "-"}]


def test_columns_must_be_equally_long():
    with pytest.raises(InputError, match="differ in length"):
        Table("x", "", [Column("a", [1])], [Column("b", [1, 2])])
