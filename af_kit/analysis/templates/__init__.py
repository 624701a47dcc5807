"""Fits of binned templates: a signal strength, with any number of uncertain sources.

In the order of the flow:

    Channel, Process, Shape, Norm, FreeNorm    what a model is made of: templates and their variations
    prepare            merge, smooth, symmetrise and prune templates; whatever is changed is listed (Change)
    TemplateModel      the model: to a pyhf workspace and back
    write_datacard, read_datacard              the same model for CMS Combine
    likelihood         its compiled likelihood (Likelihood); pseudo-data of it (Data)
    fit                the fit: a TemplateFit, or a FitError with its reasons
    significance, upper_limit                  tests of hypotheses (Limit)
    impacts, breakdown the effect of each parameter on the strength; the parts of its error
    toys               fits of pseudo-data, to test strengths and errors
    draw_channel, draw_impacts, draw_pulls, draw_correlation, draw_limit

:mod:`af_kit.analysis.hmumu.templates` is an example of use.
"""

from af_kit.analysis.templates.datacard import read_datacard, write_datacard
from af_kit.analysis.templates.draw import draw_channel, draw_correlation, draw_impacts, draw_limit, draw_pulls
from af_kit.analysis.templates.fit import TemplateFit, fit
from af_kit.analysis.templates.hypotheses import Limit, Significance, significance, upper_limit
from af_kit.analysis.templates.impacts import breakdown, impacts
from af_kit.analysis.templates.likelihood import Data, Likelihood, likelihood
from af_kit.analysis.templates.model import Channel, FreeNorm, Norm, Process, Shape, TemplateModel
from af_kit.analysis.templates.prepare import Change, merged, prepare
from af_kit.analysis.templates.toys import toys

__all__ = [
    "Channel",
    "Process",
    "Shape",
    "Norm",
    "FreeNorm",
    "prepare",
    "merged",
    "Change",
    "TemplateModel",
    "write_datacard",
    "read_datacard",
    "likelihood",
    "Likelihood",
    "Data",
    "fit",
    "TemplateFit",
    "significance",
    "Significance",
    "upper_limit",
    "Limit",
    "impacts",
    "breakdown",
    "toys",
    "draw_channel",
    "draw_impacts",
    "draw_pulls",
    "draw_correlation",
    "draw_limit",
]
