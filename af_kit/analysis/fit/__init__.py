"""Fits of one-dimensional spectra: extended likelihoods, binned or unbinned, by Minuit.

    Component, Model   the model: shapes with a yield each, on a range
    as_data            a histogram or a list of values, with or without weights
    prefit             starting values from fits in windows
    fit                the fit: returns a FitResult, or raises a FitError if it is not valid
    FitResult          values, errors, covariance, tests of goodness; written and read as JSON
    toys               fits of pseudo-data, to test the errors
    draw_fit           data, total, components and pulls

A search for a signal of known shape over smooth backgrounds, in several categories:

    FAMILIES, family                  background families: shapes with starting values and limits
    Simultaneous, fit_simultaneous    several spectra with parameters in common
    Category, choose                  a spectrum with its signal; the families that describe its sidebands
    envelope                          the strength, with the choice of the family as an uncertainty
    significance, upper_limit, asimov asymptotic tests of the strength, and expected data
    strength_toys, bias_table         toys drawn from one family and fitted with another

:mod:`af_kit.analysis.dsphipi.fit` and :mod:`af_kit.analysis.hmumu.shape_fit` are examples of use.
"""

from af_kit.analysis.fit.bias import bias_table, kinds, strength_pull, strength_toys
from af_kit.analysis.fit.choice import Candidate, Sidebands, choose
from af_kit.analysis.fit.data import Binned, Unbinned, as_data
from af_kit.analysis.fit.draw import draw_fit
from af_kit.analysis.fit.envelope import Envelope, envelope
from af_kit.analysis.fit.families import FAMILIES, Family, family
from af_kit.analysis.fit.goodness import Goodness
from af_kit.analysis.fit.minimise import fit, prefit
from af_kit.analysis.fit.model import Component, Model
from af_kit.analysis.fit.result import FitResult, Measured
from af_kit.analysis.fit.search import Category
from af_kit.analysis.fit.shapes import SHAPES, Shape
from af_kit.analysis.fit.simultaneous import Simultaneous, SimultaneousFit, fit_simultaneous
from af_kit.analysis.fit.strength import Limit, Significance, asimov, significance, upper_limit
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
    "FAMILIES",
    "Family",
    "family",
    "Simultaneous",
    "SimultaneousFit",
    "fit_simultaneous",
    "Category",
    "Candidate",
    "Sidebands",
    "choose",
    "Envelope",
    "envelope",
    "Limit",
    "Significance",
    "significance",
    "upper_limit",
    "asimov",
    "kinds",
    "strength_pull",
    "strength_toys",
    "bias_table",
]
