"""The shape fit: the signal strength of H -> mu mu from the dimuon mass of four channels at once.

The signal of each channel is a double-sided Crystal Ball whose shape and yield are those of simulation; the backgrounds
are smooth functions, fitted to the data, with the envelope over several families. Errors are statistical.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis.fit.bias import bias_table, strength_toys
from af_kit.analysis.fit.choice import Candidate, Sidebands, background_fit, choose
from af_kit.analysis.fit.data import Binned, Unbinned
from af_kit.analysis.fit.envelope import PENALTY, Envelope, envelope
from af_kit.analysis.fit.families import family
from af_kit.analysis.fit.result import Measured
from af_kit.analysis.fit.search import STRENGTH, Category
from af_kit.analysis.fit.strength import Limit, Significance, asimov, at_strength, significance, upper_limit
from af_kit.analysis.fit.toys import Toys
from af_kit.analysis.hmumu.plot import BLIND
from af_kit.analysis.hmumu.shape_rows import CHANNELS, WINDOW, Masses, read_masses
from af_kit.analysis.hmumu.shape_signal import EFFECTIVE, Signal, fit_signals
from af_kit.display.tables import fold, items, lines, panel, table
from af_kit.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FAMILIES", "ShapeFit", "fit_shapes", "shape_bias", "shape_toys"]

FAMILIES = (
    "bwz_redux", "bwz_exponential", "bwz_photon", "exponential", "exponentials2", "exponentials3", "powers1", "powers2",
    "bernstein1", "bernstein2", "bernstein3", "bernstein4", "bernstein5",
)  # fmt: skip
"""The background families that are tried. Chebyshev polynomials are the same functions as Bernstein polynomials."""


@dataclass(frozen=True, eq=False, repr=False)
class ShapeFit:
    """A valid shape fit of all channels.

    Attributes
    ----------
    strength
        Signal in units of the expected one; parabolic error (Hesse, families of the minimum), and lower and upper error
        from the envelope over the families. If ``blind``, it is that of the expected data with strength 1.
    minos
        Lower (negative) and upper error from Minos, with the families of the minimum only.
    significance, expected_significance
        Of the fitted data, and of the expected data with strength 1.
    limit
        Upper limits on the strength, CLs at 95 %.
    families
        The background family of each channel at the minimum.
    categories
        Data, signal and chosen families of each channel.
    candidates
        All families that were tried, with the reasons of those that were not chosen.
    signals
        The fits to the simulated signal.
    observed
        The data in bins, or the pseudo-data from simulation; if ``blind``, only the sidebands may be looked at.
    data
        "observed" or "simulation".
    blind
        Whether the fit is of expected data, from the sidebands of ``observed`` and strength 1.
    envelope
        The likelihood profile and the fit.
    notes
        What was done about empty or negative bins, few events, and channels that were left out.
    lumi_ifb
        Luminosity of the expected events; None if unknown.
    """

    strength: Measured
    minos: tuple[float, float]
    significance: Significance
    expected_significance: Significance
    limit: Limit
    families: Mapping[str, str]
    categories: Mapping[str, Category]
    candidates: Mapping[str, tuple[Candidate, ...]]
    signals: Mapping[str, Signal]
    observed: Mapping[str, Binned]
    data: str
    blind: bool
    envelope: Envelope
    notes: tuple[str, ...]
    lumi_ifb: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "valid": True,
            "data": self.data,
            "blind": self.blind,
            "uncertainties": "statistical",
            "lumi_ifb": self.lumi_ifb,
            "strength": self.strength._asdict(),
            "minos": list(self.minos),
            "significance": self.significance._asdict(),
            "expected_significance": self.expected_significance._asdict(),
            "limit": {**self.limit._asdict(), "expected": list(self.limit.expected)},
            "families": dict(self.families),
            "penalty_per_parameter": PENALTY,
            "candidates": [one._asdict() for own in self.candidates.values() for one in own],
            "dropped": {name: dict(own) for name, own in self.envelope.dropped.items()},
            "signals": {
                name: {"expected": one.expected, "error": one.error, "shape": one.fit.to_dict()}
                for name, one in self.signals.items()
            },
            "fit": self.envelope.fit.to_dict(),
            "scan": {
                "strength": self.envelope.nodes.tolist(),
                "minus_twice_log_likelihood": {
                    name: {one: curve.tolist() for one, curve in own.items()}
                    for name, own in self.envelope.curves.items()
                },
            },
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<ShapeFit: strength {self.strength}, {self._kind()}>"

    def _kind(self) -> str:
        return "expected" if self.blind else "observed" if self.data == "observed" else "pseudo-data"

    def _repr_html_(self) -> str:
        limit, channels = self.limit, []
        for name, chosen in self.families.items():
            signal = f"{self.signals[name].expected:.1f} +- {self.signals[name].error:.1f}"
            others = ", ".join(family(one).label for one in self.categories[name].families if one != chosen)
            channels.append((name, signal, family(chosen).label, others))
        bands = f"expected {limit.expected[2]:.2f}, 68 % band {limit.expected[1]:.2f} to {limit.expected[3]:.2f}"
        results = [
            ("strength", f"{self.strength}; {self.minos[0]:+.2f} {self.minos[1]:+.2f} with these backgrounds only"),
            (
                "significance",
                f"{self.significance.sigma:.2f} sigma (expected {self.expected_significance.sigma:.2f})",
            ),
            (
                f"upper limit, {100 * limit.level:g} % CL",
                bands if limit.observed is None else f"{limit.observed:.2f} ({bands})",
            ),
        ]
        return panel(
            f"H -> mu mu, shape fit: {self._kind()}, statistical errors only",
            items(results),
            table(channels, head=("channel", "expected signal", "background", "also in the envelope"), numbers=(1,)),
            *([fold("notes", lines(self.notes))] if self.notes else []),
        )

    def __str__(self) -> str:
        kind = self._kind()
        limit = self.limit.expected[2] if self.limit.observed is None else self.limit.observed
        lines = [
            f"{kind}: strength {self.strength}, {self.significance.sigma:.2f} sigma "
            f"(expected {self.expected_significance.sigma:.2f}), below {limit:.2f} at 95 % CL "
            f"(expected {self.limit.expected[2]:.2f})",
            *(f"  {name}: {family(one).label}" for name, one in self.families.items()),
            *self.notes,
        ]
        return "\n".join(lines)


def fit_shapes(
    candidates: Any,
    *,
    normalisation: Any = None,
    data: str = "observed",
    blind: bool | None = None,
    families: Iterable[str] = FAMILIES,
    channels: Iterable[str] = CHANNELS,
    bins: int | None = 160,
    strength: float = 1.0,
    seed: int | None = 1,
    lumi_ifb: float | None = None,
) -> ShapeFit:
    """Fit the signal strength to the dimuon mass from 110 to 150 GeV in all channels at once.

    Families and orders of the backgrounds are chosen in the sidebands, without 120 to 130 GeV
    (:mod:`af_kit.analysis.fit.choice`); the strength is that of the envelope over the chosen ones
    (:mod:`af_kit.analysis.fit.envelope`).

    Parameters
    ----------
    candidates, normalisation
        As for :func:`~af_kit.analysis.hmumu.shape_rows.read_masses`: a result, its folder, or rows with the
        normalisation.
    data
        "observed": fit the data. "simulation": fit pseudo-data, drawn from a smooth function that is fitted to the
        simulated background, and the simulated signal.
    blind
        Do not use data from 120 to 130 GeV: the backgrounds are fitted to the sidebands, and the fit is of the expected
        data with strength 1. None: for observed data.
    families, channels
        Background families to try; channels to fit.
    bins
        Number of bins; None: unbinned. The choice of families is always in bins.
    strength, seed
        Of the pseudo-data from simulation: their true strength, and the seed of their Poisson fluctuations; None: no
        fluctuations, each bin has the expected number of events.
    lumi_ifb
        Luminosity of the pseudo-data [1/fb]; None: that to which the simulation is normalised.

    Returns
    -------
    ShapeFit

    Raises
    ------
    FitError
        No family describes a channel, or a fit is not valid.
    InputError
        There is no simulated signal, or a name is not known.
    """
    if data not in ("observed", "simulation"):
        raise InputError(f"data={data!r} is not known.{nearest(data, ('observed', 'simulation'))}")
    blind = data == "observed" if blind is None else blind
    families, channels = tuple(families), tuple(channels)
    for name in channels:
        if name not in CHANNELS:
            raise InputError(f"{name!r} is not a channel of the shape fit.{nearest(name, CHANNELS)}")
    masses, normalised_to = read_masses(candidates, normalisation=normalisation)
    if lumi_ifb is not None:
        if data == "observed" or normalised_to is None:
            raise InputError(
                "lumi_ifb is the luminosity of pseudo-data: pass data='simulation', and a normalisation with one "
                "luminosity for all datasets."
            )
        masses = {name: one.scaled(lumi_ifb / normalised_to) for name, one in masses.items()}
    edges = np.linspace(*WINDOW, (bins or 400) + 1)
    notes: list[str] = []
    signals = fit_signals({name: masses[name] for name in channels}, notes)
    samples: dict[str, Binned | Unbinned]
    if data == "observed":
        samples = {name: _observed(name, masses[name], None if bins is None or blind else edges) for name in signals}
    else:
        samples = _pseudo_data(masses, signals, families, edges, bins is None, strength, seed, notes)
    observed = {name: one.binned(edges) if isinstance(one, Unbinned) else one for name, one in samples.items()}
    choices = {name: choose(name, one, families, window=WINDOW, exclude=BLIND) for name, one in observed.items()}
    categories = {
        name: one.category(name, observed[name] if blind else samples[name], tuple(choices[name].fits))
        for name, one in signals.items()
    }
    if blind:
        categories = _expected(categories, choices, 1.0)
    return _measured(categories, choices, signals, observed, data, blind, tuple(notes), lumi_ifb or normalised_to)


def _measured(
    categories: Mapping[str, Category],
    choices: Mapping[str, Sidebands],
    signals: Mapping[str, Signal],
    observed: Mapping[str, Binned],
    data: str,
    blind: bool,
    notes: tuple[str, ...],
    lumi_ifb: float | None,
) -> ShapeFit:
    found = envelope(categories)
    start = found.fit.values
    without, with_signal = (
        envelope(asimov(categories, found.families, at_strength(categories, found.families, start, one)), minos=False)
        for one in (0.0, 1.0)
    )
    lower, upper = found.interval()
    return ShapeFit(
        strength=Measured(found.value, found.errors[STRENGTH], lower, upper),
        minos=found.fit.minos[STRENGTH],
        significance=significance(found),
        expected_significance=significance(with_signal),
        limit=upper_limit(without, None if blind else found),
        families=found.families,
        categories=categories,
        candidates={name: one.candidates for name, one in choices.items()},
        signals=signals,
        observed=observed,
        data=data,
        blind=blind,
        envelope=found,
        notes=notes,
        lumi_ifb=lumi_ifb,
    )


def _observed(name: str, masses: Masses, edges: np.ndarray | None) -> Binned | Unbinned:
    if not len(masses.data):
        raise InputError(
            f"There are no data in {name}. Pass data='simulation' to fit pseudo-data, or leave the channel out."
        )
    values = Unbinned(masses.data)
    return values if edges is None else values.binned(edges)


def _pseudo_data(
    masses: Mapping[str, Masses],
    signals: Mapping[str, Signal],
    families: Iterable[str],
    edges: np.ndarray,
    unbinned: bool,
    strength: float,
    seed: int | None,
    notes: list[str],
) -> dict[str, Binned | Unbinned]:
    """Draw pseudo-data: the background is the best family for the simulated one, smooth and positive everywhere."""
    found: dict[str, Binned | Unbinned] = {}
    for number, (name, signal) in enumerate(signals.items()):
        own = masses[name]
        if not own.background_weights.sum() > 0:
            raise InputError(f"There is no simulated background in {name}: leave the channel out.")
        # Bins of 1 GeV: narrower ones have few simulated events, and negative weights.
        simulated, merged = Binned.weighted_sum(
            np.linspace(*WINDOW, 41), own.background, own.background_weights, effective=EFFECTIVE
        )
        if merged:
            notes.append(f"background of {name}: {merged} of 40 bins with few or negative weights were merged")
        best = next(iter(choose(name, simulated, families, window=WINDOW, exclude=None, goodness=0).fits))
        values = background_fit(name, simulated, best, window=WINDOW, exclude=None).values
        category = signal.category(name, simulated, (best,))
        model = category.model(best)
        ordered = model.ordered({**values, **category.shape, STRENGTH: strength})
        expected = np.diff(model.integral(edges, *ordered))
        if expected.min() < 0:
            raise InputError(f"strength={strength:g} gives a negative number of events in {name}.")
        random = None if seed is None else np.random.default_rng([seed, number])
        counts = expected if random is None else random.poisson(expected).astype(float)
        if unbinned:
            if random is None:
                raise InputError("Unbinned pseudo-data need a seed: pass seed=, or fit in bins.")
            low = np.repeat(edges[:-1], counts.astype(int))
            found[name] = Unbinned(low + random.uniform(size=low.size) * (edges[1] - edges[0]))
        else:
            found[name] = Binned(edges, counts)
    return found


def _expected(
    categories: Mapping[str, Category], choices: Mapping[str, Sidebands], strength: float
) -> dict[str, Category]:
    """Return the categories with expected data: the best fit to the sidebands, and the signal."""
    found = {}
    for name, category in categories.items():
        best, own = next(iter(choices[name].fits.items()))
        values = {**own.values, **category.shape, STRENGTH: strength}
        one = asimov({name: category}, {name: best}, values)[name]
        found[name] = replace(category, data=one.data)
    return found


def shape_toys(
    result: ShapeFit,
    number: int,
    *,
    strength: float = 1.0,
    seed: int,
    generate: str = "bwz_redux",
    fit: str | None = None,
    bins: int | None = 160,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Toys:
    """Draw pseudo-data as expected from a fit, with a true strength, and fit them: are the errors right?

    ``toys.pull("strength", minos=True)`` and ``toys.coverage("strength", minos=True)`` say.

    Parameters
    ----------
    generate, fit
        The kind of background to draw from and to fit with (:func:`~af_kit.analysis.fit.bias.kinds`); "envelope" fits
        with all. By default they are the same.
    executor
        ``client.get_executor()`` of a Dask client; None: this process.
    """
    return strength_toys(
        result.categories,
        number,
        seed=seed,
        strength=strength,
        generate=generate,
        fit=fit,
        bins=bins,
        executor=executor,
        progress=progress,
    )


def shape_bias(result: ShapeFit, number: int, *, seed: int, **options: Any) -> pd.DataFrame:
    """Return the bias for each family that generates and that fits (:func:`~af_kit.analysis.fit.bias.bias_table`)."""
    return bias_table(result.categories, number, seed=seed, **options)
