"""Text files of jet corrections: their format, ranges, and files that are refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from cms_files import cms_file

from af_kit.corrections.jet_text import read_sections, read_table
from af_kit.errors import InputError

TABLE = """{2 JetEta Rho 1 JetPt [0]+[1]*x Resolution}
-1 0  0 20  4  10 100  1.0  0.5
-1 0 20 60  4  10 100  2.0  0.5
 0 1  0 60  4  20  50  3.0  0.1
"""


def _evaluate(path: Path, eta: float, rho: float, pt: float, **options: object) -> float:
    inputs = {name: np.array([value]) for name, value in (("JetEta", eta), ("Rho", rho), ("JetPt", pt))}
    return float(read_table(path).evaluate(inputs, outside=-7.0, **options)[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "resolution.txt"
    file.write_text(TABLE)
    return file


@pytest.mark.parametrize(
    ("eta", "rho", "pt", "value"),
    [
        (-0.5, 10, 40, 21.0),
        (-0.5, 20, 40, 22.0),
        (0.5, 20, 40, 7.0),
        (-0.5, 10, 5, 6.0),  # pt is moved to 10
        (-0.5, 10, 500, 51.0),  # to 100
        (0.5, 10, 500, 8.0),  # in this bin to 50
        (2.0, 10, 40, -7.0),
        (0.5, 70, 40, -7.0),
    ],
)
def test_bins_ranges_and_parameters(path: Path, eta: float, rho: float, pt: float, value: float) -> None:
    assert _evaluate(path, eta, rho, pt) == pytest.approx(value)


def test_an_input_of_the_bins_can_be_clamped(path: Path) -> None:
    assert _evaluate(path, -0.5, 70, 40, clamp=("Rho",)) == pytest.approx(22.0)
    assert _evaluate(path, -0.5, -1, 40, clamp=("Rho",)) == pytest.approx(21.0)
    assert _evaluate(path, 2.0, 70, 40, clamp=("Rho",)) == -7.0


def test_a_table_can_be_pickled(path: Path) -> None:
    table = pickle.loads(pickle.dumps(read_table(path)))
    assert table.quantity == "Resolution"
    inputs = {"JetEta": np.array([0.5]), "Rho": np.array([10.0]), "JetPt": np.array([30.0])}
    assert table.evaluate(inputs, outside=1.0).tolist() == [pytest.approx(6.0)]


def test_a_table_without_formula_has_columns(tmp_path: Path) -> None:
    file = tmp_path / "sf.txt"
    file.write_text("{1 JetEta 0 None ScaleFactor}\n-5 0 3 1.1 1.0 1.2\n0 5 3 1.3 1.2 1.4\n")
    table = read_table(file)
    assert table.parameters.tolist() == [[1.1, 1.3], [1.0, 1.2], [1.2, 1.4]]
    with pytest.raises(InputError, match="no formula"):
        table.evaluate({"JetEta": np.array([0.5])}, outside=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{1 JetEta 1 JetPt x Correction L2Relative}\n-1 1 3 10 100\n", "line 2 does not have as many numbers"),
        ("{1 JetEta 1 JetPt x Correction L2Relative}\n-1 one 2 10 100\n", "line 2 does not have as many numbers"),
        ("{1 JetEta 1 JetPt [0]*x Correction L2Relative}\n-1 1 2 10 100\n", "1 parameters, but the lines have 1 and 0"),
        ("{1 JetEta 1 JetPt x*y Correction L2Relative}\n-1 1 2 10 100\n", "2 variables"),
        ("{1 JetEta 1 JetPt x Correction L2Relative}\n", "no numbers"),
        ("{1 JetEta 1}\n-1 1 2 10 100\n", "header"),
        ("{1 JetEta 1 JetPt os.system(x) Correction L2}\n-1 1 2 10 100\n", "is not a formula"),
        ("[Absolute]\n{1 JetEta 1 JetPt x Correction L2}\n", "named sections"),
        ("", "no"),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.txt"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(file)


def test_sections(tmp_path: Path) -> None:
    file = tmp_path / "sources.txt"
    file.write_text("# a comment\n[A]\n{header}\n1 2\n\n[B]\n3\n")
    assert read_sections(file) == {"A": ["{header}", "1 2"], "B": ["3"]}
    file.write_text("[A]\n1\n[A]\n2\n")
    with pytest.raises(InputError, match="two sections 'A'"):
        read_sections(file)


def test_a_real_file_has_the_value_computed_from_its_line() -> None:
    table = read_table(cms_file("run2/jec/Autumn18_V7_MC_PtResolution_AK4PFchs.jr.txt.gz"))
    # the line of |eta| 3.2..4.7 and rho 30.5..36.33: 5.617 0.1599 0.0001081 -0.1438
    pt = 40.0
    expected = np.sqrt(5.617**2 / pt**2 + 0.1599**2 * pt**-0.1438 + 0.0001081**2)
    inputs = {"JetEta": np.array([4.0]), "Rho": np.array([31.0]), "JetPt": np.array([pt])}
    assert table.evaluate(inputs, outside=0.0)[0] == pytest.approx(expected, rel=1e-12)
