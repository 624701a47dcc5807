"""Fits of one-dimensional spectra: extended likelihoods, binned or unbinned, by Minuit.

    Component, Model   the model: shapes with a yield each, on a range
    as_data            a histogram or a list of values, with or without weights
    prefit             starting values from fits in windows
    fit                the fit: returns a FitResult, or raises a FitError if it is not valid
    FitResult          values, errors, covariance, tests of goodness; written and read as JSON
    toys               fits of pseudo-data, to test the errors
    draw_fit           data, total, components and pulls

:mod:`af_kit.analysis.dsphipi.fit` is an example of use.
"""

from af_kit.analysis.fit.data import Binned, Unbinned, as_data
from af_kit.analysis.fit.draw import draw_fit
from af_kit.analysis.fit.goodness import Goodness
from af_kit.analysis.fit.minimise import fit, prefit
from af_kit.analysis.fit.model import Component, Model
from af_kit.analysis.fit.result import FitResult, Measured
from af_kit.analysis.fit.shapes import SHAPES, Shape
from af_kit.analysis.fit.toys import Toys, toys

__all__ = [
    "Component",
    "Model",
    "Shape",
    "SHAPES",
    "Binned",
    "Unbinned",
    "as_data",
    "prefit",
    "fit",
    "FitResult",
    "Measured",
    "Goodness",
    "Toys",
    "toys",
    "draw_fit",
]
