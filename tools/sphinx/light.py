"""Sphinx extension: pages load what they use.

The theme lets every page load a script that draws 2,000 icons, their names as style rules, and the
index of the search, which only the search page asks.  The finished pages are left with a font of
the icons that the book shows.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset  # comes with matplotlib
from sphinx.application import Sphinx

# Scripts of the theme that pages name and do not need; the page of the search needs its own.
ICONS = r"scripts/fontawesome\.js"
SEARCH = r"(?:_static/(?:searchtools|language_data)|searchindex)\.js"
STYLE = "_static/styles/pydata-sphinx-theme.css"
FONTS = "_static/vendor/fontawesome/webfonts"
FONT = "fa-solid-900"
# A style rule that gives icons their letter: `.fa-gear:before,.fa-cog:before{content:"\f013"}`.
ICON_RULE = re.compile(
    r'((?:\.fa-[\w-]+:{1,2}(?:before|after),?)+)\{(?:content|--fa):"(\\?[^"]+)"\}'
)
OTHER_LETTER = re.compile(r'"(\\[0-9a-f]{4}|[\ue000-\uf8ff])"')
FONT_FACE = re.compile(r"(src:)url\([^)]*" + FONT + r"\.woff2\)[^;}]*")


def without(page: str, script: str) -> str:
    """The text of a page without the element of a script."""
    return re.sub(rf'\s*<script\b[^>]*\bsrc="[^"]*{script}[^"]*"[^>]*>\s*</script>', "", page)


def letter(text: str) -> str:
    r"""The character of a string in a style sheet, written out or as ``\f013``."""
    return chr(int(text[1:], 16)) if text.startswith("\\") else text


def lean_style(style: str, used: set[str]) -> tuple[str, set[str]]:
    """A style sheet with the rules of the icons that are used, and the characters that remain."""

    def keep(rule: re.Match) -> str:
        return rule[0] if used & set(re.findall(r"\.(fa-[\w-]+)", rule[1])) else ""

    lean = ICON_RULE.sub(keep, style)
    lean = FONT_FACE.sub(rf'\1url(../vendor/fontawesome/webfonts/{FONT}.woff) format("woff")', lean)
    return lean, letters(lean)


def letters(style: str) -> set[str]:
    """The characters of icons in a style sheet."""
    return {letter(text) for text in OTHER_LETTER.findall(style)}


def write_font(source: Path, target: Path, characters: Iterable[str]) -> None:
    """The part of a font that has these characters."""
    options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True)
    with subset.load_font(source, options, lazy=False) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(text="".join(sorted(characters)))
        cutter.subset(font)
        subset.save_font(font, target, options)


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Take from the finished pages what they do not use."""
    if exception is not None or app.builder.name != "html":
        return
    root = Path(app.outdir)
    used = set()
    for path in root.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        lean = without(page, ICONS)
        if path.name != "search.html":
            lean = without(lean, SEARCH)
        if lean != page:
            path.write_text(lean, encoding="utf-8")
        used |= set(re.findall(r"\bfa-[\w-]+", page))
    style = root / STYLE
    source = root / FONTS / f"{FONT}.ttf"
    if source.is_file():  # else nothing was written anew
        text, characters = lean_style(style.read_text(encoding="utf-8"), used)
        for other in (root / "_static").rglob("*.css"):
            characters |= letters(other.read_text(encoding="utf-8")) if other != style else set()
        write_font(source, root / FONTS / f"{FONT}.woff", characters)
        style.write_text(text, encoding="utf-8")
        for name in (f"{FONTS}/{FONT}.woff2", "_static/scripts/fontawesome.js"):
            (root / name).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx, after all that write."""
    app.connect("build-finished", lighten, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
