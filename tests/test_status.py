"""The status page: true to the environment, made at each build, without private facts."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import build_facts
import pytest
from book_status import KINDS, as_table, code_cells
from build_facts import commit, lock_hash, machine, packages, result_tables, settings
from chapter_seeds import chapter_seeds
from docutils import nodes
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from references import CHAPTERS, chapter_cells, chapters

from dlnlib.studies import read_table
from dlnlib.studies.catalogue import STUDIES

ROOT = CHAPTERS.parent
HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
---

"""


@pytest.mark.parametrize("chapter", chapters(), ids=lambda path: path.stem)
def test_cells_are_those_of_the_chapter(chapter):
    expected = [cell.source for cell in chapter_cells(chapter)]
    found = code_cells(chapter.read_text(encoding="utf-8"))
    assert [cell.strip() for cell in found if cell.strip()] == expected


@pytest.mark.parametrize(
    ("code", "seeds"),
    [
        ("rng = np.random.default_rng(3)", ["3"]),
        ("rng = np.random.default_rng()", []),
        ("a = RandomState(0), default_rng(2).spawn(5), default_rng(0)", ["0", "2"]),
        ("for k in range(5):\n    f(default_rng(k))", ["0 to 4"]),
        ("runs = {k: default_rng(k) for k in range(3, 9, 2)}", ["3, 5, 7"]),
        ("for seed, n in enumerate(sizes, 1):\n    default_rng(seed)", ["1 and up"]),
        ("for seed, n in enumerate(sizes):\n    default_rng(seed)", ["0 and up"]),
        ("def run(n, seed=4):\n    default_rng(seed)\nrun(1)\nrun(2, 9)", ["9", "4"]),
        ("edge, seeds = 1, range(20)\n[default_rng(seed) for seed in seeds]", ["0 to 19"]),
        ("seed = int(stream.integers(9))\ndefault_rng(seed)", ["drawn"]),
        ("default_rng(year + 1)", ["year + 1"]),
        ("sweep(f, grid, seed=7)\nClassicalMDS(random_state=11)", ["7", "11"]),
        ("k = k\ndefault_rng(k)", ["k"]),
        ("%matplotlib inline\ndefault_rng(1)", []),
    ],
)
def test_seeds_are_read_from_the_code(code, seeds):
    assert chapter_seeds([code]) == seeds


def test_seeds_go_from_cell_to_cell_in_order():
    cells = ["def run(seed):\n    return default_rng(seed)", "run(2)", "default_rng(1)", "run(3)"]
    assert chapter_seeds(cells) == ["2", "3", "1"]
    for chapter in chapters():
        sources = [cell.source for cell in chapter_cells(chapter)]
        literal = re.findall(r"(?:default_rng|RandomState)\((\d+)\)", "\n".join(sources))
        assert set(literal) <= set(chapter_seeds(sources))


def test_packages_are_the_direct_dependencies_as_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = {canonicalize_name(Requirement(line).name) for group in groups for line in group}
    found = packages(ROOT)
    assert {name for name, *_ in found} == asked
    assert len(found) == len(asked)
    by_name = {name: (by, locked, installed) for name, by, locked, installed in found}
    assert by_name["flit-core"][0] == "dev"
    assert by_name["numpy"] == ("dlnlib", version("numpy"), version("numpy"))


def test_missing_and_differing_packages_are_seen(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=1"]\n'
        '[project.optional-dependencies]\nextra = ["No_Such.Package", "NumPy"]\n'
    )
    (tmp_path / "requirements.txt").write_text(
        'numpy==1.0 ; python_version < "3" \\\n  --hash=sha256:0\nnumpy==0.1\n  # numpy==9\n'
    )
    numpy, absent = packages(tmp_path)
    assert numpy[:3] == ("numpy", "dlnlib, extra", "0.1")
    assert absent == ("no-such-package", "extra", "", "")


