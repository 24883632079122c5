"""Names and roles that the pages lack as the theme and Sphinx write them."""

from tools.sphinx.accessible import named_toggles, sound_roles

CONTENTS = (
    '<ul><li class="has-children"><a href="a.html">Exact <code>dynamics</code></a>'
    "<details><summary><span></span></summary><ul><li><a>Depth</a></li></ul></details></li></ul>"
)


def test_each_toggle_is_named_after_its_chapter():
    named = named_toggles(CONTENTS)
    assert '<summary aria-label="Sections of Exact dynamics">' in named
    assert named.replace(' aria-label="Sections of Exact dynamics"', "") == CONTENTS
    assert named_toggles(named) == named


def test_entries_of_the_bibliography_are_items_of_their_list():
    entry = '<div class="citation" role="doc-biblioentry"><p>Saxe</p></div>'
    assert sound_roles(entry) == '<div class="citation" role="listitem"><p>Saxe</p></div>'
