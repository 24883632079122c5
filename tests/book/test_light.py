"""Pages load what they use, and the icons that are left are those that are shown."""

import matplotlib.font_manager
from fontTools.ttLib import TTFont

from tools.sphinx import light

PAGE = (
    '<head><script defer="" src="../_static/scripts/fontawesome.js?digest=5"></script>\n'
    '<script src="../_static/searchtools.js"></script><script src="../searchindex.js"></script>\n'
    '<script src="../_static/scrollable.js"></script><script>let a;</script></head>'
)
STYLE = (
    r'.fa-bars:before,.fa-navicon:before{content:"\f0c9"}.fa-gear:before{content:"\f013"}'
    r'.fa-lg{font-size:1.25em}:root{--icon-bell:"\f0f3"}'
    r'@font-face{src:url(../fonts/fa-solid-900.woff2) format("woff2"),url(x.ttf);a:b}'
)


def test_only_the_named_scripts_go():
    lean = light.without(light.without(PAGE, light.ICONS), light.SEARCH)
    assert lean == (
        '<head>\n<script src="../_static/scrollable.js"></script><script>let a;</script></head>'
    )


def test_a_style_keeps_the_icons_that_are_used():
    lean, characters = light.lean_style(STYLE, {"fa-bars", "fa-lg"})
    assert characters == {"\uf0c9", "\uf0f3"}
    assert "fa-gear" not in lean and "woff2" not in lean
    assert "fa-navicon" in lean and ".fa-lg{font-size:1.25em}" in lean and ";a:b}" in lean


def test_a_font_keeps_its_characters(tmp_path):
    whole = matplotlib.font_manager.findfont("DejaVu Sans")
    light.write_font(whole, tmp_path / "part.woff", {"a", "é"})
    part = TTFont(tmp_path / "part.woff")
    assert set(part.getBestCmap()) == {ord("a"), ord("é")}
    assert (tmp_path / "part.woff").stat().st_size < 10_000
