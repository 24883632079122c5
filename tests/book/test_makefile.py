"""What is removed is ours, and each obstacle says what to do."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT


@pytest.fixture
def clone(tmp_path) -> Path:
    """A folder with the Makefile and the files that it reads."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def make(clone: Path, *words: str, **shell: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | shell
    return subprocess.run(
        ["make", *words], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )


def folder(path: Path, marker: str = "") -> Path:
    path.mkdir()
    (path / "kept").write_text("a reader's own")
    if marker:
        (path / marker).touch()
    return path


def test_the_shell_does_not_name_what_is_removed(clone):
    mine = folder(clone / "mine", ".made-by-make")
    assert make(clone, "distclean", VENV=str(mine)).returncode == 0
    assert (mine / "kept").exists()


@pytest.mark.parametrize("command", ["distclean", "env"])
@pytest.mark.parametrize("named", [True, False])
def test_a_foreign_folder_is_refused(clone, command, named):
    mine = folder(clone / ("mine" if named else ".venv"))
    result = make(clone, command, *([f"VENV={mine}"] if named else []))
    assert result.returncode != 0
    assert "was not made by this Makefile" in result.stderr
    assert "VENV=" in result.stderr
    assert (mine / "kept").exists()


@pytest.mark.parametrize("marker", [".made-by-make", ".locked-packages"])
def test_ours_is_removed(clone, marker):
    ours = folder(clone / ".venv", marker)
    assert make(clone, "distclean").returncode == 0
    assert not ours.exists()


def test_a_failed_installation_says_what_to_do(clone):
    fake = clone / "python"
    fake.write_text('#!/bin/sh\ncase "$2" in venv) exit 1;; esac\n')
    fake.chmod(0o755)
    for _ in range(2):  # half an environment is taken up again
        result = make(clone, "env", f"PYTHON={fake}")
        assert result.returncode != 0
        assert "PIP_INDEX_URL" in result.stderr
        assert "Then run make env again" in result.stderr


def test_a_taken_port_is_named(clone):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [f"VENV={sys.prefix}", "READY=", "book=", f"PORT={port}"]
        result = make(clone, "serve", "-o", "book", *words)
    assert result.returncode != 0
    assert f"Port {port} is taken" in result.stderr
    assert "PORT=" in result.stderr


def test_a_second_build_is_refused_where_there_is_flock(clone):
    (clone / "_build").mkdir()
    with (clone / "_build" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = make(clone, "book", f"VENV={sys.prefix}", "READY=")
    assert result.returncode != 0  # without flock for another reason: there is no book here
    assert ("Another build runs" in result.stderr) == bool(shutil.which("flock"))
