"""Draw the figure of the README: the learning summary of a chapter, saved as one SVG file.

Usage: ``python -m tools.readme_figure``.
The figure is not programmed a second time: the chapter's own cells run, up to the one that draws
it.  The file records a digest of these cells, by which the tests see that it has become stale.
"""

import contextlib
import hashlib
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from tools.bless import CHAPTERS, ROOT, chapter_cells

CHAPTER = CHAPTERS / "hierarchical_data.md"
FIGURE = "fig-learning-summary"
TARGET = ROOT / "_static" / "readme-figure.svg"


def cells_of_the_figure(chapter: Path = CHAPTER, name: str = FIGURE) -> list[str]:
    """The code of a chapter from its first cell to the one whose figure has this name."""
    sources = []
    for cell in chapter_cells(chapter):
        sources.append(cell.source)
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            return sources
    raise LookupError(f"{chapter.name} has no figure {name}")


def digest(sources: list[str]) -> str:
    """Sixteen hexadecimal digits that change with the code."""
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def draw(target: Path = TARGET) -> None:
    """Run the cells, without their printed output, and save the figure.

    A white ground is part of the file, so that it reads on a dark page too.
    """
    sources = cells_of_the_figure()
    shown = []
    plt.show = lambda: shown.append(plt.gcf())
    names = {"__name__": CHAPTER.stem}
    with contextlib.chdir(CHAPTERS), contextlib.redirect_stdout(io.StringIO()):
        for source in sources:
            exec(compile(source, str(CHAPTER), "exec"), names)
    metadata = {
        "Date": None,
        "Creator": None,
        "Title": "Learning a tree of items and features",
        "Source": f"chapters/{CHAPTER.name}, {digest(sources)}",
    }
    shown[-1].savefig(target, format="svg", facecolor="white", metadata=metadata)
    text = target.read_text(encoding="utf-8")
    lines = (line.rstrip() for line in text.splitlines())
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    draw()
    print(f"wrote {TARGET.relative_to(ROOT)}")
