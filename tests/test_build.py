"""The build fails when a page is wrong, twice as once, and follows every change of the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from book_extension import content_digest, merged_streams
from nbformat.v4 import new_output

ROOT = Path(__file__).resolve().parent.parent
FRAME = ["Makefile", "_config.yml", "_static", "requirements.txt", "tools"]
PAGE = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

(sec-intro)=
# A page

```{code-cell} ipython3
%s
```

%s
"""
PRINT = "from dlnlib.constant import VALUE\n\nprint(f'value = {VALUE}')"


@pytest.fixture
def book(tmp_path):
    """A book of one page, with a package of one module, in the frame of the real one."""
    for name in FRAME:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapters/intro\n")
    (tmp_path / "references.bib").write_text("")
    (tmp_path / "chapters").mkdir()
    (tmp_path / "dlnlib").mkdir()
    (tmp_path / "dlnlib" / "__init__.py").write_text("")
    (tmp_path / "dlnlib" / "constant.py").write_text("VALUE = 11\n")
    return tmp_path


def build(book: Path) -> subprocess.CompletedProcess:
    """Run `make book` there, with the packages of this environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    environment |= {"PYTHONPATH": str(book), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", "book", f"VENV={sys.prefix}", "READY="]
    return subprocess.run(
        command, cwd=book, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def write(book: Path, code: str = PRINT, text: str = "") -> None:
    (book / "chapters" / "intro.md").write_text(PAGE % (code, text))


def rendered(book: Path) -> str:
    return (book / "_build" / "html" / "chapters" / "intro.html").read_text()


def test_a_change_of_the_package_reaches_the_page(book):
    write(book)
    first = build(book)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"open {book}/_build/html/index.html" in first.stdout
    assert "value = 11" in rendered(book)
    second = build(book)
    assert second.returncode == 0
    assert "Executing notebook" not in second.stdout
    (book / "dlnlib" / "constant.py").write_text("VALUE = 12\n")
    third = build(book)
    assert third.returncode == 0
    assert "value = 12" in rendered(book)
    assert len(list((book / "_build" / ".jupyter_cache").iterdir())) == 1


REFERENCES = "{eq}`eq-absent` [](absent.md) {ref}`absent-label` {cite:t}`absent1999`"
STDERR = "import sys; print('unwanted', file=sys.stderr)"


@pytest.mark.parametrize(
    ("code", "text", "complaints"),
    [
        ("raise RuntimeError('broken cell')", "", ["broken cell"]),
        (STDERR, REFERENCES, ["stderr", "eq-absent", "absent.md", "absent-label", "absent1999"]),
    ],
)
def test_a_wrong_page_fails_the_build_each_time(book, code, text, complaints):
    write(book, code, text)
    for _ in range(2):
        result = build(book)
        assert result.returncode != 0
        for complaint in complaints:
            assert complaint in result.stderr


@pytest.mark.parametrize("name", ["dlnlib/a.py", "dlnlib/a.mplstyle", "requirements.txt"])
def test_digest_follows_the_contents(tmp_path, name):
    (tmp_path / "dlnlib").mkdir()
    path = tmp_path / name
    path.write_text("x = 1\n")
    before = content_digest(tmp_path)
    assert content_digest(tmp_path) == before
    path.write_text("x = 2\n")
    assert content_digest(tmp_path) != before


def test_digest_follows_tables_and_ignores_prose_and_byte_code(tmp_path):
    for name in ("dlnlib/__pycache__", "chapters/tables"):
        (tmp_path / name).mkdir(parents=True)
    before = content_digest(tmp_path)
    (tmp_path / "chapters" / "intro.md").write_text("prose")
    (tmp_path / "dlnlib" / "__pycache__" / "a.pyc").write_text("code")
    assert content_digest(tmp_path) == before
    (tmp_path / "chapters" / "tables" / "sweep.csv").write_text("1,2\n")
    assert content_digest(tmp_path) != before


def test_a_printed_line_does_not_depend_on_how_the_kernel_cuts_it():
    whole, picture = "one, two\n\nthree\n", new_output("display_data", {"text/plain": "<Figure>"})
    for cut in range(1, len(whole)):
        pieces = [new_output("stream", name="stdout", text=whole[:cut]), picture]
        pieces.append(new_output("stream", name="stdout", text=whole[cut:]))
        for _ in range(2):  # and leaves the pieces as they are
            assert merged_streams(pieces) == [
                new_output("stream", name="stdout", text=whole),
                picture,
            ]
