"""The entries of the bibliography: complete, well formed, each cited, and each citation there."""

import re
from collections import Counter
from pathlib import Path

import pytest
from pybtex.database import Entry, parse_file

from tools.bless import CHAPTERS

FILE = Path(CHAPTERS.parent, "references.bib")
ENTRIES = dict(parse_file(FILE).entries)
REQUIRED = {
    "article": {"title", "journal", "year"},
    "inproceedings": {"title", "booktitle", "year"},
    "incollection": {"title", "booktitle", "publisher", "year"},
    "misc": {"title", "year"},
}
ALLOWED = set().union(*REQUIRED.values()) | {
    "archiveprefix", "doi", "eprint", "howpublished", "number", "pages", "series", "url", "volume",
}  # fmt: skip
FORMS = {
    "year": r"(19|20)\d\d",
    "volume": r"\d+",
    "number": r"\d+",
    "pages": r"\d+(:\d+)?--\d+(:\d+)?",
    "doi": r"10\.\d{4,9}/[^\s{}]+",
    "eprint": r"\d{4}\.\d{4,5}",
    "archiveprefix": "arXiv",
    "url": r"https://[^\s{}]+",
}
PRINTED_ONLY = {"fukumizu1998effect"}

for_each_entry = pytest.mark.parametrize("key", ENTRIES)


def cited() -> set[str]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in CHAPTERS.glob("*.md"))
    groups = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
    return {key.strip() for group in groups for key in group.split(",")}


@for_each_entry
def test_entry_has_the_fields_of_its_type_and_no_others(key):
    entry: Entry = ENTRIES[key]
    fields = {name.lower() for name in entry.fields}
    assert entry.persons["author"]
    assert REQUIRED[entry.type] <= fields <= ALLOWED
    assert ("eprint" in fields) == ("archiveprefix" in fields)
    assert fields & {"doi", "eprint", "url"} or key in PRINTED_ONLY


@for_each_entry
def test_fields_are_well_formed(key):
    fields = ENTRIES[key].fields
    for name, form in FORMS.items():
        assert re.fullmatch(form, fields.get(name, "")) or name not in fields, fields[name]
    first, *last = re.findall(r"\d+(?=--|$)", fields.get("pages", "1--2"))
    assert int(first) <= int(last[0])
    assert "arxiv.org" not in fields.get("url", ""), "an arXiv number belongs in eprint"
    assert "doi.org" not in fields.get("url", "")


@for_each_entry
def test_key_is_author_year_word(key):
    entry = ENTRIES[key]
    family = re.sub(r"\\.|[^a-z]", "", entry.persons["author"][0].last_names[0].lower())
    assert re.fullmatch(rf"{family[:4]}[a-z]*{entry.fields['year']}[a-z]+", key)


@pytest.mark.parametrize("field", ["title", "doi", "eprint", "url"])
def test_no_work_is_listed_twice(field):
    values = [
        re.sub(r"\W", "", e.fields[field]).lower() for e in ENTRIES.values() if field in e.fields
    ]
    assert [value for value, n in Counter(values).items() if n > 1] == []


def test_every_entry_is_cited_and_every_citation_is_an_entry():
    assert cited() == set(ENTRIES)


def test_fields_stand_in_one_order():
    order = "author editor title booktitle journal howpublished series publisher volume number"
    order = [*order.split(), *"pages year doi eprint archiveprefix url".split()]
    text = FILE.read_text(encoding="utf-8")
    for body in re.findall(r"^@\w+\{\S+,\n(.*?)\n\}$", text, re.MULTILINE | re.DOTALL):
        places = [order.index(name) for name in re.findall(r"^  (\w+) +=", body, re.MULTILINE)]
        assert places == sorted(places), body
