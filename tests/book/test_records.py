"""The executed records are in step with the chapters and can catch every changed digit."""

import ast
import os
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import nbformat
import pytest

from tools.bless import KERNEL, RECORDS, ROOT, chapter_cells, chapters, image_mark, record_path
from tools.compare import DECIMAL, NumericText

REMEDY = "run `make bless` and look at the difference before committing it"
SHOWING = {"display", "glue", "print", "show"}

for_each_chapter = pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)


def record_cells(chapter: Path) -> list[nbformat.NotebookNode]:
    path = record_path(chapter)
    assert path.exists(), f"{chapter.name} has no executed record: {REMEDY}"
    return nbformat.read(path, as_version=4).cells


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """All text that the outputs of a cell hold."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {"text": output.get("text", "")})
        found.extend(value for value in data.values() if isinstance(value, str))
    return found


def shows(source: str) -> bool:
    """Whether a cell prints, displays or glues something outside of its own functions."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return False
    calls = (
        node.func
        for statement in statements
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
    )
    return any(getattr(f, "id", getattr(f, "attr", "")) in SHOWING for f in calls)


@for_each_chapter
def test_record_code_equals_chapter_code(chapter):
    stored, now = record_cells(chapter), chapter_cells(chapter)
    if [cell.source for cell in stored] != [cell.source for cell in now]:
        lines = ("\n\n".join(cell.source for cell in cells).split("\n") for cells in (stored, now))
        change = "\n".join(unified_diff(*lines, "stored", "chapter", lineterm="", n=0))
        pytest.fail(
            f"the code of {chapter.name} has changed since its record was made: {REMEDY}\n"
            f"{change or 'code moved from one cell to another'}",
            pytrace=False,
        )


@for_each_chapter
def test_record_has_been_executed(chapter):
    cells = record_cells(chapter)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), (
        f"the record of {chapter.name} holds cells that were never run: {REMEDY}"
    )


@for_each_chapter
def test_record_holds_what_the_cells_show(chapter):
    silent = [c.source for c in record_cells(chapter) if shows(c.source) and not c.outputs]
    assert not silent, f"cells of {chapter.name} that show something have no output: {REMEDY}"


@for_each_chapter
def test_record_holds_no_failure(chapter):
    for cell in record_cells(chapter):
        for output in cell.outputs:
            assert output.output_type != "error", output
            assert output.get("name") != "stderr", output


@for_each_chapter
def test_glued_values_read_as_numbers(chapter):
    """The prose shows what a value prints as: ``np.float64(1.17)`` is no number to a reader."""
    key = "application/papermill.record/text/plain"
    shown = [o.data.get(key, "") for c in record_cells(chapter) for o in c.outputs if "data" in o]
    odd = [text for text in shown if "np." in text]
    assert not odd, f"glue {odd} as text, f'{{value:.2f}}', or as int(value)"


@for_each_chapter
def test_every_printed_digit_is_compared(chapter):
    for cell in record_cells(chapter):
        for number in (n for text in texts(cell) for n in DECIMAL.findall(text)):
            digits = significant_digits(number)
            assert digits <= 6, f"{number} has more digits than are compared: print it rounded"
            noise = 0 < abs(float(number)) < 1e-11 and digits > 1
            assert not noise, f"{number} is rounding noise: print a comparison with a bound"


def significant_digits(number: str) -> int:
    mantissa = number.lower().split("e")[0].lstrip("+-").replace(".", "")
    return len(mantissa.strip("0"))


KERNEL_CELLS = [  # their code, and what a record says that they print
    ("print(1 / 3)", "0.3333333333333"),
    ("import os; print(os.path.basename(os.getcwd()))", "chapters"),
    ("print(0.5)", "0.500001"),
]


def test_the_execution_of_records_sees_a_changed_digit(tmp_path):
    """Beside the chapters, rounding forgiven: the last cell alone is found to have changed."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    for count, (code, text) in enumerate(KERNEL_CELLS, start=1):
        printed = nbformat.v4.new_output("stream", name="stdout", text=f"{text}\n")
        cell = nbformat.v4.new_code_cell(code, outputs=[printed], execution_count=count)
        notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "record.ipynb")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "conftest", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "1 failed, 2 passed" in result.stdout, result.stdout + result.stderr
    assert "Cell 2" in result.stdout


def test_no_record_without_its_chapter():
    known = {record_path(chapter) for chapter in chapters()}
    assert set(RECORDS.glob("*.ipynb")) <= known, REMEDY


@pytest.mark.parametrize(
    ("record", "computed", "equal"),
    [
        ("half at 1.9001", "half at 1.9001", True),
        ("half at 1.9001", "half at 1.9002", False),
        ("0.999999", "0.999998", False),  # the smallest change in six digits
        ("0.12345678", "0.12345679", True),
        ("-0.0000", "0.0000", True),
        ("[1. 2.5e-3]", "[1. 2.50000001e-3]", True),
        ("1.5e-10", "1.6e-10", False),
        ("12 seeds", "13 seeds", False),
        ("version 1.2.3", "version 1.2.4", False),
        ("a 0.5", "b 0.5", False),
        ("0.5", "0.5 0.5", False),
        ("0.5", "0,5", False),
        ("nan", "0.5", False),
    ],
)
def test_tolerance_of_the_comparison(record, computed, equal):
    assert (NumericText(record) == NumericText(computed)) is equal
    assert (NumericText(record) != NumericText(computed)) is not equal


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ('<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="1">', "<svg>"),
        ("<svg xmlns='x'></svg>", "<svg>"),
        ('<script type="application/json" id="a">{"t": [1]}</script>', "<data>"),
        ("iVBORw0KGgo" * 40 + "=\n", "<png>"),
        ("<svg>", "<svg>"),
        ("half at 1.9001", "half at 1.9001"),
        ("0" * 50, "0" * 50),
    ],
)
def test_images_are_marked_and_text_is_kept(text, mark):
    assert image_mark(text) == mark


@pytest.mark.parametrize(
    ("number", "digits"), [("0.0012", 2), ("-1.50e-3", 2), ("123.4560", 6), ("0.0", 0), ("7e3", 1)]
)
def test_significant_digits(number, digits):
    assert significant_digits(number) == digits
