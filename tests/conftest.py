"""Shape checks of the package, the numeric tolerance of the records, the tests of one chapter."""

import os
import re
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import hypothesis
import jaxtyping
import nbval.plugin
import pytest
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import tests_of_chapter  # noqa: E402

from tools.bless import CHAPTERS, image_mark  # noqa: E402
from tools.compare import NumericText  # noqa: E402
from tools.environment import kernel_environment  # noqa: E402

# Annotated shapes are checked in the tests only; the hook must precede the first import of dlnlib.
# The tower lets an int stand for a float, as everywhere else in Python.
# Without PyTorch its room is described by stand-ins, which are no types.
ROOMS = {path.stem for path in (ROOT / "dlnlib").iterdir()} - (
    set() if find_spec("torch") else {"deep"}
)
install_import_hook(
    [f"dlnlib.{room}" for room in sorted(ROOMS)],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

hypothesis.settings.register_profile("book", derandomize=True, deadline=None)
hypothesis.settings.load_profile("book")


@pytest.fixture
def no_shape_checks():
    """Users run without the checks of the tests, which refuse bad input before the package does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def numeric_text(cell: nbval.plugin.IPyNbCell, value: object) -> object:
    """What nbval compares: images as marks, text with its decimals up to rounding."""
    return NumericText(image_mark(value)) if isinstance(value, str) else value


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the tests of one chapter: ``--chapter=intro``."""
    parser.addoption("--chapter", help="form, record, own tests, equations and claims of a chapter")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the tests that go through all chapters, keep those of this one."""
    if chapter := config.getoption("chapter"):
        every = ("test_form.py", "test_records.py")
        items[:] = [i for i in items if i.path.name not in every or f"[{chapter}]" in i.nodeid]


def pytest_configure(config: pytest.Config) -> None:
    """Teach nbval the tolerance, the presence of images, and the folder of the chapters."""
    if not __debug__:
        raise pytest.UsageError("asserts are off: unset PYTHONOPTIMIZE, and run python without -O")
    if chapter := config.getoption("chapter"):
        config.args = tests_of_chapter(chapter)
    nbval.plugin.IPyNbCell.sanitize = numeric_text
    nbval.plugin.RunningKernel = partial(_kernel_beside_the_chapters, nbval.plugin.RunningKernel)
    collect = nbval.plugin.IPyNbFile.collect

    def collect_with_images(self):
        self.skip_compare = tuple(k for k in self.skip_compare if not k.startswith("image/"))
        return collect(self)

    nbval.plugin.IPyNbFile.collect = collect_with_images


def _kernel_beside_the_chapters(kernel_class, name, cwd, **options):
    with mock.patch.dict(os.environ, kernel_environment(), clear=True):
        return kernel_class(name, cwd=str(CHAPTERS), **options)


class FilesAndVisits(LoadScopeScheduling):
    """Share the tests out by files, and the tests of the pages by visits to a page.

    The cells of a notebook need one kernel, and a visit answers many questions.
    """

    def _split_scope(self, nodeid: str) -> str:
        visit = re.search(r"test_pages\.py::\w+\[(.+\.html-\w+)\]$", nodeid)
        return visit[1] if visit else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log) -> LoadScopeScheduling:
    """Use the scheduler above in place of ``--dist loadfile``."""
    return FilesAndVisits(config, log)
