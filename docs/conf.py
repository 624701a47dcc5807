"""Configuration of Sphinx. `make docs` builds the site: see builder/."""

import af_kit

project = "af-kit"
author = "the af-kit developers"
copyright = author
version = release = af_kit.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",  # required by numpydoc
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "builder.names",
    "builder.formulas",
    "builder.flowcharts",
]
exclude_patterns = ["pictures"]
root_doc = "index"
nitpicky = True
suppress_warnings = ["config.cache"]

# Markdown, as a forge shows it
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
myst_dmath_allow_space = False  # a price of $5, or $HOME and $PATH in one line, are no formula
myst_dmath_allow_digits = False

# Notebooks are executed by builder/notebooks.py. Widgets need a network to be shown: use what stands for them.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

# Docstrings
autodoc_typehints = "none"  # the types are in the sections of the docstring
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
toc_object_entries_show_parents = "hide"
add_module_names = False
python_display_short_literal_types = True

highlight_language = "none"  # blocks without a language are commands and what they print; Python's say so

html_theme = "furo"
html_title = "af-kit"
html_static_path = ["_static"]
html_css_files = ["af-kit.css"]
html_math_renderer = "svg"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "tango"
pygments_dark_style = "github-dark"
html_theme_options = {
    "sidebar_hide_name": False,
    "light_css_variables": {"color-brand-primary": "#0b6e99", "color-brand-content": "#0b6e99"},
    "dark_css_variables": {"color-brand-primary": "#5cc8f2", "color-brand-content": "#5cc8f2"},
}
copybutton_exclude = ".linenos, .gp, .go"
