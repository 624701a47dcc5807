"""Families of smooth backgrounds: which shapes there are to try, their starting values and limits.

The shape of a smooth background is not known, so a fit is repeated with several. A family is one kind of function; some
have orders, from few parameters to many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from af_kit.analysis.fit.model import Component
from af_kit.errors import InputError, nearest

Limit = tuple[float, float]


class Family(NamedTuple):
    """A background shape with starting values and limits.

    ``kind`` is common to the orders of one family, such as "bernstein"; ``parameters`` maps the name of each parameter
    to its starting value and its limits.
    """

    shape: str
    kind: str
    label: str
    parameters: Mapping[str, tuple[float, Limit]]

    def component(self, category: str) -> Component:
        """Return the background of a category: its parameters end with the category's name."""
        names = tuple(f"{name}_{category}" for name in self.parameters)
        return Component(f"background_{category}", self.shape, names, label=f"background ({self.label})")

    def start(self, category: str) -> dict[str, float]:
        """Return the starting values of the parameters of :meth:`component`."""
        return {f"{name}_{category}": value for name, (value, _) in self.parameters.items()}

    def limits(self, category: str) -> dict[str, Limit]:
        """Return the limits of the parameters of :meth:`component`."""
        return {f"{name}_{category}": limits for name, (_, limits) in self.parameters.items()}


_SHARE: tuple[float, Limit] = (0.5, (0.0, 1.0))


def _exponentials(number: int) -> Family:
    slopes = {1: {"slope": -0.05}, 2: {"slope1": -0.03, "slope2": -0.12}}.get(
        number, {"slope1": -0.02, "slope2": -0.06, "slope3": -0.2}
    )
    fractions = {2: ["fraction"], 3: ["fraction1", "fraction2"]}.get(number, [])
    shape = "exponential" if number == 1 else f"exponentials{number}"
    parameters = {name: (value, (-1.0, 0.5)) for name, value in slopes.items()} | dict.fromkeys(fractions, _SHARE)
    return Family(shape, "exponentials", f"{number} exponential{'s' * (number > 1)}", parameters)


def _powers(number: int) -> Family:
    powers = {"power": -6.0} if number == 1 else {"power1": -4.0, "power2": -12.0}
    parameters = {name: (value, (-60.0, 20.0)) for name, value in powers.items()}
    parameters |= {"fraction": _SHARE} if number == 2 else {}
    return Family(f"powers{number}", "powers", f"{number} power law{'s' * (number > 1)}", parameters)


def _bernstein(order: int) -> Family:
    """Coefficients relative to the first; where all are positive, so is the polynomial."""
    parameters = {f"c{i}": (1 - 0.75 * i / order, (0.0, 20.0)) for i in range(1, order + 1)}
    return Family(f"bernstein{order}", "bernstein", f"Bernstein, order {order}", parameters)


def _chebyshev(order: int) -> Family:
    parameters = {f"c{i}": ((-0.5, 0.1, 0.0, 0.0, 0.0)[i - 1], (-1.5, 1.5)) for i in range(1, order + 1)}
    return Family(f"chebyshev{order}", "chebyshev", f"Chebyshev, order {order}", parameters)


FAMILIES: dict[str, Family] = {
    family.shape: family
    for family in (
        Family(
            "bwz_redux",
            "bwz_redux",
            "BWZ redux",
            # the published starting values 1.39, 0.46, -0.26; limits wide enough for categories with few events
            {"power": (1.39, (0.0, 10.0)), "slope": (-3.80, (-20.0, 10.0)), "curvature": (4.36, (-60.0, 60.0))},
        ),
        Family("bwz_exponential", "bwz", "BWZ x exp", {"slope": (-0.5, (-15.0, 15.0))}),
        Family(
            "bwz_photon",
            "bwz",
            r"BWZ + $\gamma$, x exp",
            {"slope": (-0.5, (-15.0, 15.0)), "fraction": (0.8, (0.0, 2.0))},
        ),
        *(_exponentials(number) for number in (1, 2, 3)),
        *(_powers(number) for number in (1, 2)),
        *(_bernstein(order) for order in (1, 2, 3, 4, 5)),
        *(_chebyshev(order) for order in (1, 2, 3, 4, 5)),
    )
}
"""All families by the name of their shape; orders of one family follow each other."""


def family(name: str) -> Family:
    """Return a family by name."""
    if name not in FAMILIES:
        raise InputError(f"There is no background family {name!r}.{nearest(name, FAMILIES)}")
    return FAMILIES[name]


def by_kind(names: Iterable[str]) -> dict[str, list[str]]:
    """Return names of families by kind, from few parameters to many."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(family(name).kind, []).append(name)
    return {kind: sorted(own, key=lambda name: len(family(name).parameters)) for kind, own in kinds.items()}
