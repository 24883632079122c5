"""Sphinx extension: what a link leads to, to be shown beside the link.

For each page one script, `_static/previews/<page>.js`, holds its definitions of words, equations,
theorems, captions and entries of the bibliography.  `_static/previews.js` loads it when a reader
first asks for one of them, by a script as a browser lets no page fetch a file from a folder.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx

FOLDER = "_static/previews"
NOT_SHOWN = ".headerlink, .eqno, script, style, img, button"


def bare(part: Tag) -> str:
    """The inside of a part without links, anchors, pictures and the numbers of equations."""
    part = BeautifulSoup(str(part), "html.parser").contents[0]
    for other in part.select(NOT_SHOWN):
        other.decompose()
    for link in part.select("a"):
        link.unwrap()
    for inside in part.select("[id]"):
        del inside["id"]
    for section in part.select("section"):
        section.name = "div"
    for symbol in part.select(".symbol"):
        symbol.unwrap()
    return part.decode_contents().strip()


def shown(head: str, body: str) -> str:
    """A preview: its head, if it has one, above its body."""
    return (f'<p class="preview-head">{head}</p>' if head else "") + body


def previews(body: str) -> Iterator[tuple[str, str]]:
    """The parts of a page that a preview shows, by the names that links use."""
    soup = BeautifulSoup(body, "html.parser")
    for equation in soup.select("div.math[id^=equation-]"):
        number = equation.select_one(".eqno")
        label = number.find(string=True) if number else ""
        yield (
            equation["id"],
            shown(f"Equation {label}", f'<div class="math">{bare(equation)}</div>'),
        )
    for theorem in soup.select("div.proof[id]:has(> .admonition-title)"):
        title = theorem.select_one(".admonition-title").extract()
        yield theorem["id"], shown(" ".join(bare(title).split()), bare(theorem))
    for word in soup.select("dt[id^=term-]"):
        meaning = word.find_next_sibling("dd")
        yield word["id"], shown(bare(word), bare(meaning))
    for caption in soup.select("[id] > figcaption, table[id] > caption"):
        text = caption.select_one(".caption-text")
        number = caption.select_one(".caption-number")
        if text and number:
            yield caption.parent["id"], shown(number.get_text().strip(), f"<p>{bare(text)}</p>")
    for entry in soup.select("div.citation[id]"):
        entry.select_one(".label").decompose()
        yield entry["id"], bare(entry)


def write_previews(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Write the previews of a page that is about to be written."""
    if app.builder.name != "html" or doctree is None:
        return
    target = Path(app.outdir) / FOLDER / f"{page}.js"
    found = dict(previews(context["body"]))
    if found:
        target.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps(found, ensure_ascii=False, indent=0)
        script = f"dlnPreviews.take({json.dumps(page + '.html')}, {data});\n"
        target.write_text(script, encoding="utf-8")
    else:
        target.unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx, after that which completes the text of a page."""
    app.connect("html-page-context", write_previews, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
