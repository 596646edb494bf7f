"""Settings of the documentation site: `make site` builds it into build/site, without network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `docs.public_api` is a module of this repository

import fathom

project = "Fathom"
author = "The Fathom developers"
project_copyright = author
release = version = fathom.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docs.public_api"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["Thumbs.db", ".DS_Store"]
default_role = "code"  # docstrings write `name` for code, as Markdown does

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # links to headings, as GitHub makes them
suppress_warnings = ["myst.header"]  # docs/cli.md is written by `make docs`

napoleon_numpy_docstring = False
napoleon_custom_sections = [("Source", "notes_style")]
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

# Types of other projects have no page here, and looking their pages up would need the network.
nitpick_ignore_regex = [("py:.*", r"(?!fathom\.).*"), ("py:.*", r"fathom\..*\.[A-Z]")]  # and type variables

html_theme = "furo"
html_title = f"Fathom {release}"
html_show_copyright = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
