"""Sphinx extension: tables of pandas as a book sets them.

A DataFrame writes the names of its index into a row of its own, plain names for symbols, and
powers of ten as a computer prints them.  On the page the names stand beside those of the columns,
`t_opt` has its index below the line, and 1e-06 is a power.  The numbers stay as they are.
"""

import html
import re

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

MARK = 'class="dataframe"'
NAMES = "alpha beta gamma delta eta theta lambda mu nu rho sigma tau".split()
LETTERS = dict(zip(NAMES, "αβγδηθλμνρστ", strict=True)) | {"l": "ℓ"}
SIGN = re.compile(
    r"(?<![\w.])(?P<digits>\d+(?:\.\d+)?)e(?P<power>[+-]\d+)"  # 1e-06, 2.5e+03
    rf"|(?<![\w'])(?:(?P<symbol>{'|'.join(NAMES)}|[A-Za-z])(?:_(?P<below>[0-9A-Za-z]+(?:/\d)?))?"
    r"|(?P<counted>[als])(?P<count>\d))(?![\w'])"  # a_k, gamma_k, s, and a0
    r"|\^(?P<above>-?\d+)|(?P<decimal>\blog10\b)"
    r"|(?P<minus>(?<![\w.)-])-(?=[\d.])|(?<= )-(?= ))"
    r"|(?P<short>\b\w+-\w{1,2}\b)"  # plug-in, which has no room to break
)
LONG = 12  # letters of a name that would take three lines in a narrow column
FRACTION = re.compile(
    r"(?<=\b[A-Za-z]) / (?=[A-Za-z](?:\b|_|\d))|(?<=\b[A-Za-z]_\w) / (?=\w(?:\b|_))"
)
ARTICLE = re.compile(r" [a-z]")  # behind the "a" of "a random start"
UNIT = re.compile(r" per\b")  # behind the "s" of "s per picture"


class SetTables(SphinxPostTransform):
    """Set the tables of the page that is about to be written."""

    default_priority = 7  # after the form of each output is chosen
    formats = ("html",)

    def run(self, **kwargs) -> None:
        """Rewrite what pandas wrote."""
        for raw in list(self.document.findall(nodes.raw)):
            if MARK in raw.rawsource or MARK in raw.astext():
                raw.children = [nodes.Text(set_table(raw.astext()))]


def set_table(text: str) -> str:
    """The HTML of a DataFrame with one row of names, symbols and powers."""
    soup = BeautifulSoup(text, "html.parser")
    for table in soup.select("table.dataframe"):
        body = table.select_one("tbody tr")
        levels = len(body.find_all("th")) if body else 0
        join_names(table, levels)
        mark_names(table, levels)
        for cell in table.find_all(["th", "td"]):
            if cell.string:
                shown = BeautifulSoup(typeset(cell.string), "html.parser")
                cell.clear()
                cell.extend(list(shown.contents))
    for style in soup.find_all("style"):
        style.decompose()  # the book has its own
    return str(soup)


def join_names(table: Tag, levels: int) -> None:
    """Put the names of the index into the row of the columns, where they have room.

    A name of the columns comes above them.
    """
    rows = table.select("thead tr")
    if len(rows) < 2 or not levels:
        return
    names, columns = rows[-1].find_all("th"), rows[-2].find_all("th")
    if len(names) != len(columns) or any(cell.get_text() for cell in names[levels:]):
        return
    title = columns[levels - 1].get_text()
    if title:
        if len(rows) > 2:
            return
        above = BeautifulSoup("<tr></tr>", "html.parser").tr
        above.extend(cell.extract() for cell in names[levels:])  # as many as there are columns
        for cell in list(above.find_all("th"))[1:]:
            cell.decompose()
        head = above.th
        head.string, head["colspan"], head["class"] = title, str(len(columns) - levels), "over"
        empty = BeautifulSoup("<th></th>" * levels, "html.parser")
        for cell in reversed(empty.find_all("th")):
            above.insert(0, cell)
        rows[-2].insert_before(above)
    for name, place in zip(names[:levels], columns[:levels], strict=True):
        place.replace_with(name.extract())
    rows[-1].decompose()


def mark_names(table: Tag, levels: int) -> None:
    """Mark the names of the rows at the top, and the outermost of each row.

    Those stay in view on a phone.
    """
    for row in table.find_all("tr"):
        cells = row.find_all("th")
        if row.parent.name == "thead":
            for cell in cells[:levels]:
                cell["class"] = ["name"]
        if cells and (row.parent.name == "thead" or len(cells) == levels):
            cells[0]["class"] = [*cells[0].get("class", []), "outer"]
            if len(cells[0].get_text()) > LONG:
                cells[0]["class"].append("long")


def typeset(text: str) -> str:
    """A name or a number with symbols, powers and signs in HTML."""
    text = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
    text = re.sub(r"(?<=\w) = (?=[\d-])", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}", text)
    text = FRACTION.sub("\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}", text)
    if text.strip() == "inf":
        return "∞"
    parts, last = [], 0
    for found in SIGN.finditer(text):
        parts += [html.escape(text[last : found.start()]), sign(found, text[found.end() :])]
        last = found.end()
    return "".join(parts) + html.escape(text[last:])


def sign(found: re.Match, rest: str) -> str:
    """One sign in HTML, with what follows it in view."""
    if found["power"]:
        return power(found["digits"], int(found["power"]))
    if found["minus"]:
        return "−"
    if found["decimal"]:
        return "log<sub>10</sub>"
    if found["above"]:
        return f"<sup>{minus(found['above'])}</sup>"
    if found["short"]:
        return f'<span class="together">{found["short"]}</span>'
    symbol, below = found["symbol"] or found["counted"], found["below"] or found["count"]
    if not below and (symbol in "AIx" or (symbol == "a" and ARTICLE.match(rest))):
        return symbol
    if not below and symbol == "s" and UNIT.match(rest):
        return symbol
    letter = LETTERS.get(symbol, symbol) if below or symbol != "l" else symbol
    return f"<i>{letter}</i>" + (f"<sub>{below}</sub>" if below else "")


def power(digits: str, exponent: int) -> str:
    """A number in front of a power of ten, which one alone does not need."""
    if not exponent:
        return digits
    ten = f"10<sup>{minus(str(exponent))}</sup>"
    return ten if digits == "1" else f"{digits}·{ten}"


def minus(number: str) -> str:
    """A number with the sign of a minus in place of a hyphen."""
    return number.replace("-", "−")


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx."""
    app.add_post_transform(SetTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
