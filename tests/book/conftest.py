"""A small book, for the tests that build one."""

from pathlib import Path

import pytest
from helpers import frame


@pytest.fixture
def book(tmp_path) -> Path:
    """A book without pages, with a package of one module, in the frame of the real one."""
    (tmp_path / "dlnlib").mkdir()
    (tmp_path / "dlnlib" / "__init__.py").write_text('__version__ = "7.8.9"\n')
    (tmp_path / "dlnlib" / "constant.py").write_text("VALUE = 11\n")
    return frame(tmp_path, "pyproject.toml")
