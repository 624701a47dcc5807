"""Compare the yields of the eras, normalised to their luminosities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from af_kit.analysis.dsphipi.fit import fit
from af_kit.analysis.fit.goodness import Goodness
from af_kit.analysis.fit.result import FitResult, Measured
from af_kit.errors import FitError, InputError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Eras:
    """Yields per 1/fb, and the test that they are all equal.

    The errors are statistical; they do not include that of the luminosity, which is a few per cent and mostly common to
    all eras.
    """

    fits: Mapping[str, FitResult]
    lumi_ifb: Mapping[str, float]
    component: str = "ds"

    @property
    def normalised(self) -> dict[str, Measured]:
        """Yield of each era per 1/fb."""
        yields = {}
        for era, result in self.fits.items():
            measured, lumi = result.yields[self.component], self.lumi_ifb[era]
            yields[era] = Measured(measured.value / lumi, measured.error / lumi)
        return yields

    @property
    def constant(self) -> Measured:
        """Mean of the normalised yields, weighted by their errors."""
        values, weights = self._columns()
        return Measured(float((values * weights).sum() / weights.sum()), float(weights.sum() ** -0.5))

    @property
    def test(self) -> Goodness:
        """Chi2 of the normalised yields with respect to their mean."""
        from scipy.stats import chi2

        values, weights = self._columns()
        statistic, ndof = float((weights * (values - self.constant.value) ** 2).sum()), len(values) - 1
        return Goodness("constant", statistic, ndof, float(chi2.sf(statistic, ndof)) if ndof else 1.0)

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        values, errors = np.array([measured[:2] for measured in self.normalised.values()]).T
        return values, errors**-2

    @property
    def table(self) -> pd.DataFrame:
        """Luminosity, yield and yield per 1/fb of each era."""
        import pandas as pd

        rows = {
            era: {
                "luminosity [1/fb]": self.lumi_ifb[era],
                "yield": result.yields[self.component].value,
                "error": result.yields[self.component].error,
                "yield per 1/fb": self.normalised[era].value,
                "error per 1/fb": self.normalised[era].error,
            }
            for era, result in self.fits.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def draw(self, metadata: Mapping[str, Any] | None = None) -> Figure:
        """Draw the normalised yields and their mean."""
        from af_kit.analysis import style

        figure, axes = style.subplots(size=(10, 7), metadata=metadata)
        x = np.arange(len(self.fits))
        values, errors = np.array([measured[:2] for measured in self.normalised.values()]).T
        mean, test = self.constant, self.test
        axes.axhspan(mean.value - mean.error, mean.value + mean.error, color="#3f90da", alpha=0.3, linewidth=0)
        axes.axhline(mean.value, color="#3f90da", label=f"mean: {mean}".replace("+-", r"$\pm$"))
        axes.errorbar(x, values, errors, fmt="o", color="black", markersize=8, label="data")
        reach = 1.2 * max(np.max(np.abs(values - mean.value) + errors), 0.1 * mean.value)
        axes.set(xlim=(-0.5, len(x) - 0.5), ylim=(mean.value - reach, mean.value + 1.7 * reach))
        axes.set_xticks(x, list(self.fits))
        axes.tick_params(axis="x", which="minor", bottom=False, top=False)
        axes.set_ylabel(r"Yield per $\mathrm{fb}^{-1}$")
        title = f"$\\chi^2$ / ndof = {test.statistic:.1f} / {test.ndof}, p = {test.p_value:.2g}"
        axes.legend(loc="upper right", title=title, fontsize="small", title_fontsize="small")
        style.place_axes(figure)
        return figure


def fit_eras(spectra: Mapping[str, Any], lumi_ifb: Mapping[str, float], *, shape: FitResult) -> Eras:
    """Fit each era with only the yields free; peaks and slope are those of the fit to all eras.

    Parameters
    ----------
    spectra
        Era to spectrum, in any form that :func:`~af_kit.analysis.dsphipi.fit.fit` takes.
    lumi_ifb
        Era to luminosity, 1/fb.
    shape
        The fit of all eras together.

    Raises
    ------
    FitError
        If the fit of an era is not valid; it names the era.
    """
    if missing := [era for era in spectra if not lumi_ifb.get(era, 0) > 0]:
        raise InputError(f"The luminosity is unknown for {', '.join(missing)}.{nearest(missing[0], lumi_ifb)}")
    yields = {component.yield_name for component in shape.model.components}
    fixed = {name: value for name, value in shape.values.items() if name not in yields}
    fits = {}
    for era, spectrum in spectra.items():
        try:
            fits[era] = fit(spectrum, tails={name: fixed[name] for name in ("alpha", "n")}, fixed=fixed, minos=False)
        except FitError as error:
            raise FitError(
                f"{era}: {error}", reasons=error.reasons, at_limit=error.at_limit, status=error.status
            ) from error
    return Eras(fits, {era: float(lumi_ifb[era]) for era in spectra})
