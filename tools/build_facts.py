"""What the status page says about a build: versions, machine, seeds, tables.  Knows no Sphinx.

No name of a machine, a user or a folder is among these facts, so that the page can be published.
"""

import os
import platform
import subprocess
import time
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = [
    "as_utc",
    "build_time",
    "commit",
    "cores",
    "lock_hash",
    "machine",
    "packages",
    "result_tables",
    "settings",
]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def as_utc(seconds: float) -> str:
    """A time as day, hour and minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def build_time() -> str:
    """Now, or what SOURCE_DATE_EPOCH says, as in other reproducible builds."""
    return as_utc(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time()))


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


def machine() -> dict[str, str]:
    """Python, operating system, processor."""
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Operating system": f"{_system()}, {platform.machine()}",
        "Processor": _processor() or "unknown",
        "Cores for the build": str(cores()),
    }


def cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Threads and hash seed, which the kernels of the chapters inherit."""
    return {name: environment.get(name) or "not set" for name in (*THREADS, "PYTHONHASHSEED")}


def lock_hash(root: Path) -> str:
    """SHA-256 of the lock file."""
    return sha256((root / "requirements.txt").read_bytes()).hexdigest()


def packages(root: Path) -> list[tuple[str, str, str, str]]:
    """Direct dependencies.

    Parameters
    ----------
    root : Path
        The folder that holds `pyproject.toml` and `requirements.txt`.

    Returns
    -------
    list of (str, str, str, str)
        Name, what needs it, locked and installed version; "" for one that is missing.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"dlnlib": project["dependencies"], **project.get("optional-dependencies", {})}
    locked = _locked((root / "requirements.txt").read_text(encoding="utf-8"))
    needed: dict[str, list[str]] = {}
    for group, lines in groups.items():
        for line in lines:
            needed.setdefault(canonicalize_name(Requirement(line).name), []).append(group)
    return [
        (name, ", ".join(by), locked.get(name, ""), _installed(name)) for name, by in needed.items()
    ]


def _locked(text: str) -> dict[str, str]:
    """Locked versions; of lines for several platforms, the one for this."""
    found = {}
    for line in text.splitlines():
        if "==" in line and line[:1].isalnum():
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                name = canonicalize_name(requirement.name)
                found[name] = str(requirement.specifier).removeprefix("==")
    return found


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def result_tables(folder: Path) -> dict[str, dict[str, str]]:
    """Heads of the result tables: command, function, seed, version.

    Parameters
    ----------
    folder : Path
        With files as `dlnlib.sweeps` writes them.

    Returns
    -------
    dict of dict
        By the name of the table; with the number of its rows.
    """
    tables = {}
    for path in sorted(folder.glob("*.csv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
        rows = sum(bool(line) and not line.startswith("#") for line in lines) - 1
        tables[path.stem] = head | {"rows": str(rows)}
    return tables
