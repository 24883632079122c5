"""What test files share: small books in the frame of the real one, facts about the chapters,
formulas that the package has no use for.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from dlnlib.flow import gradient_descent
from dlnlib.modes import mode_sensitivity, mode_strength
from dlnlib.tasks import Modes
from tools.bless import CHAPTERS

ROOT = CHAPTERS.parent
FRAME = ["Makefile", "_config.yml", "_static", "requirements.txt", "tools"]
EQUATION = re.compile(r"^\$\$[ \t]*\(([^)]+)\)|\\label\{([^}]+)\}", re.MULTILINE)
MATH_BLOCK = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{math\}(?P<text>.*?)^(?P=fence)", re.DOTALL | re.MULTILINE
)
LABEL = re.compile(r"^:label:[ \t]*(\S+)|^label:[ \t]*(\S+)", re.MULTILINE)
HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

"""
PAGE = HEAD + "(sec-intro)=\n# A page\n\n```{code-cell} ipython3\n%s\n```\n\n%s\n"
CONTENTS = "format: jb-book\nroot: chapters/intro\n"


def frame(folder: Path, *others: str, contents: str = CONTENTS) -> Path:
    """The frame of the real book, and other parts of it, around an empty folder of chapters."""
    for name in [*FRAME, *others]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / "_toc.yml").write_text(contents)
    (folder / "references.bib").write_text("")
    (folder / "chapters").mkdir()
    return folder


