"""The status page: true to the environment, made at each build, without private facts."""

import getpass
import os
import re
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import ROOT, built, write
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dlnlib.studies import read_table
from dlnlib.studies.catalogue import STUDIES
from tools.bless import CHAPTERS
from tools.sphinx.status import (
    KINDS,
    build_time,
    commit,
    lock_hash,
    machine,
    package_table,
    result_table,
    settings,
)


def test_packages_are_the_direct_dependencies_as_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = {canonicalize_name(Requirement(line).name) for group in groups for line in group}
    _, *found = package_table(ROOT)
    assert {name for name, *_ in found} == asked
    assert len(found) == len(asked)
    by_name = {name: facts for name, *facts in found}
    assert by_name["flit-core"][0] == "dev"
    assert by_name["numpy"] == ["dlnlib", version("numpy"), "as locked"]


def test_missing_and_differing_packages_are_seen(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=1"]\n'
        '[project.optional-dependencies]\nextra = ["No_Such.Package", "NumPy"]\n'
    )
    (tmp_path / "requirements.txt").write_text(
        'numpy==1.0 ; python_version < "3" \\\n  --hash=sha256:0\nnumpy==0.1\n  # numpy==9\n'
    )
    _, numpy, absent = package_table(tmp_path)
    assert numpy == ("numpy", "dlnlib, extra", version("numpy"), "locked: 0.1")
    assert absent == ("no-such-package", "extra", "not installed", "locked: no version")


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
    assert build_time() == "1970-01-02 00:00 UTC"


def test_machine_has_no_names_of_its_own():
    facts = machine()
    assert facts["Python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert int(facts["Cores for the build"]) >= 1
    for private in (socket.gethostname(), str(Path.home())):
        assert all(private not in value for value in facts.values())


def test_settings_are_those_of_the_environment():
    found = settings({"OMP_NUM_THREADS": "1", "HOME": "/a"})
    assert found["`OMP_NUM_THREADS`"] == "1"
    assert found["`PYTHONHASHSEED`"] == "not set"
    assert "HOME" not in found


def test_tables_are_those_of_the_studies():
    _, *found = result_table(ROOT)
    names = [name.strip("`").removesuffix(".csv") for name, *_ in found]
    assert names == sorted([*STUDIES, "densenet", "densenet_cost"])
    for study, (_, command, seed, rows, _) in zip(names, found, strict=True):
        table = read_table(CHAPTERS / "tables" / f"{study}.csv")
        assert rows == str(len(table))
        if study.startswith("densenet"):  # made by dlnlib.deep, which needs PyTorch
            assert command.strip("`") == table.attrs["command"]
            assert command.strip("`").startswith(("make deep ", "python -m dlnlib.deep "))
            continue
        assert command.strip("`") == table.attrs["command"] == f"make tables TABLE={study}"
        assert seed == table.attrs["seed"] == str(STUDIES[study].seed)


CONTENTS = "format: jb-book\nroot: chapters/intro\nchapters:\n- file: chapters/status\n"
FACTS = [f"```{{book-status}} {kind}\n```" for kind in KINDS]


def status(book: Path, *tables: str, **environment: str) -> str:
    """Build the book with a page of tables; the text of this page."""
    (book / "_toc.yml").write_text(CONTENTS)
    page = "\n\n".join(["(sec-b)=\n# Status", *tables]) + "\n"
    (book / "chapters" / "status.md").write_text(page)
    text = (built(book, **environment) / "status.html").read_text(encoding="utf-8")
    body = text[text.index("<article") : text.index("</article>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_page_is_made_at_every_build(book):
    tables = [*FACTS, "```{nb-exec-table}\n```"]
    write(book, "import time; time.sleep(0.2)\nprint(41)")
    first = status(book, *tables, SOURCE_DATE_EPOCH="0", OMP_NUM_THREADS="1")
    assert "Built 1970-01-01 00:00 UTC" in first
    assert "Version of dlnlib 7.8.9" in first
    assert "Commit" not in first, "there is no repository"
    assert " ".join(re.findall(".{8}", lock_hash(ROOT))) in first
    assert "OMP_NUM_THREADS 1 " in first
    assert f"numpy dlnlib {version('numpy')} as locked" in first
    seconds = re.search(r"chapters/intro 20\d\d-\d\d-\d\d \d\d:\d\d cache ([\d.]+)", first)[1]
    assert float(seconds) >= 0.2
    for private in (str(book), socket.gethostname(), os.path.expanduser("~") + "/"):
        assert private not in first
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", first)

    # nothing has changed but the clock: no chapter runs again, and the page is new
    second = status(book, *tables, SOURCE_DATE_EPOCH="86400", OMP_NUM_THREADS="1")
    assert second == first.replace("1970-01-01", "1970-01-02")

    write(book, "print(43)")
    third = status(book, *tables, SOURCE_DATE_EPOCH="86400")
    assert f"cache {seconds}" not in third
    pages = book / "_build" / "html"
    notebook = pages / "_sources" / "chapters" / "intro.ipynb"
    assert '"43\\n"' in notebook.read_text(encoding="utf-8"), "the download has its outputs"
    assert "_sources/chapters/intro.ipynb" in (pages / "chapters" / "intro.html").read_text()


def test_unknown_facts_are_refused(book):
    write(book, "")
    with pytest.raises(AssertionError, match="mood"):
        status(book, "```{book-status} mood\n```")


def test_the_real_page_shows_every_kind_of_fact():
    text = (CHAPTERS / "status.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\{book-status\} (\w+)", text)) == sorted(KINDS)
    assert "{nb-exec-table}" in text
