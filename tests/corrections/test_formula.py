"""Formulas of calibration files: values, equal parts, polynomials, and texts that are refused."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from af_kit.corrections.formula import Formula, polynomial
from af_kit.errors import InputError

L1 = "max(0.0001,1-(z/y)*([0]+[1]*(x-20.0)+[2]*log(y/30.0)+[3]*pow(log(y/30.0),2)+[4]*(x-20.0)*log(y/30.0)))"


def test_a_formula_of_the_energy_scale_has_the_value_computed_by_hand() -> None:
    formula = Formula(L1)
    assert (formula.n_variables, formula.n_parameters) == (3, 5)
    value = formula.evaluate((25.0, 60.0, 0.5), (2.0, 0.5, -0.1, 0.01, 0.001))
    log = math.log(2.0)
    assert value == pytest.approx(1 - 0.5 / 60 * (2 + 0.5 * 5 - 0.1 * log + 0.01 * log**2 + 0.001 * 5 * log), rel=1e-15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2^3*x", 16.0),
        ("TMath::Max(0.,TMath::Log(x))", math.log(2)),
        ("1./(1.+exp(-(TMath::Log(x)-5.030)/0.395))", 1 / (1 + math.exp(-(math.log(2) - 5.030) / 0.395))),
        ("TMath::Power(208.,-0.154227)", 208**-0.154227),
        ("1.37325+-0.931634*x", 1.37325 - 0.931634 * 2),
        ("sqrt([0]*abs([0])/(x*x)+[1]*[1]*pow(x,[2]))", math.sqrt(-9 / 4 + 25 * 2**0.5)),
        ("log10(100)-1e-1*min(x,1)", 1.9),
        ("1", 1.0),
    ],
)
def test_the_notation_of_root(text: str, expected: float) -> None:
    assert Formula(text).evaluate((2.0,), (-3.0, 5.0, 0.5)) == pytest.approx(expected, rel=1e-14)


def test_arrays_and_parameters_per_element_give_the_values_of_each_element() -> None:
    formula = Formula("[0]+x*[1]^2")
    x, first, second = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert formula.evaluate((x,), (first, second)).tolist() == [3 + 25, 4 + 2 * 36]


def test_equal_parts_are_computed_once_and_numbers_when_the_formula_is_parsed() -> None:
    once = Formula("log(x/30.)")
    twice = Formula("log(x/30.)*log(x/30.)")
    assert len(twice._steps) == len(once._steps) + 1
    assert [what for what, _ in Formula("TMath::Power(208.,-0.154227)*2")._steps][-1] == "number"


def test_a_formula_can_be_pickled() -> None:
    formula = pickle.loads(pickle.dumps(Formula(L1)))
    assert formula.evaluate((20.0, 30.0, 0.5), (2.0, 0, 0, 0, 0)) == pytest.approx(1 - 0.5 / 30 * 2)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "x.real",
        "[x for x in x]",
        "(lambda: 1)()",
        "open(x)",
        "x if x else y",
        "'a'*3",
        "True+x",
        "p_0+x",
        "pow(x)",
        "max(x, y, z)",
        "1+",
        "a+b",
        "(" * 2000 + "x" + ")" * 2000,
        "",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a formula"):
        Formula(text)


def test_an_unknown_function_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"no function 'logg'.*Did you mean 'log'"):
        Formula("logg(x)")


def test_polynomials() -> None:
    assert polynomial("0.783852279186").tolist() == [0.783852279186]
    assert polynomial("(0.800652+2.14105*x)").tolist() == [0.800652, 2.14105]
    assert polynomial("1+x*(2+x*(-3+x*-4))").tolist() == [1, 2, -3, -4]
    shifted = polynomial("-2.5*(x-0.1)*(x-0.1)*(x-0.1)+20*(x-0.1)*(x-0.1)-5*(x-0.1)+1.5")
    x = 0.37
    expected = -2.5 * (x - 0.1) ** 3 + 20 * (x - 0.1) ** 2 - 5 * (x - 0.1) + 1.5
    assert np.polynomial.polynomial.polyval(x, shifted) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("text", ["log(x)", "1/x", "x*y", "x^0.5", "[0]*x"])
def test_what_is_no_polynomial_in_x_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a polynomial"):
        polynomial(text)