def build(book: Path, **settings: str) -> subprocess.CompletedProcess:
    """Run `make book` there, with the packages of this environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", **settings}
    command = ["make", "book", f"VENV={sys.prefix}", "READY="]
    return subprocess.run(
        command, cwd=book, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def built(book: Path, **settings: str) -> Path:
    """The folder of its pages; a build that fails is a failure of the test."""
    result = build(book, **settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return book / "_build" / "html" / "chapters"


def write(book: Path, code: str, text: str = "") -> None:
    """Write the one page of a small book."""
    (book / "chapters" / "intro.md").write_text(PAGE % (code, text))


@cache
def test_names() -> dict[str, Path]:
    """All test functions under tests/, by name, and their files."""
    return {
        node.name: path
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def equation_labels(text: str) -> list[str]:
    """Labels of the equations in a page."""
    found = [match[1] or match[2] for match in EQUATION.finditer(text)]
    for block in MATH_BLOCK.finditer(text):
        found += [match[1] or match[2] for match in LABEL.finditer(block["text"])]
    return found


def test_of(label: str) -> str:
    """The name of the test of an equation."""
    return f"test_{label.removeprefix('eq-').replace('-', '_')}"


def claims() -> list[list[str]]:
    """Rows of the map of results: the claim, where it is derived, its tests."""
    text = (CHAPTERS / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!Claim).*", text, re.MULTILINE)
    return [row.strip("| ").split(" | ") for row in rows]


def tests_of_chapter(chapter: str) -> list[str]:
    """Its form, its record, its own tests, and those of its equations and claims."""
    text = (CHAPTERS / f"{chapter}.md").read_text(encoding="utf-8")
    equations = equation_labels(text)
    labels = {*equations, *re.findall(r"^:label: (\S+)", text, re.MULTILINE)}
    names = {test_of(label) for label in equations}
    for _, place, tests in claims():
        if labels & set(re.findall(r"`([\w-]+)`", place)):
            names.update(re.findall(r"`(test_\w+)`", tests))
    own = [ROOT / "tests" / "book" / f"test_{about}.py" for about in ("form", "records")]
    own += (ROOT / "tests").glob(f"reference/{chapter}.ipynb")
    own += (ROOT / "tests" / "chapters").glob(f"test_{chapter}.py")
    places = {name: path for name, path in sorted(test_names().items()) if name in names}
    return [*map(str, own), *(f"{p}::{name}" for name, p in places.items() if p not in own)]


def within(values: Float[np.ndarray, "n"], exact: float, errors: float = 4.5) -> bool:
    """Whether the mean of draws is the exact value, up to so many of its standard errors."""
    return bool(abs(values.mean() - exact) < errors * values.std() / np.sqrt(values.size))


def map_eigenvalues(
    s: Float[np.ndarray, "n K"],
    f: Float[np.ndarray, "n K"],
    slope: Float[np.ndarray, "n K"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "n parameters"]:
    """Of the derivative of a spectral function, for each row: modes, further entries, pairs."""
    j, k = np.triu_indices(s.shape[1], 1)
    further = np.repeat(f / s, abs(shape[0] - shape[1]), axis=1)
    turned = (f[:, j] - f[:, k]) / (s[:, j] - s[:, k])
    against = (f[:, j] + f[:, k]) / (s[:, j] + s[:, k])
    return np.concatenate([slope, further, turned, against], axis=1)


def jacobian(
    matrix: Float[np.ndarray, "n_out n_in"], t: float, a0: float, *, depth: float = 2
) -> Float[np.ndarray, "parameters parameters"]:
    """Derivative of the aligned map by each entry of the correlation, by differences."""
    step, columns = 1e-5, []

    def image(seen: Float[np.ndarray, "n_out n_in"]) -> Float[np.ndarray, "n_out n_in"]:
        u, s, vt = np.linalg.svd(seen, full_matrices=False)
        return u * mode_strength([t], s, a0, depth=depth)[0] @ vt

    for entry in np.ndindex(matrix.shape):
        moved = np.zeros(matrix.shape)
        moved[entry] = step
        columns.append((image(matrix + moved) - image(matrix - moved)).ravel() / (2 * step))
    return np.array(columns)


def estimate_draws(
    teacher: Float[np.ndarray, "n_out n_in"],
    t: float,
    a0: float,
    rng: np.random.Generator,
    *,
    draws: int = 40_000,
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """SURE less error less its constant, its expected square, and the least singular value."""
    variance = 1 / teacher.shape[1]
    noise = np.sqrt(variance) * rng.standard_normal((draws, *teacher.shape))
    u, s, vt = np.linalg.svd(teacher + noise, full_matrices=False)
    f, slope = (
        of([t], s.ravel(), a0)[0].reshape(s.shape) for of in (mode_strength, mode_sensitivity)
    )
    rates = map_eigenvalues(s, f, slope, teacher.shape)
    overlap = np.einsum("nik,nk,nkj,nij->n", u, f, vt, noise)
    gap = 2 * (variance * rates.sum(axis=1) - overlap)
    size = 4 * variance * (f**2).sum(axis=1) + 4 * variance**2 * (rates**2).sum(axis=1)
    return gap, size, s[:, -1]


def spiked_spectrum(
    shape: tuple[int, int], s0: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """Singular values of one spike in noise of size 1, and their targets."""
    sigma = rng.standard_normal(shape) / np.sqrt(shape[1])
    sigma[0, 0] += s0
    u, s, vt = np.linalg.svd(sigma, full_matrices=False)
    return s, s0 * u[0] * vt[:, 0]


for function in (test_names, test_of, tests_of_chapter):
    function.__test__ = False  # no tests themselves, where a file of tests imports them


def toc_files(entry: dict) -> list[str]:
    """All pages below an entry of the contents, in their order."""
    here = [entry[key] for key in ("root", "file") if key in entry]
    below = [part for key in ("parts", "chapters", "sections") for part in entry.get(key, [])]
    return here + [name for part in below for name in toc_files(part)]


def assert_place_and_tests(place: str, tests: str) -> None:
    """A reference into the book, and names of tests that exist; claims and errata use it."""
    assert re.search(r"\{(prf:ref|eq|numref|doc)\}`", place)
    named = re.findall(r"`(test_\w+)`", tests)
    assert named
    assert set(named) <= set(test_names()), f"no such test: {set(named) - set(test_names())}"


def random_modes(s: list[float], n_in: int, n_out: int, rng: np.random.Generator) -> Modes:
    """Modes of given strengths in random directions."""
    u, v = (np.linalg.qr(rng.standard_normal((n, len(s))))[0] for n in (n_out, n_in))
    return Modes(u, np.array(s), v)


def growing_parts(weights: list[np.ndarray], modes: Modes) -> Float[np.ndarray, "h K"]:
    """The growing parts c_k of a start as columns."""
    return (weights[0] @ modes.v + weights[1].T @ modes.u) / np.sqrt(2)


def effective_starts(weights: list[np.ndarray], modes: Modes) -> Float[np.ndarray, "K"]:
    """What Gram-Schmidt leaves of half their squares; zero beyond the hidden width."""
    left, triangle = np.zeros(modes.s.size), np.linalg.qr(growing_parts(weights, modes))[1]
    left[: len(triangle)] = np.diag(triangle)
    return left**2 / 2


def random_samples(
    n_in: int, n_out: int, rng: np.random.Generator, n_samples: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """Correlated inputs and outputs that depend on them."""
    x = rng.standard_normal((n_samples, n_in)) @ rng.standard_normal((n_in, n_in))
    y = x @ rng.standard_normal((n_in, n_out)) + rng.standard_normal((n_samples, n_out))
    return x, y


def correlations(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sigma_yx and Sigma_xx of samples."""
    return np.einsum("mo,mi->oi", y, x) / len(x), np.einsum("mi,mj->ij", x, x) / len(x)


