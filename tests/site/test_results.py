"""The build shows what the records hold: the notebooks of the pages, compared with the records.

`make test` executes the records; these tests ask the same of what the build has executed, so that
`make test BUILT=yes` need not do it once more.
"""

import nbformat
import pytest
from visits import HTML

from tools.bless import chapters, record_path, stable_outputs
from tools.compare import NumericText

pytestmark = pytest.mark.browser


def code_cells(path):
    """The code cells of a notebook that are not empty."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def comparable(value):
    """The same outputs, with text that equals another up to rounding."""
    if isinstance(value, dict):
        return {key: comparable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [comparable(part) for part in value]
    return NumericText(value) if isinstance(value, str) else value


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_the_pages_show_what_the_records_hold(chapter):
    notebook = HTML / "_sources" / "chapters" / f"{chapter.stem}.ipynb"
    assert notebook.exists(), "no such page in _build/html: run `make book` first"
    shown, recorded = code_cells(notebook), code_cells(record_path(chapter))
    assert [cell.source for cell in shown] == [cell.source for cell in recorded]
    for now, before in zip(shown, recorded, strict=True):
        assert now.execution_count == before.execution_count
        assert comparable(stable_outputs(now.outputs)) == before.outputs, before.source
