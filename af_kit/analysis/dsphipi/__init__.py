"""Ds -> phi(mu mu) pi, the normalisation channel of the search for tau -> 3 mu: its selection and its mass fit.

fit               the mass spectrum: two peaks over a background; a fit that is not valid raises
fit_simulation    the same with free tails, to simulation: what `fit` then fixes
"""

from af_kit.analysis.dsphipi.fit import fit, fit_simulation

__all__ = ["fit", "fit_simulation"]
