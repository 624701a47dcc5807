"""Formulas as SVG, drawn by matplotlib when the site is built: readers need no network and no JavaScript."""

from __future__ import annotations

import functools
import hashlib
import html
import io
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_SIZE = 12.0  # matplotlib draws at this size, in points; the page gives the size in em, and so follows its text
_COLOUR = "#010203"  # stands for the colour of the text around the formula


@functools.cache
def svg(formula: str) -> str:
    """Return a formula as an SVG element in the colour and the size of the text around it.

    Parameters
    ----------
    formula : str
        What matplotlib's mathtext understands of LaTeX.

    Raises
    ------
    ValueError
        It is not understood.
    """
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser, math_to_image

    # mathtext knows one size of fractions
    text = f"${' '.join(formula.split())}$".replace(r"\tfrac", r"\frac")
    font = FontProperties(size=_SIZE)
    drawn = io.StringIO()
    # The ids of a page's formulas must differ, and must not change from build to build.
    salt = hashlib.sha256(formula.encode()).hexdigest()[:8]
    with mpl.rc_context({"mathtext.fontset": "stix", "svg.hashsalt": salt}):
        depth = MathTextParser("path").parse(text, dpi=72, prop=font).depth
        math_to_image(text, drawn, prop=font, dpi=72, format="svg", color=_COLOUR)
    element = drawn.getvalue()
    attributes = dict(re.findall(r'([\w:]+)="([^"]*)"', element[element.index("<svg") :].partition(">")[0]))
    width, height = (float(attributes[side].removesuffix("pt")) / _SIZE for side in ("width", "height"))
    body = element[element.index("</metadata>") + len("</metadata>") : element.rindex("</svg>")]
    body = re.sub(r'<defs>\s*<style.*?</defs>|<g id="patch_1">.*?</g>', "", body, flags=re.DOTALL)  # the background
    body = re.sub(r'(id="|href="#)', rf"\g<1>{salt}-", body).replace(_COLOUR, "currentColor")
    style = f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{-depth / _SIZE:.3f}em"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(formula)}" style="{style}" '
        f'viewBox="{attributes["viewBox"]}" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{body}</svg>'
    )


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(svg(node.astext()))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula-block">{svg(node.astext())}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_html_math_renderer("svg", (_inline, None), (_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
