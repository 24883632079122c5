"""The files around the book agree with each other: versions, citation, lock, licences, commands."""

import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dlnlib
from tools.mutants import out_of_date

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
COMMANDS = (
    "book test deep deeptest bless check pdf serve lab notebooks bench lock clean help".split()
)

TEXT = {"type": "string", "minLength": 1}
ENTITY = {"type": "object", "required": ["name"], "properties": {"name": TEXT}}
PERSON = {"type": "object", "required": ["family-names", "given-names"]}
# The part of the Citation File Format 1.2.0 that this project uses; any other key is an error.
CITATION_SCHEMA = {
    "type": "object",
    "required": ["cff-version", "message", "title", "authors", "version", "date-released"],
    "additionalProperties": False,
    "properties": {
        "cff-version": {"const": "1.2.0"},
        "message": TEXT,
        "type": {"enum": ["software", "dataset"]},
        "title": TEXT,
        "abstract": TEXT,
        "authors": {"type": "array", "minItems": 1, "items": {"anyOf": [ENTITY, PERSON]}},
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "date-released": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
        "license": {"type": "array", "items": {"enum": ["MIT", "CC-BY-4.0"]}, "uniqueItems": True},
        "keywords": {"type": "array", "items": TEXT, "uniqueItems": True},
        "doi": {"type": "string", "pattern": r"^10\.\d{4,9}(\.\d+)?/\S+$"},
        "url": {"type": "string", "pattern": "^https://"},
        "repository-code": {"type": "string", "pattern": "^https://"},
    },
}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def citation() -> dict:
    return yaml.safe_load(read("CITATION.cff"))


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))["project"]


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    """Locked versions by package name."""
    return pins("requirements.txt")


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==(\S+)", read(name), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_citation_follows_its_format(citation):
    jsonschema.validate(citation, CITATION_SCHEMA)
    date.fromisoformat(citation["date-released"])


@pytest.mark.parametrize(
    ("key", "value"), [("authors", []), ("date-released", "soon"), ("version", 0.1), ("titel", "x")]
)
def test_wrong_citation_is_refused(citation, key, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(citation | {key: value}, CITATION_SCHEMA)


def test_one_version_and_one_date_everywhere(citation):
    latest = re.search(r"^## (\S+) \((\S+)\)$", read("CHANGELOG.md"), re.MULTILINE)
    assert citation["version"] == dlnlib.__version__ == latest[1]
    assert citation["date-released"] == latest[2]
    assert f"version {dlnlib.__version__}" in read("README.md")


def test_one_title_everywhere(citation):
    title = yaml.safe_load(read("_config.yml"))["title"]
    assert citation["title"] == title
    assert read("README.md").startswith(f"# {title}\n")
    assert f"*{title}*" in read("README.md")


def test_lock_satisfies_the_project(project, locked):
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], *(extras[name] for name in extras if name != "deep")]
    assert_satisfied(groups, locked)
    assert_satisfied([extras["deep"]], pins("requirements-deep.txt"))


def assert_satisfied(groups: list[list[str]], locked: dict[str, str]) -> None:
    for requirement in (Requirement(line) for group in groups for line in group):
        version = locked.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not locked: run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement}, but {version} is locked"


def test_lock_has_hashes_and_no_address():
    lock = read("requirements.txt")
    assert "://" not in lock
    assert "index-url" not in lock
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    unhashed = [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]
    assert not unhashed


def test_licences_of_code_and_text():
    text = read("LICENSE")
    assert "Permission is hereby granted, free of charge" in text
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text
    assert "https://creativecommons.org/licenses/by/4.0/\n" in text
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_local_links_of_the_documents(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", read(name)):
        assert "://" in target or (ROOT / target).exists(), f"{name} links to a missing {target}"


def test_readme_example_runs():
    example = re.search(r"```python\n(.*?)```", read("README.md"), re.DOTALL)[1]
    names = {}
    exec(example, names)  # the reader's first contact with the package
    assert names["a"].shape == (101, 2)


def test_help_lists_every_command():
    result = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = {line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")}
    assert set(COMMANDS) <= listed
    for command in re.findall(r"`make ([a-z]+)", read("README.md") + read("CONTRIBUTING.md")):
        assert command in listed


def test_no_notebook_outside_the_references():
    folders = ["chapters", "dlnlib", "tests", "benchmarks", "tools", "_static"]
    found = [path.relative_to(ROOT) for name in folders for path in (ROOT / name).rglob("*.ipynb")]
    kept = Path("tests", "reference")
    stray = [p for p in found if p.parent != kept and ".ipynb_checkpoints" not in p.parts]
    assert found
    assert not stray, f"chapters are plain text; remove {stray}"


def test_settings_that_keep_the_build_honest():
    execute = yaml.safe_load(read("_config.yml"))["execute"]
    assert execute["execute_notebooks"] == "cache"
    assert execute["allow_errors"] is False
    assert execute["stderr_output"] == "error"
    assert "jupyter-book build . -W --keep-going -n" in read("Makefile")


def test_every_mutant_that_changes_nothing_is_still_made():
    assert out_of_date() == []