def test_lock_hash_is_that_of_sha256sum():
    found = subprocess.run(
        ["sha256sum", "requirements.txt"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert lock_hash(ROOT) == found.stdout.split()[0]


def test_commit_with_and_without_git(tmp_path, monkeypatch):
    assert commit(tmp_path) == ""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-q", "-m", "a"], ["tag", "v1"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    assert re.fullmatch("[0-9a-f]{40}", commit(tmp_path))
    (tmp_path / "a").write_text("2")
    assert re.fullmatch("[0-9a-f]{40}, changed", commit(tmp_path))
    (tmp_path / "inside").mkdir()
    assert commit(tmp_path / "inside") == ""
    monkeypatch.setenv("PATH", "")
    assert commit(tmp_path) == ""


def test_build_time_can_be_fixed(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert build_facts.build_time() == "1970-01-02 00:00 UTC"


def test_machine_has_no_names_of_its_own():
    facts = machine()
    assert facts["Python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert int(facts["Cores for the build"]) >= 1
    for private in (socket.gethostname(), str(Path.home())):
        assert all(private not in value for value in facts.values())


def test_settings_are_those_of_the_environment():
    found = settings({"OMP_NUM_THREADS": "1", "HOME": "/a"})
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["PYTHONHASHSEED"] == "not set"
    assert "HOME" not in found


def test_tables_are_those_of_the_studies():
    found = result_tables(CHAPTERS / "tables")
    assert set(found) == set(STUDIES)
    for name, head in found.items():
        table = read_table(CHAPTERS / "tables" / f"{name}.csv")
        assert head["rows"] == str(len(table))
        assert head["command"] == table.attrs["command"] == f"make tables TABLE={name}"
        assert head["seed"] == table.attrs["seed"] == str(STUDIES[name].seed)


def test_rows_and_columns_of_a_table():
    table = as_table(("a", "b"), [("one", nodes.literal(text="two")), ("x", "y" * 90)])
    widths = [spec["colwidth"] for spec in table.findall(nodes.colspec)]
    assert widths == [3, 40]
    assert [entry.astext() for entry in table.findall(nodes.entry)][:4] == ["a", "b", "one", "two"]


def book(folder: Path) -> Path:
    """A book of two pages, the second with all tables, in the frame of the real one."""
    for name in ("_config.yml", "_static", "requirements.txt", "pyproject.toml", "tools"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: chapters/intro\nchapters:\n- file: chapters/status\n"
    )
    (folder / "references.bib").write_text("")
    (folder / "dlnlib").mkdir()
    (folder / "dlnlib" / "__init__.py").write_text('__version__ = "7.8.9"\n')
    (folder / "chapters").mkdir()
    code = "```{code-cell} ipython3\nimport time; time.sleep(0.2); default_rng = int\n"
    code += "print(default_rng(41))\n```\n"
    (folder / "chapters" / "intro.md").write_text(f"{HEAD}(sec-a)=\n# First page\n\n{code}")
    places = "\n\n".join(f"```{{book-status}} {kind}\n```" for kind in KINDS)
    (folder / "chapters" / "status.md").write_text(f"(sec-b)=\n# Status\n\n{places}\n")
    return folder


def build(folder: Path, **environment: str) -> str:
    """Build that book as `make book` does; the text of the status page."""
    command = [f"{sys.prefix}/bin/jupyter-book", "build", ".", "-W", "--keep-going", "-n"]
    result = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    page = (folder / "_build" / "html" / "chapters" / "status.html").read_text(encoding="utf-8")
    body = page[page.index("<article") : page.index("</article>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_page_is_made_at_every_build(tmp_path):
    folder = book(tmp_path)
    first = build(folder, SOURCE_DATE_EPOCH="0", OMP_NUM_THREADS="1")
    assert "Built 1970-01-01 00:00 UTC" in first
    assert "Version of dlnlib 7.8.9" in first
    assert "Commit" not in first, "there is no repository"
    assert " ".join(re.findall(".{8}", lock_hash(ROOT))) in first
    assert "OMP_NUM_THREADS 1 " in first
    assert re.search(r"Seeds First page 41 ", first)
    seconds = re.search(r"First page ([\d.]+) 20\d\d-\d\d-\d\d \d\d:\d\d UTC", first)[1]
    assert float(seconds) >= 0.2
    assert f"All chapters {seconds}" in first
    assert f"numpy dlnlib {version('numpy')} as locked" in first
    for private in (str(tmp_path), socket.gethostname(), os.path.expanduser("~") + "/"):
        assert private not in first
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", first)

    # nothing has changed but the clock: no chapter runs again, and the page is new
    second = build(folder, SOURCE_DATE_EPOCH="86400", OMP_NUM_THREADS="1")
    assert second == first.replace("1970-01-01", "1970-01-02")

    intro = folder / "chapters" / "intro.md"
    intro.write_text(intro.read_text().replace("41", "43").replace("First", "Other"))
    third = build(folder, SOURCE_DATE_EPOCH="86400")
    assert re.search(r"Seeds Other page 43 ", third)
    notebook = folder / "_build" / "html" / "_sources" / "chapters" / "intro.ipynb"
    assert '"43\\n"' in notebook.read_text(encoding="utf-8"), "the download has its outputs"
    assert (
        "_sources/chapters/intro.ipynb" in (notebook.parents[2] / "chapters/intro.html").read_text()
    )


def test_unknown_facts_are_refused(tmp_path):
    folder = book(tmp_path)
    (folder / "chapters" / "status.md").write_text(
        "(sec-b)=\n# Status\n\n```{book-status} mood\n```\n"
    )
    with pytest.raises(AssertionError, match="mood"):
        build(folder)


def test_the_real_page_shows_every_kind_of_fact():
    text = (CHAPTERS / "status.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\{book-status\} (\w+)", text)) == sorted(KINDS)
