"""The book as it stands on paper: what changes between the web pages and the PDF.

All of it happens on the one document tree that Sphinx puts together for LaTeX: every page becomes a
chapter in the part that it has on the web, tables of HTML are set as such, imports and the code
that a web page folds away are left out, solutions follow their exercises, theorems and proofs are
typeset as such, and wide tables get columns that fit.
"""

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx import addnodes

FIRST_CHAPTER = "Introduction"  # the first page has the title of the book as its own
_FOLDED = {"input", "input+output"}
_SCALE = 83  # per cent; the letters of figures, of 12 points, are then as large as the text's
_LINE = 84  # characters of table text beside each other on a page
_BREAK = "\u200b"  # a place where a long name may be broken; the style says how


def _latex(text: str) -> nodes.raw:
    return nodes.raw("", text, format="latex")


def is_left_out(docname: str, patterns: Iterable[str]) -> bool:
    """Whether a page stays on the web only."""
    return any(fnmatch(docname, pattern) for pattern in patterns)


def chapters_in_a_row(document: nodes.document, parts: Mapping[str, str]) -> None:
    """Make each page a chapter, the first page too, whatever the levels of the web's contents.

    `parts` are the captions of the contents, by the pages that they stand above.  The first page
    has none on the web, where it is home; on paper it opens the first part.
    """
    first = next(document.findall(nodes.section))
    pages = list(document.findall(addnodes.start_of_file))
    for page in pages:
        page.parent.remove(page)
    opening = addnodes.start_of_file(docname=document["docname"])
    title = next(first.findall(nodes.title))
    whole = nodes.section("", nodes.title("", title.astext()))
    first.parent.replace(first, whole)
    title.children = []
    title += nodes.Text(FIRST_CHAPTER)
    opening += first
    captions = dict(parts)
    starts = [page for page in pages if page["docname"] in captions]
    if starts:
        captions[opening["docname"]] = captions.pop(starts[0]["docname"])
    for page in [opening, *pages]:
        caption = captions.get(page["docname"])
        if caption:
            whole += _latex(r"\bookpart{"), nodes.inline("", caption), _latex("}")
        whole += page


def _without_loading(code: str) -> str:
    """Code without its imports and without calls that only set a style."""
    try:
        steps = ast.parse(code).body
    except SyntaxError:
        return code
    lines = code.splitlines()
    for step in steps:
        call = step.value if isinstance(step, ast.Expr) else None
        bare = isinstance(call, ast.Call) and ast.unparse(call) == "use_book_style()"
        if bare or isinstance(step, ast.Import | ast.ImportFrom):
            lines[step.lineno - 1 : step.end_lineno] = [None] * (step.end_lineno - step.lineno + 1)
    kept = "\n".join(line for line in lines if line is not None)
    return re.sub(r"\n{4,}", "\n\n\n", kept).strip("\n")


