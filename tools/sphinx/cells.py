"""Sphinx extension: folded cells that follow each other have one fold.

Code of a page is folded cell by cell, and a picture may need several cells.  A reader of the page
sees one line for all of them; what is in it, and its order, stays.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

CODE, SOURCE = "cell_code", "cell_code_source"


class JoinFolds(SphinxPostTransform):
    """Join the folds of the page that is about to be written."""

    default_priority = 190  # before myst-nb folds
    formats = ("html",)

    def run(self, **kwargs) -> None:
        """Change the page."""
        join_folds(self.document)


def join_folds(document: nodes.Element) -> None:
    """Move the code of a folded cell that shows nothing into the folded cell behind it.

    Cells that are folded with what they show join as well.
    """
    for cell in list(document.findall(nodes.container)):
        after = cell.next_node(descend=False, siblings=True)
        if not (is_folded(cell) and is_folded(after)):
            continue
        if shows_nothing(cell):
            after[0][:] = [*cell[0].children, *after[0].children]
        elif cell["hide_mode"] == after["hide_mode"] == "all":
            after[:] = [*cell.children, *after.children]
        else:
            continue
        after["ids"] += cell["ids"]
        cell.parent.remove(cell)


def is_folded(node: nodes.Node | None) -> bool:
    """Whether a node is a cell of which all, or the code, is folded."""
    return (
        isinstance(node, nodes.container)
        and node.get("nb_element") == CODE
        and node.get("hide_mode") in ("all", "input")
        and len(node) > 0
        and node[0].get("nb_element") == SOURCE
    )


def shows_nothing(cell: nodes.container) -> bool:
    """Whether a cell has code alone."""
    return all(not part.children for part in cell[1:])


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx."""
    app.add_post_transform(JoinFolds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
