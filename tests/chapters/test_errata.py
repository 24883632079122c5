"""The errata: literal formulas of the source notes fail where the book's hold; the page in step.

Each check of a formula goes by a route of its own: integrated flow, differences, plain sums.
"""

import re
from collections import Counter

import numpy as np
import pytest
from helpers import assert_place_and_tests
from scipy.integrate import solve_ivp

from dlnlib.entropy import spectral_entropy
from dlnlib.flow import aligned_weights, gaussian_weights, gradient_flow
from dlnlib.modes import learning_time, mode_strength
from dlnlib.sgd import (
    basis_pursuit,
    diagonal_jacobian,
    published_run,
    sparse_regression,
    step_decay,
    train_diagonal,
    train_relu,
)
from dlnlib.tasks import svd_modes
from tools.bless import CHAPTERS

CATEGORIES = ["wrong", "reversed", "factor", "needs a condition", "loose", "typo"]
NOTES = "LES"  # linear network, entropy, SGD
PARAGRAPHS = r"((?:: .+\n(?:  .+\n)*)+)"
ENTRY = re.compile(rf"^\*\*([LES]\d+)\.\*\* .+ \*\((.+)\)\*\n{PARAGRAPHS}", re.MULTILINE)
PAGE = (CHAPTERS / "errata.md").read_text(encoding="utf-8")


# --- the page ---


def paragraphs(text: str) -> list[str]:
    return text.removeprefix(": ").strip().split("\n: ")


def entries() -> list[tuple[str, str, list[str]]]:
    """Number, category and paragraphs of every erratum."""
    return [(number, kind, paragraphs(text)) for number, kind, text in ENTRY.findall(PAGE)]


def counts() -> list[list[str]]:
    """Rows of the table of kinds, without its head."""
    part = PAGE.split("## How many")[1].split("\n## ")[0]
    rows = re.findall(r"^\* - (.*(?:\n  .*)*)", part, re.MULTILINE)
    return [row.split("\n  - ") for row in rows][1:]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry[0])
def test_erratum_quotes_corrects_and_names_its_test(entry):
    _, kind, (claim, *correction, proof) = entry
    assert kind in CATEGORIES
    assert claim.startswith("*Note*, ")
    assert correction
    assert_place_and_tests(proof, proof)


def test_errata_are_numbered_and_counted():
    found = Counter((number[0], kind) for number, kind, _ in entries())
    for note in NOTES:
        numbers = [int(number[1:]) for number, _, _ in entries() if number[0] == note]
        assert numbers == list(range(1, len(numbers) + 1))
    assert len(re.findall(r"^\*\*[LES]\d", PAGE, re.MULTILINE)) == len(entries())
    *table, last = counts()
    expected = [[found[note, kind] for note in NOTES] for kind in CATEGORIES]
    assert [row[0] for row in table] == CATEGORIES
    assert [[int(n) for n in row[1:]] for row in table] == [[*row, sum(row)] for row in expected]
    totals = [sum(column) for column in zip(*expected, strict=True)]
    assert [int(n) for n in last[1:]] == [*totals, sum(totals)]
    assert f"**{found.total()} mistakes**" in PAGE


@pytest.mark.parametrize("heading", ["Open questions", "Published claims", "Our own expectations"])
def test_answers_name_places_and_tests(heading):
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(rf"^\S.*\n{PARAGRAPHS}", part, re.MULTILINE)
    assert len(found) >= 4
    for answer, *proof in map(paragraphs, found):
        assert proof or answer.startswith("Open:")
        for line in proof:
            assert_place_and_tests(line, line)


def test_references_of_the_page_exist():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in CHAPTERS.glob("*.md"))
    for role, target in re.findall(r"\{(prf:ref|eq|numref|doc)\}`([^`]+)`", PAGE):
        if role == "doc":
            assert (CHAPTERS / f"{target}.md").exists(), target
        else:
            assert re.search(rf"(label|name): {target}$|\({target}\)", pages, re.MULTILINE), target


# --- the note on the linear network ---


def test_eigenvalues_do_not_set_the_clock():
    """A nilpotent task: all eigenvalues are zero, and it is learned at the time of s = 2."""
    sigma = np.array([[0.0, 2.0], [0.0, 0.0]])
    assert np.abs(np.linalg.eigvals(sigma)).max() == 0
    half = learning_time([2.0], 1e-3)[0]
    path = gradient_flow([0, half], aligned_weights(svd_modes(sigma), 1e-3), sigma)
    assert path.product[-1, 0, 1] == pytest.approx(1, rel=1e-5)


