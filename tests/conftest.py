"""Shape checks of the package at run time, and the numeric tolerance of the executed references."""

import sys
from functools import partial
from pathlib import Path

import hypothesis
import nbval.plugin
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from numeric_text import NumericText  # noqa: E402
from references import CHAPTERS, image_mark  # noqa: E402

# Annotated shapes are checked in the tests only; the hook must precede the first import of dlnlib.
# The tower lets an int stand for a float, as everywhere else in Python.
install_import_hook("dlnlib", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

hypothesis.settings.register_profile("book", derandomize=True, deadline=None)
hypothesis.settings.load_profile("book")


def numeric_text(cell: nbval.plugin.IPyNbCell, value: object) -> object:
    """What nbval compares: images as marks, text with its decimals up to rounding."""
    return NumericText(image_mark(value)) if isinstance(value, str) else value


def pytest_configure() -> None:
    """Teach nbval the tolerance, the presence of images, and the folder of the chapters."""
    nbval.plugin.IPyNbCell.sanitize = numeric_text
    nbval.plugin.RunningKernel = partial(_kernel_beside_the_chapters, nbval.plugin.RunningKernel)
    collect = nbval.plugin.IPyNbFile.collect

    def collect_with_images(self):
        self.skip_compare = tuple(k for k in self.skip_compare if not k.startswith("image/"))
        return collect(self)

    nbval.plugin.IPyNbFile.collect = collect_with_images


def _kernel_beside_the_chapters(kernel_class, name, cwd, **options):
    return kernel_class(name, cwd=str(CHAPTERS), **options)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together, on one process, the cells of a notebook and what shares costly fixtures.

    That is a file of tests, or one visit to a page of the book.
    """
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        item.add_marker(pytest.mark.xdist_group(str(parameters.get("visit", item.path.name))))
