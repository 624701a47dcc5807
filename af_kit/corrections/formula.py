"""Formulas of calibration files, such as ``max(0.0001,1-y*[0]*log(x/30.))``, on arrays.

A formula is parsed once into a list of steps, in which equal parts appear once. Nothing of the text is ever executed:
only the arithmetic and the functions listed here exist.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from af_kit.errors import InputError, nearest

__all__ = ["Formula", "polynomial"]

_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "abs": (np.abs, 1),
    "exp": (np.exp, 1),
    "log": (np.log, 1),
    "log10": (np.log10, 1),
    "sqrt": (np.sqrt, 1),
    "max": (np.maximum, 2),
    "min": (np.minimum, 2),
    "pow": (operator.pow, 2),  # not np.power, which is far slower for squares
}
_TMATH = {name.capitalize(): name for name in ("abs", "exp", "log", "log10", "sqrt", "max", "min")} | {"Power": "pow"}
_BINARY: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_VARIABLES = ("x", "y", "z", "t")


class Formula:
    """A formula in ROOT's notation, of variables ``x``, ``y``, ``z``, ``t`` and parameters ``[0]``, ``[1]``, ...

    It has numbers, ``+ - * / ^``, and abs, exp, log, log10, sqrt, max, min, pow, also as ``TMath::Log`` etc.

    Parameters
    ----------
    text : str
        The formula.

    Attributes
    ----------
    n_variables, n_parameters : int
        How many of them the formula uses: one more than the highest index.

    Raises
    ------
    InputError
        The text is not such a formula.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.n_variables = self.n_parameters = 0
        self._steps: list[tuple[Any, Any]] = []
        self._known: dict[Any, int] = {}
        try:
            tree = ast.parse(_python(text), mode="eval").body
            self._result = self._step(tree)
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            reason = str(error) if isinstance(error, InputError) else "it cannot be parsed."
            raise InputError(f"{text!r} is not a formula: {reason}") from error
        del self._known

    def __repr__(self) -> str:
        return f"Formula({self.text!r})"

    def evaluate(self, variables: Sequence[Any] = (), parameters: Sequence[Any] = ()) -> Any:
        """Return the value of the formula.

        Parameters
        ----------
        variables, parameters : sequence
            Numbers or arrays of one shape, in the order x, y, z, t and [0], [1], ... Polynomials of numpy work as well:
            a formula that is a polynomial in x then becomes one.
        """
        values: list[Any] = []
        for what, argument in self._steps:
            if what == "number":
                values.append(argument)
            elif what == "variable":
                values.append(variables[argument])
            elif what == "parameter":
                values.append(parameters[argument])
            else:
                values.append(what(*(values[index] for index in argument)))
        return values[self._result]

    def _step(self, node: ast.AST) -> int:
        """Append the steps of a node, and return the index of the last."""
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return self._add("number", np.float64(node.value))
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            index = self._step(node.operand)
            return self._add(operator.neg, (index,)) if isinstance(node.op, ast.USub) else index
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self._add(_BINARY[type(node.op)], (self._step(node.left), self._step(node.right)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id not in _FUNCTIONS:
                raise InputError(f"there is no function {node.func.id!r}.{nearest(node.func.id, _FUNCTIONS)}")
            function, expected = _FUNCTIONS[node.func.id]
            if len(node.args) != expected:
                raise InputError(f"{node.func.id} takes {expected} arguments, not {len(node.args)}.")
            return self._add(function, tuple(self._step(argument) for argument in node.args))
        raise InputError(f"{type(node).__name__} is not supported.")

    def _name(self, name: str) -> int:
        if name.startswith("p_"):
            index = int(name[2:])
            self.n_parameters = max(self.n_parameters, index + 1)
            return self._add("parameter", index)
        if name not in _VARIABLES:
            raise InputError(f"there is no variable {name!r}.{nearest(name, _VARIABLES)}")
        index = _VARIABLES.index(name)
        self.n_variables = max(self.n_variables, index + 1)
        return self._add("variable", index)

    def _add(self, what: Any, argument: Any) -> int:
        """Append a step, unless the same one exists; evaluate it now if it depends on numbers only."""
        if not isinstance(what, str) and all(self._steps[index][0] == "number" for index in argument):
            what, argument = "number", what(*(self._steps[index][1] for index in argument))
        key = (what, argument)
        if key not in self._known:
            self._known[key] = len(self._steps)
            self._steps.append(key)
        return self._known[key]


def _python(text: str) -> str:
    """Translate ROOT's notation to Python's, whose parser is used."""
    spelled = re.sub(r"TMath::(\w+)", lambda match: _TMATH.get(match[1], match[0]), text)
    if "p_" in spelled:
        raise InputError("names with p_ are not supported.")
    return re.sub(r"\[(\d+)\]", r"p_\1", spelled).replace("^", "**").strip()


def polynomial(text: str) -> np.ndarray:
    """Return the coefficients of a formula that is a polynomial in x, the constant first.

    Raises
    ------
    InputError
        The formula is not a polynomial in x alone.
    """
    formula = Formula(text)
    try:
        value = formula.evaluate((np.polynomial.Polynomial([0.0, 1.0]),))
        coefficients = np.atleast_1d(np.asarray(getattr(value, "coef", value), dtype=float))
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"{text!r} is not a polynomial in x.") from error
    return coefficients
