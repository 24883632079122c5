"""Execute the chapters and store their code cells with outputs as records for the tests.

Usage: ``python -m tools.bless [chapter ...]`` (``make bless``).
A record holds what is compared and nothing that changes from run to run: no prose, timings,
cell ids, images (the mark ``<svg>`` or ``<png>`` stands for one), or data that a cell puts into the
page for a live figure (``<data>``; the tests in a browser compare them).
"""

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.environment import settle
from tools.outputs import notebook_problems

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
RECORDS = ROOT / "tests" / "reference"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
TIMEOUT = 300  # seconds for a cell, as in _config.yml

_SVG = re.compile(r"\s*(<\?xml.*)?<svg[\s>]", re.DOTALL)
_DATA = re.compile(r"\s*<script type=\"application/json\"")
_BASE64 = re.compile(r"[A-Za-z0-9+/\n]{200,}={0,2}\n?")  # without blanks, which a table has


def chapters() -> list[Path]:
    """All chapters that hold code cells, in alphabetical order."""
    return [path for path in sorted(CHAPTERS.glob("*.md")) if chapter_cells(path)]


def record_path(chapter: Path) -> Path:
    """The record that belongs to a chapter."""
    return RECORDS / f"{chapter.stem}.ipynb"


def chapter_cells(chapter: Path) -> list[NotebookNode]:
    """The non-empty code cells of a chapter, without outputs."""
    if "{code-cell}" not in chapter.read_text(encoding="utf-8"):
        return []
    notebook = jupytext.read(chapter, fmt="md:myst")
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def image_mark(text: str) -> str:
    """A short mark in place of an image or of a page's data; any other text unchanged."""
    if text in {"<svg>", "<png>", "<data>"}:
        return text
    if _DATA.match(text):
        return "<data>"
    if _SVG.match(text):
        return "<svg>"
    return "<png>" if _BASE64.fullmatch(text) else text


def _merged(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    # How a kernel cuts its stream into messages changes from run to run.
    text = ""
    for output in outputs:
        if output.output_type == "stream" and output.name == "stdout":
            text += output.text
            continue
        if text:
            yield nbformat.v4.new_output("stream", name="stdout", text=text)
            text = ""
        yield output
    if text:
        yield nbformat.v4.new_output("stream", name="stdout", text=text)


def _stable(output: NotebookNode) -> NotebookNode:
    if output.output_type == "stream":
        return output
    output.metadata = {}
    output.data = {
        kind: image_mark(value) if isinstance(value, str) else value
        for kind, value in output.data.items()
    }
    return output


def stable_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Of the outputs of a cell, what a record holds."""
    return [_stable(output) for output in _merged(outputs)]


def bless(chapter: Path) -> Path:
    """Execute a chapter's code cells and write its record."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    notebook.nbformat_minor = 4  # the last format without cell ids, which are random
    for cell in chapter_cells(chapter):
        fresh = nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata)
        del fresh["id"]
        notebook.cells.append(fresh)
    resources = {"metadata": {"path": str(CHAPTERS)}}
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources, record_timing=False
    )
    with suppress(CellExecutionError):  # its output is among the problems
        client.execute()
    if problems := notebook_problems(notebook):
        raise ValueError("\n".join(f"{chapter.name}, {problem}" for problem in problems))
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
        cell.outputs = stable_outputs(cell.outputs)
    notebook.metadata = {"kernelspec": KERNEL}
    target = record_path(chapter)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return target


def main(names: list[str]) -> int:
    """Bless the named chapters, or all; then drop records that have lost their chapter."""
    known = {path.stem: path for path in chapters()}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no chapter with code cells: {', '.join(unknown)}; known: {', '.join(known)}")
        return 1
    settle()
    for name in names or known:
        try:
            print(f"blessed {bless(known[name]).relative_to(ROOT)}", flush=True)
        except ValueError as problems:
            print(f"not blessed:\n{problems}")
            return 1
    for stale in RECORDS.glob("*.ipynb"):
        if stale.stem not in known:
            stale.unlink()
            print(f"removed {stale.relative_to(ROOT)}: no such chapter")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
