"""Shape checks of the package at run time, and the numeric tolerance of the executed references."""

import math
import re
import sys
from functools import partial
from pathlib import Path

import hypothesis
import nbval.plugin
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from references import CHAPTERS, image_mark  # noqa: E402

# Annotated shapes are checked in the tests only; the hook must precede the first import of dlnlib.
# The tower lets an int stand for a float, as everywhere else in Python.
install_import_hook("dlnlib", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

hypothesis.settings.register_profile("book", derandomize=True, deadline=None)
hypothesis.settings.load_profile("book")

# A decimal with six significant digits cannot change in any digit by less than this, and
# test_references.py keeps longer ones out of the references: every printed digit is compared.
RELATIVE_TOLERANCE = 5e-7
DECIMAL = re.compile(
    r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?(?!\w)(?!\.\d)"
)


class NumericText(str):
    """Text that equals another if the decimals are close and all else is the same."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Compare decimals with a relative tolerance; integers and words to the letter."""
        if not isinstance(other, str):
            return NotImplemented
        if str.__eq__(self, other):
            return True
        mine, yours = (DECIMAL.findall(str(text)) for text in (self, other))
        return (
            DECIMAL.split(str(self)) == DECIMAL.split(str(other))
            and len(mine) == len(yours)
            and all(
                math.isclose(float(a), float(b), rel_tol=RELATIVE_TOLERANCE)
                for a, b in zip(mine, yours, strict=True)
            )
        )

    def __ne__(self, other: object) -> bool:
        """Negate the comparison above, which `str` would not."""
        return not self == other

    __hash__ = None


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