def velocities(weights: list[np.ndarray], sigma: np.ndarray, **options) -> list[np.ndarray]:
    """Minus the gradient, read off one step of gradient descent."""
    step = gradient_descent([0, 1], weights, sigma, lr=1.0, **options)
    return [w[1] - w[0] for w in step.weights]


def interference(maps: ArrayLike, modes: Modes) -> Float[np.ndarray, "... r r"]:
    """Off-diagonal part of U^T W V: entry (j, k) leaks input mode k into output mode j."""
    inside = modes.u.T @ np.asarray(maps, dtype=float) @ modes.v
    return inside * (1 - np.eye(modes.s.size))


def hyperbolic_entropy(
    beta: ArrayLike, alpha_squared: float | Float[np.ndarray, "d"]
) -> Float[np.ndarray, "..."]:
    """Potential whose least interpolator is the limit of gradient flow from zero.

    The formula is that of `dlnlib.sgd.interpolators`, in a form that does not cancel.
    """
    predictor, half = np.asarray(beta, dtype=float), np.asarray(alpha_squared) / 2
    with np.errstate(over="ignore"):
        ratio = np.abs(predictor) / half
    # asinh beyond the range of floats, where alpha^2 is tiny
    angle = np.where(
        ratio < 1e150,
        np.arcsinh(np.minimum(ratio, 1e150)),
        np.log(4 * np.abs(predictor) + (predictor == 0)) - np.log(2 * half),
    )
    terms = np.abs(predictor) * angle - predictor**2 / (np.hypot(predictor, half) + half)
    return np.asarray(terms.sum(axis=-1) / 2)


def plain_coefficient(features: np.ndarray, threshold: float, *, normalise: bool = True) -> float:
    """The feature sparsity coefficient by its definition, one unit after the other."""
    rows = [row / np.linalg.norm(row) if row.any() and normalise else row for row in features]
    scaled = np.array(rows)
    varies = np.flatnonzero(np.ptp(scaled, axis=0) > 1e-12)
    alike = np.eye(scaled.shape[1], dtype=bool)
    if len(varies):
        alike[np.ix_(varies, varies)] = np.abs(np.corrcoef(scaled[:, varies].T)) > threshold
    left = scaled.any(axis=0)
    for j in np.flatnonzero(left):
        left[j] = not any(alike[j, k] for k in np.flatnonzero(left) if k != j)
    return np.count_nonzero(features[:, left]) / features.size
