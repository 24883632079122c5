"""The build fails when a page is wrong, twice as once, and follows every change of the package."""

from pathlib import Path

import pytest
from helpers import build, write
from nbformat.v4 import new_output

from tools.sphinx.cache import content_digest
from tools.sphinx.streams import merged_streams

PRINT = "from dlnlib.constant import VALUE\n\nprint(f'value = {VALUE}')"


def rendered(book: Path) -> str:
    return (book / "_build" / "html" / "chapters" / "intro.html").read_text()


def test_a_change_of_the_package_reaches_the_page(book):
    write(book, PRINT)
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
BROKEN = (
    "import matplotlib.pyplot as plt\n_, ax = plt.subplots()\n"
    "ax.set_xlabel(r'time $\\frac{t$')\nplt.show()"
)
STDERR = "import sys; print('unwanted', file=sys.stderr)"


@pytest.mark.parametrize(
    ("code", "text", "complaints"),
    [
        ("raise RuntimeError('broken cell')", "", ["broken cell"]),
        (BROKEN, "", ["intro", "code cell 1", "picture is missing"]),
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


HOSTILE = {
    "PYTHONOPTIMIZE": "1",
    "PYTHONPATH": "/nowhere",
    "PYTHONWARNINGS": "error",
    "MPLBACKEND": "Agg",
    "MATPLOTLIBRC": "/nowhere/matplotlibrc",
    "JUPYTER_PATH": "/nowhere",
    "NUMBA_DISABLE_JIT": "1",
    "OMP_NUM_THREADS": "7",
    "LC_ALL": "C",
}


@pytest.fixture
def hostile_home(tmp_path_factory) -> Path:
    """A reader's own kernel, start-up file and style, none of which work here."""
    kernel = '{"argv": ["/nowhere"], "language": ""}'
    home = tmp_path_factory.mktemp("home")
    for name, text in {
        ".local/share/jupyter/kernels/python3/kernel.json": kernel,
        ".ipython/profile_default/startup/first.py": "raise SystemExit('of the reader')",
        ".config/matplotlib/matplotlibrc": "text.usetex: True\nfont.family: absent\n",
        ".config/pip/pip.conf": "[global]\nindex-url = https://nowhere.invalid\n",
    }.items():
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text)
    return home


FIGURE = "import matplotlib.pyplot as plt\nplt.plot([0, 1])\nplt.title(r'$\\tau$')\nplt.show()"


def test_the_readers_home_reaches_no_cell(book, hostile_home):
    write(book, FIGURE)
    result = build(book, HOME=str(hostile_home), XDG_CONFIG_HOME=str(hostile_home / ".config"))
    assert result.returncode == 0, result.stderr


def test_the_readers_shell_reaches_no_cell(book):
    names = sorted(HOSTILE)
    write(book, f"import os\nprint(*(os.environ.get(n) for n in {names}))\nassert 1 == 2")
    result = build(book, **HOSTILE)
    assert result.returncode != 0
    assert "AssertionError" in result.stderr
    write(book, f"import os\nprint(*(os.environ.get(n) for n in {names}))")
    result = build(book, **HOSTILE)
    assert result.returncode == 0, result.stderr
    values = {"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(book)}
    assert " ".join(str(values.get(name)) for name in names) in rendered(book).replace(
        "module://matplotlib_inline.backend_inline", "None"
    )
