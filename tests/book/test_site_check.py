"""The checker of the built pages sees each kind of failure, and is silent on a sound page."""

import pytest

from tools.check_site import check_site, main
from tools.outputs import TRACEBACK

PAGE = (
    '<!DOCTYPE html><html lang="en"><head><title>t</title>{head}</head><body>{body}</body></html>'
)


@pytest.fixture
def site(tmp_path):
    """Write a site of one page and the files given, and return its folder."""

    def write(body="", head="", files=None, page=PAGE):
        (tmp_path / "index.html").write_text(page.format(body=body, head=head))
        for name, content in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return tmp_path

    return write


CELL = '<div class="cell docutils"><div class="{}"><pre>{}</pre></div></div>'
SOUND = """
<h1 id="top-of-page">T</h1> <a href="#top-of-page">up</a> <a href="#">top</a>
<a href="b.html#x y">b</a>
<a href="https://arxiv.org/abs/1312.6120">a link to follow</a> <a href="mailto:a@b.c">m</a>
<img src="a.png" alt="A curve."> <img src="data:image/png;base64,AA" aria-hidden="true">
<script>const page = "https://example.org/page", space = "http://www.w3.org/2000/svg";</script>
"""
FILES = {
    "a.png": "",
    "b.html": PAGE.format(head="", body='<p id="x y">'),
    "s.css": "a{b:url(a.png)}",
}


def test_sound_site_has_no_problem(site, capsys):
    folder = site(SOUND, '<link rel="stylesheet" href="s.css?v=1">', FILES)
    assert check_site(folder) == []
    assert main([str(folder)]) == 0
    assert "2 pages checked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('<a href="gone.html">x</a>', "dead link: gone.html"),
        ('<a href="/index.html">x</a>', "dead link: /index.html"),
        ('<a href="../outside.html">x</a>', "dead link: ../outside.html"),
        ('<a href="#gone">x</a>', "dead anchor: #gone"),
        ('<a href="b.html#gone">x</a>', "dead anchor: b.html#gone"),
        ('<img src="gone.png" alt="x">', "missing asset: gone.png"),
        ('<img srcset="a.png 1x, gone.png 2x" src="a.png" alt="x">', "missing asset: gone.png"),
        ('<script src="gone.js"></script>', "missing asset: gone.js"),
        ('<img src="/a.png" alt="x">', "absolute path: /a.png"),
        ('<script src="https://cdn.example/x.js"></script>', "https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "//cdn.example/x.js"),
        ('<img src="http://example.org/x.png" alt="x">', "http://example.org/x.png"),
        ('<iframe src="https://example.org"></iframe>', "https://example.org"),
        ('<p style="background: url(https://example.org/x.png)">', "https://example.org/x.png"),
        ("<style>@import 'https://example.org/x.css';</style>", "https://example.org/x.css"),
        ("<style>@font-face{src:url(//example.org/x.woff2)}</style>", "//example.org/x.woff2"),
        ('<script>import("https://cdn.example/x")</script>', "https://cdn.example/x"),
        ('<script>s.src = "//cdn.example/x"</script>', "//cdn.example/x"),
        ('<script>fetch("https://example.org/data")</script>', "https://example.org/data"),
        ('<script>const u = "https://unpkg.com/x@1/lib.js";</script>', "https://unpkg.com"),
        ('<img src="a.png">', "without alternative text: a.png"),
        ('<img src="a.png" alt=" ">', "without alternative text: a.png"),
        ('<img src="a.png" alt="images/a.png">', "without alternative text: a.png"),
        ('<svg role="img"></svg>', "<svg> without alternative text"),
        (CELL.format("output traceback", "E: v"), "cell 1 put out a traceback"),
        (CELL.format("output stderr", "w"), "cell 1 put out a stderr"),
        (CELL.format("output text", f"{TRACEBACK}\nE: v"), "cell 1 put out: E: v"),
        (CELL.format("output text", "&lt;Figure size 1"), "cell 1 put out: <Figure size 1"),
    ],
)
def test_each_failure_in_a_page_is_seen(site, body, complaint, capsys):
    folder = site(body, files=FILES)
    problems = check_site(folder)
    assert len(problems) == 1, problems
    assert complaint in problems[0]
    assert main([str(folder)]) == 1
    assert complaint in capsys.readouterr().out


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        ('<link rel="stylesheet" href="https://example.org/x.css">', "https://example.org/x.css"),
        ('<link rel="preconnect" href="https://fonts.example">', "https://fonts.example"),
        ('<link rel="icon" href="gone.svg">', "missing asset: gone.svg"),
        ('<link rel="next" href="gone.html">', "dead link: gone.html"),
        ('<meta http-equiv="refresh" content="0; url=gone.html">', "dead link: gone.html"),
    ],
)
def test_each_failure_in_a_head_is_seen(site, head, complaint):
    problems = check_site(site(head=head))
    assert len(problems) == 1, problems
    assert complaint in problems[0]


def test_page_without_language_or_title_is_seen(site):
    problems = check_site(site(page="<html><body>{body}{head}</body></html>"))
    assert problems == [
        "index.html: the page has no <html lang=...>",
        "index.html: the page has no title",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.css", "@import url(https://example.org/x.css);"),
        ("s.css", "a { background: url('gone.png') }"),
        ("s.js", "import x from 'https://cdn.example/x';"),
        ("s.js", 'e.src="https://cdn.example/x"'),
    ],
)
def test_failures_in_assets_are_seen(site, name, content):
    problems = check_site(site(files={name: content}))
    assert len(problems) == 1, problems
    assert problems[0].startswith(name)


def test_empty_folder_is_no_site(tmp_path):
    assert "run `make book` first" in check_site(tmp_path)[0]
