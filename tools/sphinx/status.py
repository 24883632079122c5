"""Sphinx extension: the directive ``{book-status}``, facts about this build as tables.

No library knows both the lock and the machine.  The facts are gathered at every build; nothing of
them is compared by the tests of the chapters.  No name of a machine, a user or a folder is among
them, so that the page can be published.
"""

import os
import platform
import re
import subprocess
import time
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from joblib import cpu_count
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
Row = tuple[str, ...]


def build_table(root: Path) -> list[Row]:
    """When, from what, on what."""
    facts = {"Built": build_time(), "Version of dlnlib": import_module("dlnlib").__version__}
    if found := commit(root):
        facts["Commit"] = breakable(found)
    facts["SHA-256 of the lock"] = breakable(lock_hash(root))
    return [("Fact", "Value"), *(facts | machine() | settings()).items()]


def build_time() -> str:
    """Now, or what SOURCE_DATE_EPOCH says, as in other reproducible builds."""
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def commit(root: Path) -> str:
    """The commit of the working tree, and whether it has changes; empty without git."""
    if not (root / ".git").exists():  # a repository around the book is another one
        return ""
    command = ["git", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=, changed"]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def breakable(number: str) -> str:
    """A long hexadecimal number in groups of eight, on which a line may break."""
    first, comma, rest = number.partition(",")
    return f"`{' '.join(re.findall('.{8}', first))}`{comma}{rest}"


def lock_hash(root: Path) -> str:
    """SHA-256 of the lock file."""
    return sha256((root / "requirements.txt").read_bytes()).hexdigest()


def machine() -> dict[str, str]:
    """Python, operating system, processor."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = f"{platform.system()} {platform.release()}"
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        about = ""
    named = re.search(r"^model name\s*: (.+)$", about, re.MULTILINE)
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Operating system": f"{system}, {platform.machine()}",
        "Processor": named[1] if named else platform.processor() or "unknown",
        "Cores for the build": str(cpu_count()),
    }


def settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Threads and hash seed, which the kernels of the chapters inherit."""
    names = (*THREADS, "PYTHONHASHSEED")
    return {f"`{name}`": environment.get(name) or "not set" for name in names}


def package_table(root: Path) -> list[Row]:
    """Direct dependencies: what needs them, what is installed, whether the lock says the same."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"dlnlib": project["dependencies"], **project.get("optional-dependencies", {})}
    locked = locked_versions((root / "requirements.txt").read_text(encoding="utf-8"))
    needed: dict[str, list[str]] = {}
    for group, lines in groups.items():
        for line in lines:
            needed.setdefault(canonicalize_name(Requirement(line).name), []).append(group)
    rows = [("Package", "Needed by", "Installed", "Lock")]
    for name, by in needed.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "not installed"
        same = installed == locked.get(name)
        other = f"locked: {locked.get(name, 'no version')}"
        rows.append((name, ", ".join(by), installed, "as locked" if same else other))
    return rows


def locked_versions(lock: str) -> dict[str, str]:
    """Versions by package; of lines for several platforms, the one for this."""
    found = {}
    for line in re.findall(r"^\w.*==[^\\\n]*", lock, re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = str(requirement.specifier)[2:]
    return found


def result_table(root: Path) -> list[Row]:
    """Tables beside the chapters, as `dlnlib` writes them, and what makes them again."""
    rows = [("Table", "Command", "Seed", "Rows", "Version")]
    for path in sorted((root / "chapters" / "tables").glob("*.csv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
        count = sum(bool(line) and not line.startswith("#") for line in lines) - 1
        names = (f"`{path.name}`", f"`{head.get('command', '')}`")
        rows.append((*names, head.get("seed", ""), str(count), head.get("version", "")))
    return rows


KINDS = {"build": build_table, "packages": package_table, "tables": result_table}


class BookStatus(SphinxDirective):
    """A table of facts; the page that holds it is read again at every build."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the table in Markdown, as on any page."""
        kind = directives.choice(self.arguments[0], tuple(KINDS))
        head, *rows = KINDS[kind](Path(self.env.srcdir))
        lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
        place = nodes.container(classes=["book-status"])
        self.state.nested_parse(StringList(lines, "book-status"), 0, place)
        self.env.metadata[self.env.docname]["book-status"] = True
        return [place]


def pages_with_facts(app: Sphinx, env: BuildEnvironment, *changes: set[str]) -> list[str]:
    """Pages to read although their sources may not have changed."""
    return [page for page, data in env.metadata.items() if "book-status" in data]


def setup(app: Sphinx) -> dict[str, object]:
    """Register the directive with Sphinx."""
    app.add_directive("book-status", BookStatus)
    app.connect("env-get-outdated", pages_with_facts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
