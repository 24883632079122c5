"""Sphinx extension: mathematics without a network.

sphinx-mathjax-offline brings MathJax, but as an extension it copies all 24 MB of it.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx

SCRIPT = "tex-chtml.js"
FONTS = "output/chtml/fonts/woff-v2"
RARE = "input/tex/extensions"  # commands such as \\boldsymbol, loaded by a page that has one


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy the script, the extensions and the fonts of MathJax that the pages load (2 MB)."""
    if exception is not None or app.builder.name != "html":
        return
    source = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for folder in (FONTS, RARE):
        shutil.copytree(source / folder, target / folder, dirs_exist_ok=True)
    shutil.copy2(source / SCRIPT, target / SCRIPT)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx."""
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
