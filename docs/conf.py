# Settings of Sphinx: `make docs` writes docs/_build/html, `make check` builds elsewhere with -W.

project = "raftkit"
author = "the raftkit authors"
copyright = "2026, the raftkit authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib_trio"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "raftkit"
nitpicky = True
