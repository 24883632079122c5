"""What is wrong with the outputs of executed cells, whatever the kernel replied.

A figure that cannot be drawn leaves its traceback among the outputs of a cell that succeeded:
the build, the records and the tests of the records all ask here.
"""

import ast
from collections.abc import Iterator

from nbformat import NotebookNode

TRACEBACK = "Traceback (most recent call last)"
BARE_FIGURE = "<Figure size "  # what stands for a figure where there is no picture of it


def draws(cell: NotebookNode) -> bool:
    """Whether a cell has a figure directive, or shows a figure outside of its own functions."""
    if cell.metadata.get("mystnb", {}).get("figure"):
        return True
    try:
        statements = ast.parse(cell.source).body
    except SyntaxError:  # a magic of IPython
        return False
    return any(
        isinstance(node, ast.Expr) and ast.unparse(node).endswith("plt.show()")
        for node in statements
    )


def cell_problems(cell: NotebookNode) -> Iterator[str]:
    """Each error, each word on stderr, each traceback, and a picture that is missing."""
    pictures = False
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        picture = any(kind.startswith("image/") for kind in data)
        pictures |= picture
        text = "".join([output.get("text", ""), *(t for t in data.values() if isinstance(t, str))])
        if output.output_type == "error":
            yield f"an error: {output.ename}: {output.evalue}"
        elif output.get("name") == "stderr":
            yield f"on stderr: {text.strip()}"
        elif TRACEBACK in text:
            yield f"a traceback: {text.strip().splitlines()[-1]}"
        elif not picture and data.get("text/plain", "").startswith(BARE_FIGURE):
            yield "a figure without its picture"
    if draws(cell) and not pictures:
        yield "a picture is missing"


def notebook_problems(notebook: NotebookNode) -> list[str]:
    """The problems of all code cells, each with the cell's number and the name of its figure."""
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    found = []
    for number, cell in enumerate(code, 1):
        figure = cell.metadata.get("mystnb", {}).get("figure") or {}
        name = f" ({figure['name']})" if figure.get("name") else ""
        found += [f"code cell {number}{name}: {problem}" for problem in cell_problems(cell)]
    return found
