"""Is what `make pdf` needs beyond Python here?  If not, name the Debian packages, and stop.

Standard library only: this runs before the environment exists.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable

# What is looked for, and the Debian package that holds it.
COMMANDS = {
    "pdflatex": "texlive-latex-recommended",
    "latexmk": "latexmk",
    "rsvg-convert": "librsvg2-bin",
}
TEX_FILES = {
    "microtype.sty": "texlive-latex-recommended",
    "titlesec.sty": "texlive-latex-extra",
    "t1txtt.fd": "texlive-fonts-recommended",
    "tgpagella.sty": "tex-gyre",
}
MESSAGE = """make pdf needs LaTeX and a converter of figures; not found here: {things}.
On Debian and Ubuntu: apt-get install --no-install-recommends {packages}"""


def _tex_has(name: str) -> bool:
    """Whether LaTeX finds a file of this name."""
    if shutil.which("kpsewhich") is None:
        return False
    return subprocess.run(["kpsewhich", name], capture_output=True, check=False).returncode == 0


def missing_packages(
    has_command: Callable[[str], object] = shutil.which,
    has_file: Callable[[str], object] = _tex_has,
) -> dict[str, str]:
    """Find what `make pdf` would miss."""
    absent = {name: package for name, package in COMMANDS.items() if not has_command(name)}
    return absent | {name: package for name, package in TEX_FILES.items() if not has_file(name)}


def main() -> int:
    """Print what is missing; the exit status says whether anything is."""
    absent = missing_packages()
    if absent:
        packages = " ".join(sorted(set(absent.values())))
        print(MESSAGE.format(things=", ".join(absent), packages=packages), file=sys.stderr)
    return int(bool(absent))


if __name__ == "__main__":
    sys.exit(main())
