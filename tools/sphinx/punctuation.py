"""Sphinx extension: what belongs together stays on a line.

A formula keeps the comma behind it and its bracket, a number its sign of per cent.

A typeset formula is a box to the browser, which may break the line at its edge.
"""

import re
from collections.abc import Callable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

OPENING = re.compile(r"[(\[“‘]+$")
PER_CENT = re.compile(r"(?<=\d) %")
CLOSING = re.compile(r"[.,;:!?)\]’”'\"]+|-[a-z]+\b")  # also the rest of a word: $k$-th


class KeepPunctuation(SphinxPostTransform):
    """Put a formula and the signs at its edges into one span that does not break."""

    default_priority = 6  # after the symbols are marked
    formats = ("html",)

    def run(self, **kwargs) -> None:
        """Change the page that is about to be written."""
        keep_together(self.document)
        keep_per_cent(self.document)


def keep_together(document: nodes.Element) -> None:
    """Wrap each formula that signs touch, with its mark as a symbol if it has one."""
    for formula in list(document.findall(nodes.math)):
        parent = formula.parent
        box = parent if "symbol" in parent.get("classes", ()) else formula
        line = box.parent
        place = line.index(box)
        before = signs(OPENING.search, line[place - 1] if place else None)
        behind = signs(CLOSING.match, line[place + 1] if place + 1 < len(line) else None)
        if not before and not behind:
            continue
        together = nodes.inline("", "", classes=["together"])
        line[place] = together
        if before:
            text = line[place - 1].astext()
            line[place - 1] = nodes.Text(text[: len(text) - len(before)])
            together += nodes.Text(before)
        together += box
        if behind:
            line[place + 1] = nodes.Text(line[place + 1].astext()[len(behind) :])
            together += nodes.Text(behind)


def keep_per_cent(document: nodes.Element) -> None:
    """Part a number from its sign of per cent by a space that does not break."""
    for text in list(document.findall(nodes.Text)):
        line = text.parent
        if " %" not in text or not isinstance(line, nodes.TextElement) or is_code(line):
            continue
        place = line.index(text)
        before = line[place - 1].astext() if place else ""
        kept = PER_CENT.sub("\N{NO-BREAK SPACE}%", text)
        if before[-1:].isdigit() and text.startswith(" %"):  # a number that a cell has pasted
            kept = "\N{NO-BREAK SPACE}" + kept[1:]
        line[place] = nodes.Text(kept)


def is_code(node: nodes.Element) -> bool:
    """Whether a node is code or a formula, whose spaces have a meaning of their own."""
    return isinstance(node, nodes.literal | nodes.FixedTextElement | nodes.math | nodes.raw)


def signs(find: Callable[[str], re.Match | None], text: nodes.Node | None) -> str:
    """The signs at an edge of what stands beside a formula."""
    found = find(text.astext()) if isinstance(text, nodes.Text) else None
    return found[0] if found else ""


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx."""
    app.add_post_transform(KeepPunctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
