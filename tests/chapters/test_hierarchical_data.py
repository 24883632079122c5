"""The labelled equations and the claims of chapters/hierarchical_data.md."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import digamma
from scipy.stats import entropy

from dlnlib.entropy import spectral_entropy
from dlnlib.flow import aligned_weights, gaussian_weights, gradient_descent, gradient_flow
from dlnlib.modes import learning_time, mode_strength
from dlnlib.tasks import Modes, hierarchical_tree, leaf_groups, tree_covariance, tree_spectrum
from tools import readme_figure

# Trees of at most 4**3 leaves, with one flip probability per level.
TREES = st.lists(st.tuples(st.integers(2, 4), st.floats(0.01, 0.49)), min_size=1, max_size=3)


def ancestor_covariance(flips):
    """q_0 ... q_D as the chapter writes them."""
    return [np.prod([(1 - 2 * e) ** 2 for e in flips[j:]]) for j in range(len(flips) + 1)]


def all_groups(branching):
    """Ancestor of each leaf at levels 0 ... D, shape (D + 1, P)."""
    groups = leaf_groups(len(branching), branching).T
    return np.vstack([np.zeros(groups.shape[1], int), groups])


@given(TREES)
def test_tree_covariance(tree):
    branching, flips = map(list, zip(*tree, strict=True))
    groups, q = all_groups(branching), ancestor_covariance(flips)
    covariance = tree_covariance(len(tree), branching, flip=flips)
    for i in range(len(covariance)):
        for k in range(i + 1):
            parted = max(j for j in range(len(groups)) if groups[j, i] == groups[j, k])
            assert covariance[i, k] == pytest.approx(q[parted], rel=1e-12)


def test_tree_sampling():
    features, flip = 20, 0.1
    exact = tree_covariance(2, 2, flip=flip)
    sigmas = [
        hierarchical_tree(2, 2, features=features, flip=flip, rng=stream).sigma
        for stream in np.random.default_rng(0).spawn(4000)
    ]
    samples = np.array([4 * sigma.T @ sigma for sigma in sigmas])
    np.testing.assert_allclose(samples.mean(axis=0), exact, atol=0.015)
    np.testing.assert_allclose(samples.var(axis=0), (1 - exact**2) / features, atol=0.002)


@given(TREES)
def test_tree_spectrum(tree):
    branching, flips = map(list, zip(*tree, strict=True))
    groups = all_groups(branching)
    same = groups[:, :, None] == groups[:, None, :]
    leaves = same[:, 0].sum(axis=-1)
    q = np.array(ancestor_covariance(flips))
    expected = [(leaves * np.diff(q, prepend=0))[m:].sum() for m in range(len(q))]
    values, multiplicity = tree_spectrum(len(tree), branching, flip=flips)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    covariance = tree_covariance(len(tree), branching, flip=flips)
    contrasts = np.diff(same / same.sum(axis=-1, keepdims=True), axis=0, prepend=0)
    for value, count, contrast in zip(values, multiplicity, contrasts, strict=True):
        np.testing.assert_allclose(covariance @ contrast, value * contrast, atol=1e-12)
        assert np.trace(contrast) == pytest.approx(count)


@given(TREES)
def test_tree_gap(tree):
    branching, flips = map(list, zip(*tree, strict=True))
    values, _ = tree_spectrum(len(tree), branching, flip=flips)
    q = np.append(0, ancestor_covariance(flips))
    leaves = np.cumprod([1, *branching])[-1] / np.cumprod([1, *branching])
    np.testing.assert_allclose(values[:-1] - values[1:], (leaves * np.diff(q))[:-1], rtol=1e-9)
    assert (np.diff(values) < 0).all()
    s = np.sqrt(values / np.prod(branching))
    assert (np.diff(learning_time(s, s[-1] / 5)) > 0).all()


def test_broad_distinctions_need_a_small_start():
    # log(x - 1) = x / (x - 1) at x = 4.5911: below it, the weaker mode is half learned earlier.
    early, late = learning_time([3.0, 4.5], 1.0)
    assert early < late
    late, early = learning_time([4.6, 5.5], 1.0)
    assert early < late


def test_equal_singular_values_leave_the_basis_free():
    u, v = (np.linalg.qr(np.random.default_rng(n).standard_normal((n, 3)))[0] for n in (7, 5))
    s = np.array([3.0, 2.0, 2.0])
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]]
    turned = Modes(u @ turn, s, v @ turn)
    np.testing.assert_allclose(turned.matrix(), Modes(u, s, v).matrix(), atol=1e-14)


def test_tree_start():
    rng, hidden, scale = np.random.default_rng(1), 6, 0.3
    task = hierarchical_tree(2, 2, features=12, flip=0.1, rng=rng)
    starts = []
    for _ in range(4000):
        w1, w2 = gaussian_weights([4, hidden, 12], scale, rng=rng)
        growing = (w1 @ task.modes.v + w2.T @ task.modes.u) / np.sqrt(2)
        starts.append(np.diag(np.linalg.qr(growing)[1]) ** 2 / 2)
    expected = scale**2 / 2 * (hidden - np.arange(4))
    np.testing.assert_allclose(np.mean(starts, axis=0), expected, rtol=0.05)


def test_centroid_distance():
    branching, flips, t = [3, 2], [0.1, 0.15], np.linspace(0, 40, 9)
    groups, (values, counts) = all_groups(branching), tree_spectrum(2, branching, flip=flips)
    s = np.sqrt(values / 6)
    _, vectors = np.linalg.eigh(tree_covariance(2, branching, flip=flips))
    u, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((20, 6)))
    modes = Modes(u, np.repeat(s, counts), vectors[:, ::-1])
    states = gradient_flow(t, aligned_weights(modes, 1e-3), modes.matrix()).weights[0].mT
    states = np.sqrt(6) * states
    a = mode_strength(t, s, 1e-3)
    for m in (1, 2):
        centroids = [states[:, groups[m] == g].mean(axis=1) for g in range(groups[m].max() + 1)]
        size = (groups[m] == 0).sum()
        for i in range(0, len(centroids), branching[m - 1]):
            for j in range(i + 1, i + branching[m - 1]):
                distance = ((centroids[i] - centroids[j]) ** 2).sum(axis=-1)
                np.testing.assert_allclose(distance, 2 * 6 / size * a[:, m], rtol=1e-5)


def test_representation_differentiates_on_time():
    rng, s = np.random.default_rng(3), np.sqrt(tree_spectrum(flip=0.05)[0] / 8)
    task = hierarchical_tree(features=1000, flip=0.05, rng=rng)
    weights = gaussian_weights([8, 32, 1000], 1e-4, rng=rng)
    run = gradient_descent(range(0, 4001, 10), weights, task.sigma, lr=0.02)
    halves = []
    for m, contrast in enumerate(
        ([1] * 4 + [-1] * 4, [1, 1, -1, -1, 0, 0, 0, 0], [1, -1] + [0] * 6)
    ):
        distance = np.einsum("i,tij,j->t", contrast, run.hidden_gram, contrast)
        halves.append(np.interp(0.5, distance / distance[-1], run.t))
        assert halves[-1] == pytest.approx(learning_time(s[m + 1], 16e-8)[0], rel=0.1)
    assert halves == sorted(halves)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_spectral_entropy(a):
    a = np.array(a)
    shares = a**2 / (a**2).sum()
    assert spectral_entropy(a) == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-12)
    assert spectral_entropy(a) == pytest.approx(entropy(a**2), abs=1e-12)


def test_final_entropy():
    values, counts = tree_spectrum(flip=0.05)
    s, levels = np.sqrt(values / 8), np.repeat(np.arange(4), counts)
    assert (counts * values).sum() == pytest.approx(8)  # the trace of the covariance
    half = learning_time(s, 1e-30)
    between = np.append((half[:-1] + half[1:]) / 2, 3 * half[-1])
    h = spectral_entropy(mode_strength(between, s, 1e-30)[:, levels])
    for m in range(4):
        shares = values[: m + 1] / (counts * values)[: m + 1].sum()
        plateau = -(counts[: m + 1] * shares * np.log(shares)).sum()
        assert h[m] == pytest.approx(plateau, abs=1e-4)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.floats(0.01, 1))
def test_weaker_mode_raises_the_entropy(energies, fraction):
    weaker = fraction * np.mean(energies)
    assume(weaker > 1e-3)
    before, after = (spectral_entropy(np.sqrt(e)) for e in (energies, [*energies, weaker]))
    share = weaker / (sum(energies) + weaker)
    assert after - before >= share * np.log1p(1 / len(energies)) - 1e-12
    # It rises all the way up to sum(energies) exp(-H), never below the mean, and then falls.
    threshold = sum(energies) * np.exp(-before)
    assert threshold >= np.mean(energies) * (1 - 1e-12)
    path = threshold * np.array([0.01, 0.3, 0.7, 1.0, 1.4, 3.0, 30.0])
    h = [float(spectral_entropy(np.sqrt([*energies, e]))) for e in path]
    assert np.diff(h[:4]).min() > 0 > np.diff(h[3:]).max()


@pytest.mark.parametrize("modes", [2, 8, 60])
def test_random_entropy(modes):
    """H(0) of small Gaussian weights, wide hidden layer; and its limit for many modes."""
    rng, hidden, draws = np.random.default_rng(modes), 100, 2000
    expected = digamma(modes / 2 + 1) - digamma(1.5)
    strengths = [
        np.einsum("kh,hk->k", rng.normal(size=(modes, hidden)), rng.normal(size=(hidden, modes)))
        for _ in range(draws)
    ]
    h = spectral_entropy(strengths)
    assert h.mean() == pytest.approx(expected, abs=4 * h.std() / np.sqrt(draws) + 0.01)
    many = digamma(5e7 + 1) - digamma(1.5)
    assert np.log(1e8) - many == pytest.approx(2 - np.euler_gamma - np.log(2), abs=1e-6)


def test_reachable_span():
    rng = np.random.default_rng(4)
    task = hierarchical_tree(2, 2, features=40, flip=0.1, rng=rng)
    w1, w2 = gaussian_weights([4, 5, 40], 0.1, rng=rng)
    basis, _ = np.linalg.qr(np.hstack([task.sigma, w2]))
    small1, small2, small_sigma = w1, basis.T @ w2, basis.T @ task.sigma
    for _ in range(200):
        error, small_error = task.sigma - w2 @ w1, small_sigma - small2 @ small1
        w1, w2 = w1 + 0.1 * w2.T @ error, w2 + 0.1 * error @ w1.T
        small1, small2 = (
            small1 + 0.1 * small2.T @ small_error,
            small2 + 0.1 * small_error @ small1.T,
        )
    np.testing.assert_allclose(basis @ (basis.T @ w2), w2, atol=1e-12)
    np.testing.assert_allclose(small1, w1, atol=1e-12)
    np.testing.assert_allclose(basis @ small2, w2, atol=1e-12)


def test_readme_shows_the_figure_of_the_chapter():
    text = readme_figure.TARGET.read_text(encoding="utf-8")
    current = readme_figure.digest(readme_figure.cells_of_the_figure())
    assert current in text, "the chapter has changed: run `python -m tools.readme_figure`"
    assert "fill: #ffffff" in text.split("<g id=", 3)[2], "a white ground reads on a dark page"
    with pytest.raises(LookupError, match="no figure fig-absent"):
        readme_figure.cells_of_the_figure(name="fig-absent")
