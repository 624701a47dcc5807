"""The files of a run: fits that are valid, figures, the points of the figures."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from af_kit import simulate
from af_kit.analysis.dsphipi import plot, spectrum, write
from af_kit.analysis.dsphipi.fit import fits
from af_kit.analysis.dsphipi.write import write_fits
from af_kit.analysis.fit import FitResult
from af_kit.errors import FitError

pytestmark = pytest.mark.filterwarnings("ignore:.*muon scale factors")


def test_a_run_writes_its_fits_and_figures(both, tmp_path):
    files = write(both, tmp_path, metadata={"sqrt_s_TeV": 13})
    names = {str(file.relative_to(tmp_path)) for file in files}
    small = {"scale_factors.json"}  # a few counts
    assert all(file.stat().st_size > 200 for file in files if file.name not in small)
    for figure in ("mass", "fit", "cutflow", "kinematics"):
        for suffix in ("", "_simulation"):
            assert {f"plots/{figure}{suffix}.png", f"plots/{figure}{suffix}.pdf"} <= names
    # only simulation is weighted
    assert {"plots/scale_factors_simulation.png"} == {
        name for name in names if "scale_factors" in name and "png" in name
    }
    assert {"fit.json", "fit_simulation.json", "hepdata/submission.yaml"} <= names
    assert FitResult.read(tmp_path / "fit.json").to_dict() == fits(both)["data"].to_dict()
    assert pq.read_table(tmp_path / "candidates.parquet").num_rows == both["candidates"].num_rows


def test_the_points_are_those_of_the_spectrum_and_of_the_fit(both, data, tmp_path):
    write(both, tmp_path, metadata={"sqrt_s_TeV": 13, "lumi_ifb": 14.37}, plots=False)
    _, *tables = yaml.safe_load_all((tmp_path / "hepdata/submission.yaml").read_text())
    assert [table["name"] for table in tables] == [
        *("Mass spectrum", "Fit parameters", "Selection"),
        *("Mass spectrum simulation", "Fit parameters simulation", "Selection simulation"),
    ]
    content = yaml.safe_load((tmp_path / "hepdata/mass_spectrum.yaml").read_text())
    columns = {column["header"]["name"]: column for column in content["dependent_variables"]}
    assert {"name": "LUMINOSITY [fb^-1]", "value": 14.37} in columns["Candidates"]["qualifiers"]
    values = {name: np.array([point["value"] for point in column["values"]]) for name, column in columns.items()}
    assert {error["label"] for point in columns["Candidates"]["values"] for error in point["errors"]} == {"stat"}
    varied = yaml.safe_load((tmp_path / "hepdata/mass_spectrum_simulation.yaml").read_text())["dependent_variables"][0]
    assert [error["label"] for error in varied["values"][0]["errors"]] == ["stat", "muon scale factors"]
    assert values["Candidates"] == pytest.approx(spectrum(data).values())
    assert values["Fit"] == pytest.approx(
        sum(values[f"Fit, {name}"] for name in ("ds", "dplus", "background")), rel=1e-4
    )
    assert values["Fit"].sum() == pytest.approx(values["Candidates"].sum(), rel=1e-3)
    parameters = yaml.safe_load((tmp_path / "hepdata/fit_parameters.yaml").read_text())
    value, status = parameters["dependent_variables"]
    labels = [[error["label"] for error in point.get("errors", [])] for point in value["values"]]
    assert [point["value"] for point in status["values"]].count("fixed") == 2
    assert labels.count([]) == 2
    assert all(label in ([], ["parabolic", "Minos"]) for label in labels)


def test_an_invalid_fit_warns_and_is_not_drawn(data, tmp_path):
    """A flat spectrum has no peaks."""
    few = {**data, "mass": data["mass"] * 0}
    few["mass"].view(flow=True)["value"][:, 0, 1:63] = 1
    few["mass"].view(flow=True)["variance"][:, 0, 1:63] = 1
    with pytest.warns(UserWarning, match="no valid fit of the data, and no figure of it: The fit is not valid"):
        files = write(few, tmp_path)
    names = {file.name for file in files}
    assert "mass.png" in names
    assert not {"fit.png", "fit.pdf", "fit_parameters.yaml"} & names
    written = json.loads((tmp_path / "fit.json").read_text())
    assert written["valid"] is False
    assert written["at_limit"]
    with pytest.raises(FitError, match="not valid"):
        FitResult.read(tmp_path / "fit.json")


def test_too_few_candidates_are_not_fitted(data, tmp_path):
    empty = {**data, "mass": data["mass"] * 0}
    with pytest.warns(UserWarning, match="0 candidates between 1.65 and 2.01 GeV are too few for a fit"):
        write_fits(fits(empty), tmp_path)
    assert not [file for file in plot(empty, tmp_path / "plots") if file.stem == "fit"]


def test_the_command_warns_of_an_invalid_fit(tmp_path, capsys):
    from af_kit.cli import main

    path = simulate.dsphipi(tmp_path / "few.root", 1500, 3)
    assert main(["run", "dsphipi", str(path), "--out", str(tmp_path / "out"), "--no-plots"]) == 0
    assert "af-kit: warning: no valid fit of the data, and no figure of it" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/fit.json").read_text())["valid"] is False
    assert "fit.json" in json.loads((tmp_path / "out/report.json").read_text())["outputs"]
