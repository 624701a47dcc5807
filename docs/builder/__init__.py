"""Builds the documentation's site from the pages, the notebooks and the package: `make docs`.

    pages           which files of the repository are pages, and their links
    notebooks       the notebooks, executed
    reference       the pages of the public names, from each module's ``__all__``
    configuration   the page of af_kit.yaml
    commands        the page of the command line
    site            all of them, in one folder, for Sphinx
    check           links, anchors and pictures of the built site

Extensions of Sphinx, listed in conf.py:

    names           single-backtick names in docstrings become links
    formulas        LaTeX formulas become SVG, without a network
    flowcharts      Mermaid's flowcharts become SVG, without a network
"""
