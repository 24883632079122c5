"""Make the PDF of the book: Sphinx writes LaTeX, latexmk sets it, and the log is read.

The executed results are those of the pages; figures are converted from SVG.
The PDF is the same, bit for bit, whenever the sources are.
"""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jupyter_book.sphinx import build_sphinx

from tools.pdf.extension import PDF_NAME, note_sources, source_digest
from tools.pdf.log import log_problems, page_count
from tools.pdf.look import latex_settings

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "_build"
LATEX = BUILD / "latex"


def environment() -> dict[str, str]:
    """Variables that fix the date of the PDF, and keep each message of the log on one line."""
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    day = datetime.fromisoformat(str(about["date-released"])).replace(tzinfo=UTC)
    return {
        "SOURCE_DATE_EPOCH": str(int(day.timestamp())),
        "FORCE_SOURCE_DATE": "1",
        "max_print_line": "10000",
    }


def write_latex() -> None:
    """Let Sphinx write the LaTeX, all pages read afresh."""
    shutil.rmtree(LATEX, ignore_errors=True)
    settings = latex_settings(ROOT) | {
        "external_toc_path": str(ROOT / "_toc.yml"),
        "latex_individualpages": False,
        "nitpicky": True,
    }
    status = build_sphinx(
        ROOT,
        LATEX,
        noconfig=True,
        path_config=ROOT / "_config.yml",
        confoverrides=settings,
        doctreedir=LATEX / ".doctrees",
        builder="latex",
        warningiserror=True,
        keep_going=True,
        quiet=True,
    )
    if status:
        sys.exit("The LaTeX of the book could not be written: see the messages above.")


def set_pages() -> str:
    """Let latexmk make the PDF, as often as its references need."""
    source = PDF_NAME.replace(".pdf", ".tex")
    command = ["latexmk", "-pdf", "-silent", "-interaction=nonstopmode", "-halt-on-error", source]
    result = subprocess.run(command, cwd=LATEX, capture_output=True, text=True, check=False)
    log = (LATEX / source).with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    problems = log_problems(log)
    errors = [line for line in problems if line.startswith("!")]
    if problems:
        print(*(errors or problems), sep="\n", file=sys.stderr)
    if problems or result.returncode:
        sys.exit(f"LaTeX is not content with the book: {LATEX.name}/{PDF_NAME[:-4]}.log says more.")
    return log


def main() -> None:
    """Make the PDF and note of which sources."""
    os.environ |= environment()
    digest = source_digest(ROOT)
    write_latex()
    log = set_pages()
    pdf = BUILD / PDF_NAME
    shutil.copy2(LATEX / PDF_NAME, pdf)
    note_sources(pdf, digest)
    print(f"The PDF is {pdf.relative_to(ROOT)}: {page_count(log)} pages")


if __name__ == "__main__":
    main()