def show_only_open_code(document: nodes.document) -> None:
    """Leave out code that a web page folds away, and imports; keep what the code puts out."""
    for cell in list(document.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code":
            continue
        for part in list(cell.children):
            if part.get("nb_element") != "cell_code_source":
                continue
            code = _without_loading(part.astext())
            if cell.get("hide_mode") in _FOLDED or not code:
                cell.remove(part)
            elif code != part.astext():
                part[0].rawsource = code
                part[0].children = []
                part[0] += nodes.Text(code)
        cell.parent.replace(cell, cell.children)


def set_derivations(document: nodes.document) -> None:
    """Let a derivation, put out as one block of mathematics, break across lines and pages."""
    for block in list(document.findall(nodes.math_block)):
        text = block.astext().strip()
        if "text_latex" not in block["classes"] or not text.startswith(r"\begin{aligned}"):
            continue
        inside = text.removeprefix(r"\begin{aligned}").removesuffix(r"\end{aligned}")
        rows = [row.strip().removeprefix("&") for row in re.split(r"\\\\(?:\[\w+\])?\n", inside)]
        lines = [r"\begin{bookderivation}"]
        for row in rows:
            kind = "line" if row.startswith(r"\qquad") else "step"
            formula = row.removeprefix(r"\qquad").strip()
            lines.append(rf"\book{kind}{{{formula}}}")
        lines.append(r"\end{bookderivation}")
        block.parent.replace(block, _latex("\n".join(lines)))


def set_solutions(document: nodes.document) -> None:
    """Open what a web page folds away as a dropdown."""
    for box in list(document.findall(nodes.container)):
        if box.get("design_component") != "dropdown":
            continue
        title, *content = box.children
        begin = rf"\begin{{bookaside}}{{{title.astext()}}}"
        box.parent.replace(box, [_latex(begin), *content, _latex(r"\end{bookaside}")])


def set_statements(document: nodes.document, number: Callable[[nodes.Element], str]) -> None:
    """Typeset theorems, definitions and the like, and proofs, in the environments of the style."""
    for node in list(document.findall(nodes.Element)):
        if "realtype" in node:
            docname, count = number(node)
            title, section = node.children
            label = rf"\phantomsection\label{{\detokenize{{{docname}:{node['label']}}}}}"
            kind = node["realtype"]
            begin = [_latex(rf"\begin{{bookstatement}}{{{kind}}}{{{kind.title()} {count}}}{{")]
            inside = [*title.children, _latex("}" + label), *section.children]
            node.parent.replace(node, [*begin, *inside, _latex(r"\end{bookstatement}")])
        elif node.tagname == "proof_node":
            (box,) = node.children
            text = next(box.findall(nodes.Text))
            text.parent.replace(text, nodes.Text(text.removeprefix("Proof. ")))
            last = box
            while not isinstance(last, nodes.paragraph) and isinstance(last[-1], nodes.Element):
                last = last[-1]
            if isinstance(last, nodes.paragraph):
                last += _latex(r"\qedhere")  # else the mark stands on a line of its own
            inside = [_latex(r"\begin{proof}"), *box.children, _latex(r"\end{proof}")]
            node.parent.replace(node, inside)


def free_images(document: nodes.document) -> None:
    """Print figures in one scale, so that their type has the size of the text."""
    for image in document.findall(nodes.image):
        if str(image.get("width", "")).endswith("%"):
            del image["width"]
            image["scale"] = _SCALE


def _grid(rows: Iterable[Tag]) -> list[list[str]]:
    """The texts of the cells of rows, where a cell that spans others leaves them empty."""
    grid: list[list[str]] = []
    below: dict[int, int] = {}  # by column: rows into which a cell above reaches
    for row in rows:
        texts: list[str] = []
        cells = row.find_all(["td", "th"])
        while cells or below.get(len(texts), 0) > 0:
            if below.get(len(texts), 0) > 0:
                below[len(texts)] -= 1
                texts.append("")
                continue
            cell = cells.pop(0)
            for i in range(int(cell.get("colspan", 1))):
                below[len(texts)] = int(cell.get("rowspan", 1)) - 1
                texts.append("" if i else cell.get_text(" ", strip=True))
        grid.append(texts)
    return grid


def _one_head(head: list[list[str]]) -> list[list[str]]:
    """Put the names of the index, which pandas sets in a row of their own, beside the others."""
    *above, columns, names = [[], *head] if len(head) > 1 else [*head, [], []]
    if any(a and b for a, b in zip(columns, names, strict=False)) or not names:
        return head
    return [*above[1:], [a or b for a, b in zip(columns, names, strict=True)]]


def _table(found: Tag) -> nodes.table:
    """A table of HTML as one of docutils."""
    head = _one_head(_grid(found.thead.find_all("tr")) if found.thead else [])
    body = _grid((found.tbody or found).find_all("tr"))
    group = nodes.tgroup("", cols=len(body[0]))
    group += [nodes.colspec(colwidth=1) for _ in body[0]]
    for kind, rows in ((nodes.thead, head), (nodes.tbody, body)):
        part = kind()
        for row in rows:
            entries = [nodes.entry("", nodes.paragraph("", text)) for text in row]
            part += nodes.row("", *entries)
        if rows:
            group += part
    return nodes.table("", group, classes=["colwidths-auto"])


def set_tables(document: nodes.document) -> None:
    """Set the tables that cells put out as HTML; other HTML, as data of live figures, goes."""
    for raw in list(document.findall(nodes.raw)):
        if "html" not in raw.get("format", "").split():
            continue
        tables = BeautifulSoup(raw.astext(), "html.parser").find_all("table")
        raw.parent.replace(raw, [_table(table) for table in tables])


def soften_names(document: nodes.document) -> None:
    """Allow a break inside long names in code type."""
    for literal in document.findall(nodes.literal):
        for text in list(literal.findall(nodes.Text)):
            if len(text) > 12:
                soft = re.sub(r"(?<=[_./(,=])(?=\w)", _BREAK, str(text))
                text.parent.replace(text, nodes.Text(soft))


def _unbroken(text: str) -> int:
    """Length of what should stay on one line: a short text, else its longest word."""
    return len(text) if len(text) < 14 else max(map(len, re.split(r"[\s_]", text)))


def fit_tables(document: nodes.document) -> None:
    """Let tables go over pages, and give wide ones columns that fit what stands in them."""
    for table in list(document.findall(nodes.table)):
        table["classes"].append("longtable")  # may go on on the next page
        if not list(table.findall(nodes.title)):
            begin, end = (_latex(rf"\{word}{{bookplaintable}}") for word in ("begin", "end"))
            table.parent.replace(table, [begin, table, end])
        specs = list(table.findall(nodes.colspec))
        rows = [list(row.findall(nodes.entry)) for row in table.findall(nodes.row)]
        if any(len(row) != len(specs) for row in rows):
            continue  # cells that span columns
        texts = [[entry.astext().strip() for entry in column] for column in zip(*rows, strict=True)]
        longest = [max(map(len, column)) for column in texts]
        if sum(longest) <= _LINE:
            continue
        words = [max(map(_unbroken, column)) for column in texts]
        size = [sum(map(len, column)) ** 0.5 for column in texts]
        for spec, word, length, bulk in zip(specs, words, longest, size, strict=True):
            spec["colwidth"] = max(word + 1, min(length, round(_LINE * bulk / sum(size))))
        table["classes"] = [c for c in table["classes"] if not c.startswith("colwidths")]
        table["classes"].append("colwidths-given")