def test_contraction_over_one_name_is_a_vector():
    """The literal X . X aligns the two input axes: their squared lengths, not their products."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3))
    literal = np.einsum("di,di->i", x, x)
    np.testing.assert_allclose(literal, np.diag(x.T @ x))
    assert np.abs(x.T @ x - np.diag(literal)).max() > 1  # what "= I" is meant to exclude


@pytest.mark.parametrize("sizes", [(1.0, 1.0), (1.0, 0.8), (1.0, 0.1)])
def test_cosines_fall_at_the_sum_of_squared_norms(sizes):
    """Orthogonal up to 1e-3, so that only the first order counts."""
    n, sigma = np.square(sizes), np.diag([3.0, 2.0])
    rows = np.diag(sizes) @ np.array([[1, 0, 0], [1e-3, 1, 0]])
    path = gradient_flow([0, 1e-4], [rows.T, rows], sigma, rtol=1e-12, atol=1e-15).weights[1]
    cosine = [w[0] @ w[1] / np.linalg.norm(w[0]) / np.linalg.norm(w[1]) for w in path]
    rate = -np.log(cosine[1] / cosine[0]) / 1e-4
    assert rate == pytest.approx(n.sum(), rel=2e-3)
    assert rate / n.max() == pytest.approx(1 + n.min() / n.max(), rel=2e-3)  # 1 to 2


def test_negative_targets_are_learned_by_their_size():
    """Entries 1, -3, 2 in their own coordinates: -3 comes first, not last."""
    sigma, t = np.diag([1.0, -3.0, 2.0]), np.linspace(0, 12, 2401)
    for seed in range(3):
        start = gaussian_weights((3, 60, 3), 1e-3, rng=np.random.default_rng(seed))
        maps = np.diagonal(gradient_flow(t, start, sigma).product, axis1=1, axis2=2)
        half = t[(np.abs(maps) > np.abs(np.diag(sigma)) / 2).argmax(axis=0)]
        assert half[1] < half[2] < half[0]


def test_a_head_start_reverses_the_order():
    path = mode_strength(np.linspace(0, 12, 2401), [2.0, 1.0], [1e-8, 1e-2])
    half = (path > [1.0, 0.5]).argmax(axis=0)
    assert half[1] < half[0]


def test_lengths_keep_the_difference_they_start_with():
    """One mode that starts unbalanced: |d|^2 - |e|^2 stays, and no length ends at sqrt(s)."""
    e, d, s = np.array([[1.5], [0.0]]), np.array([[0.1, 0.0]]), 2.0
    w1, w2 = gradient_flow([0, 40], [e, d], [[s]], rtol=1e-11, atol=1e-13).weights
    lengths = np.array([(w1**2).sum(axis=(1, 2)), (w2**2).sum(axis=(1, 2))])
    assert lengths[1] - lengths[0] == pytest.approx(0.01 - 2.25)
    assert (w2 @ w1)[-1, 0, 0] == pytest.approx(s)
    assert np.abs(lengths[:, -1] - s).min() > 0.5


def test_signs_and_bars_of_the_rotated_flow():
    """The rotated differential as printed has the wrong sign, and without bars the wrong error."""
    rng = np.random.default_rng(3)
    sigma, e, d, de, dd = (rng.standard_normal((3, 3)) for _ in range(5))
    u, s, v = np.linalg.svd(sigma)

    def loss(step):
        return np.sum((sigma - (e + step * de) @ (d + step * dd)) ** 2)

    slope = loss(1e-30j).imag / 1e-30
    printed = 2 * np.sum((sigma - e @ d) * (de @ d + e @ dd))
    assert slope == pytest.approx(-printed)
    e_bar, d_bar = u.T @ e, d @ v.T  # input modes by hidden, hidden by output modes
    true = u.T @ ((sigma - e @ d) @ d.T)
    np.testing.assert_allclose((np.diag(s) - e_bar @ d_bar) @ d_bar.T, true)
    assert np.abs((np.diag(s) - e @ d) @ d_bar.T - true).max() > 0.1


# --- the note on the spectral entropy ---


def entropy_slope(a, g):
    """dH/dt by a central difference."""
    high, low = (spectral_entropy(a * np.exp(sign * 1e-6 * g)) for sign in (1, -1))
    return (high - low) / 2e-6


@pytest.mark.parametrize("seed", range(5))
def test_growth_on_small_shares_raises_the_entropy(seed):
    """Any rates that fall with the share raise H, any that rise with it lower H."""
    rng = np.random.default_rng(seed)
    a, g = np.sort(rng.uniform(0.1, 2, 6)), np.sort(rng.standard_normal(6))
    assert entropy_slope(a, g[::-1]) > 0 > entropy_slope(a, g)


def test_mode_formula_as_printed_solves_another_equation():
    """Without the s in the upper exponent the curve starts right and then leaves the flow."""
    s, a0, t = 3.0, 0.01, np.array([0.0, 0.2, 0.5, 1.0, 2.0])
    flow = solve_ivp(
        lambda _, a: 2 * a * (s - a), (0, 2), [a0], "DOP853", t, rtol=1e-11, atol=1e-14
    )
    below = np.exp(2 * s * t) - 1 + s / a0
    printed, corrected = s * np.exp(2 * t) / below, s * np.exp(2 * s * t) / below
    np.testing.assert_allclose(corrected, flow.y[0], rtol=1e-8)
    assert printed[0] == pytest.approx(a0)
    assert printed[-1] < 0.1 * flow.y[0, -1]  # it decays to zero


def test_entropy_needs_its_sign_and_its_weights():
    """The first line of the note has the sign turned; a covariance without p can turn it too."""
    a, g = np.array([2.0, 1.0, 0.01, 0.01]), np.array([1.0, 0.5, 3.0, 3.0])
    p = a**2 / (a**2).sum()
    first_line = 2 * (p * (g - p @ g)) @ np.log(p)
    slope = entropy_slope(a, g)
    assert slope == pytest.approx(-first_line, rel=1e-6)
    weighted = p @ (g * np.log(p)) - (p @ g) * (p @ np.log(p))
    assert slope == pytest.approx(-2 * weighted, rel=1e-6)
    plain = np.mean(g * np.log(p)) - g.mean() * np.log(p).mean()
    assert weighted > 0 > plain


def test_a_ring_can_learn_the_highest_frequency_first():
    """Half the input here minus a quarter of each neighbour, from small random weights."""
    eye = np.eye(16)
    ring = (2 * eye - np.roll(eye, 1, axis=0) - np.roll(eye, -1, axis=0)) / 4
    alternating, slowest = np.tile([1, -1], 8) / 4, np.cos(np.pi * np.arange(16) / 8) / np.sqrt(8)
    start = gaussian_weights((16, 40, 16), 1e-3, rng=np.random.default_rng(0))
    maps = gradient_flow([0.0, 12.0], start, ring).product[-1]
    assert alternating @ maps @ alternating > 0.9 * (alternating @ ring @ alternating)
    assert abs(slowest @ maps @ slowest) < 0.1 * (slowest @ ring @ slowest)


# --- the note on SGD ---


def test_rows_are_samples_and_columns_weights():
    """Equal sums of squares, other vectors: one coordinate can die while no row does."""
    rng = np.random.default_rng(5)
    x, u, v = rng.standard_normal((8, 20)), *rng.uniform(0.5, 1, (2, 20))
    u[0] = v[0] = 0
    phi = diagonal_jacobian(x, u, v)
    rows, columns = np.linalg.norm(phi, axis=1), np.linalg.norm(phi, axis=0)
    assert (rows.size, columns.size) == (8, 40)
    assert (rows**2).sum() == pytest.approx((columns**2).sum())
    assert (columns[[0, 20]] == 0).all()
    assert rows.min() > 0.3 * rows.max()


def test_one_motion_is_an_equality_in_law():
    """<v, B> = |v| W for one v; for two at once the right side would have correlation one."""
    v, w = np.array([3.0, 4.0]), np.array([4.0, -3.0])
    assert v @ w == 0  # E <v, B> <w, B>, while E |v| W |w| W = 25
    draws = np.random.default_rng(2).standard_normal((4000, 2)) @ np.transpose([v, w])
    np.testing.assert_allclose(draws.std(axis=0), [5, 5], rtol=0.05)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.1


def test_plateau_on_the_line():
    """The published seed, between 10 % and 50 % of its long schedule: near 10^-0.5, not 10^-5."""
    task, start, order = published_run("line", np.random.RandomState)
    lr = task.lr["50 %"]
    points = np.linspace(lr.size // 10, lr.size // 2, 41).astype(int)
    runs = train_relu(task.network, start, task.x, task.y, lr, order=order, record=points)
    loss = task.network.loss(runs.theta[0], task.x, task.y)
    assert -0.9 < np.log10(np.median(loss)) < -0.1
    assert loss.min() > 1e-2


def test_the_three_layer_task_is_not_one_dimensional():
    task, _, _ = published_run("three layers", np.random.RandomState)
    assert task.x.shape == (50, 5)
    assert task.network.widths == (5, 10, 10, 1)


@pytest.mark.parametrize(("n", "d", "lr"), [(80, 200, 0.25), (40, 100, 0.12)])
def test_sparsest_predictor_is_not_recovered(n, d, lr):
    """Coordinates are left over after 40,000 steps; with few samples the end is elsewhere."""
    task = sparse_regression(n, d, 20, rng=np.random.default_rng(11))
    plan = step_decay(lr, 40_000, at=0.5, by=1.5)
    runs = train_diagonal(task.x, task.y, plan, runs=4, rng=np.random.default_rng(1)).survivors()
    beta = runs.beta[:, -1]
    least = np.abs(basis_pursuit(task.x, task.y) - task.teacher).max()
    gaps = np.abs(beta - task.teacher).max(axis=1)
    assert len(beta) > 0
    assert ((np.abs(beta) > 1e-50).sum(axis=-1) > 1.5 * np.count_nonzero(task.teacher)).all()
    if n == 80:
        assert least < 1e-6
        assert gaps.max() < 0.01
    else:
        assert least > 0.05
        assert gaps.min() > 0.05
