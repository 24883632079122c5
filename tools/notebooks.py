"""Collect the executed notebooks that the last build made, one for each chapter with code.

Usage: ``python tools/notebooks.py`` (``make notebooks``).
"""

import shutil
import sys
from pathlib import Path

__all__ = ["collect"]

ROOT = Path(__file__).resolve().parent.parent


def collect(executed: Path, target: Path) -> list[Path]:
    """Copy the executed notebooks.

    Parameters
    ----------
    executed : Path
        The folder to which the build writes executed notebooks.
    target : Path
        The folder to fill; what it held is removed.

    Returns
    -------
    list of Path
        The copies.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    return [
        Path(shutil.copy2(path, target / path.name)) for path in sorted(executed.glob("*.ipynb"))
    ]


if __name__ == "__main__":
    copies = collect(ROOT / "_build" / "jupyter_execute" / "chapters", ROOT / "_build/notebooks")
    for copy in copies:
        print(copy.relative_to(ROOT))
    sys.exit(not copies)
