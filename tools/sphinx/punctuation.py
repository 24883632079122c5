"""Sphinx extension: a formula among words keeps the comma behind it on its line.

A typeset formula is a box to the browser, which may break the line at its edge.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

CLOSING = re.compile(r"[.,;:!?)\]’”'\"]+|-[a-z]+\b")  # also the rest of a word: $k$-th


class KeepPunctuation(SphinxPostTransform):
    """Put a formula and the closing signs behind it into one span that does not break."""

    default_priority = 6  # after the symbols are marked
    formats = ("html",)

    def run(self, **kwargs) -> None:
        """Change the page that is about to be written."""
        keep_together(self.document)


def keep_together(document: nodes.Element) -> None:
    """Wrap each formula that closing signs follow, with its mark as a symbol if it has one."""
    for formula in list(document.findall(nodes.math)):
        parent = formula.parent
        box = parent if "symbol" in parent.get("classes", ()) else formula
        line = box.parent
        place = line.index(box)
        text = line[place + 1] if place + 1 < len(line) else None
        signs = CLOSING.match(text.astext()) if isinstance(text, nodes.Text) else None
        if not signs:
            continue
        together = nodes.inline("", "", box, nodes.Text(signs[0]), classes=["together"])
        line[place] = together
        line[place + 1] = nodes.Text(text.astext()[signs.end() :])


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx."""
    app.add_post_transform(KeepPunctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
