from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from dlnlib.tasks import (
    Modes,
    Task,
    digits_task,
    hierarchical_tree,
    leaf_groups,
    linear_task,
    spiked_teacher,
    svd_modes,
    tree_covariance,
    tree_spectrum,
    whiten,
)

MATRICES = arrays(
    float, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-9, 9)
)
# Trees of at most 5**3 leaves, with one flip probability per level.
TREES = st.lists(
    st.tuples(st.integers(2, 5), st.floats(0, 0.5, allow_subnormal=False)), min_size=1, max_size=3
)


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def raw_regression(seed=0, n_train=40, n_test=25):
    """Correlated inputs with means and units of their own, and noisy outputs."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_train + n_test, 5)) @ rng.standard_normal((5, 5)) * 10 + 100
    y = x @ rng.standard_normal((5, 3)) + rng.standard_normal((n_train + n_test, 3)) - 7
    return x[:n_train], y[:n_train], x[n_train:], y[n_train:]


class TestModes:
    @given(MATRICES)
    def test_reconstruct_the_matrix(self, sigma):
        modes = svd_modes(sigma)
        r = min(sigma.shape)
        assert (modes.u.shape, modes.s.shape, modes.v.shape) == (
            (len(sigma), r),
            (r,),
            (sigma.shape[1], r),
        )
        np.testing.assert_allclose(modes.matrix(), sigma, atol=1e-12)
        np.testing.assert_allclose(modes.u.T @ modes.u, np.eye(r), atol=1e-12)
        np.testing.assert_allclose(modes.v.T @ modes.v, np.eye(r), atol=1e-12)
        assert (np.diff(modes.s) <= 0).all()
        assert modes.s[-1] >= 0

    @given(MATRICES)
    def test_rank_agrees_with_elimination(self, sigma):
        assert svd_modes(sigma).rank == np.linalg.matrix_rank(sigma)

    def test_strengths_are_roots_of_the_gram_eigenvalues(self):
        sigma = gaussian(9, 4)
        eigenvalues = np.linalg.eigvalsh(sigma.T @ sigma)[::-1]
        np.testing.assert_allclose(svd_modes(sigma).s, np.sqrt(eigenvalues), rtol=1e-12)

    def test_sign_makes_the_largest_entry_of_u_positive(self):
        for seed in range(20):
            u = svd_modes(gaussian(7, 5, seed=seed)).u
            assert (u[np.abs(u).argmax(axis=0), np.arange(5)] > 0).all()

    @pytest.mark.parametrize("nudge", [-1e-12, 0.0, 1e-12])
    def test_sign_is_stable_when_entries_tie(self, nudge):
        modes = svd_modes(np.outer([1.0, -1.0 + nudge], [2.0, 1.0]))
        assert modes.u[0, 0] > 0 > modes.u[1, 0]

    def test_zero_modes_are_kept(self):
        modes = svd_modes(gaussian(6, 2) @ gaussian(2, 4, seed=1))
        assert modes.s.shape == (4,)
        assert modes.rank == 2
        assert svd_modes(np.zeros((3, 2))).rank == 0
        rounding = np.array([1.0, 1e2 * np.finfo(float).eps])  # of sums over a thousand entries
        assert Modes(u=np.eye(1000, 2), s=rounding, v=np.eye(2)).rank == 1
        assert Modes(u=np.eye(2), s=rounding, v=np.eye(1000, 2)).rank == 1

    def test_tall_matrix_stays_thin(self):
        modes = svd_modes(gaussian(10_000, 8))
        assert modes.u.shape == (10_000, 8)
        assert modes.v.shape == (8, 8)

    @pytest.mark.parametrize(
        ("sigma", "message"),
        [
            ([[1.0, np.nan]], "sigma contains NaN"),
            ([[1.0, np.inf]], "infinity"),
            ([1.0, 2.0], "sigma must be a non-empty matrix"),
            (np.empty((0, 3)), "non-empty"),
        ],
    )
    def test_bad_matrix(self, sigma, message):
        with pytest.raises(ValueError, match=message):
            svd_modes(sigma)


class TestWhiten:
    @given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 6))
    def test_covariance_is_the_identity(self, seed, samples, inputs):
        x = gaussian(samples, inputs, seed=seed) @ gaussian(inputs, inputs, seed=seed + 1) + 3
        white, transform = whiten(x)
        assert white.shape[1] == min(inputs, samples - 1)
        np.testing.assert_allclose(
            white.T @ white / samples, np.eye(white.shape[1]), rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-8)
        np.testing.assert_allclose(transform(x), white, atol=1e-6)

    def test_agrees_with_sklearn_pca(self):
        x = gaussian(50, 4) @ gaussian(4, 4, seed=1)
        theirs = PCA(whiten=True).fit_transform(x) * np.sqrt(50 / 49)  # it divides by P - 1
        white = whiten(x)[0]
        signs = np.sign((white * theirs).sum(axis=0))
        np.testing.assert_allclose(white, theirs * signs, atol=1e-10)

    def test_held_out_norm_is_the_mahalanobis_distance(self):
        x, new = gaussian(50, 4) @ gaussian(4, 4, seed=1) + 5, gaussian(7, 4, seed=2)
        centred = new - x.mean(axis=0)
        inverse = np.linalg.inv(np.cov(x.T, bias=True))
        np.testing.assert_allclose(
            (whiten(x)[1](new) ** 2).sum(axis=1),
            np.einsum("qi,ij,qj->q", centred, inverse, centred),
            rtol=1e-9,
        )

    def test_directions_without_variance_are_dropped(self):
        x = gaussian(30, 3)
        x = np.column_stack([x, x @ [1.0, -2.0, 0.5], np.full(30, 0.1)])
        white, transform = whiten(x)
        assert white.shape == (30, 3)
        shifted = x + np.array([0, 0, 0, 0, 50.0])  # a pixel that never varied in training
        np.testing.assert_allclose(transform(shifted), white, atol=1e-10)

    def test_rounding_of_a_large_mean_is_no_variance(self):
        x = np.column_stack([gaussian(1000), np.full(1000, 1e9 / 3)])
        assert whiten(x)[0].shape == (1000, 1)

    @pytest.mark.parametrize(("rtol", "columns"), [(1e-8, 2), (1e-3, 1)])
    def test_rtol_sets_the_smallest_direction(self, rtol, columns):
        turned = [[1.0, 1.0], [1.0, -1.0]]  # in their own units the inputs depend on each other
        white, _ = whiten(gaussian(30, 2) * [1.0, 1e-5] @ turned, rtol=rtol)
        assert white.shape == (30, columns)

    @pytest.mark.parametrize(
        ("x", "options", "message"),
        [
            ([[1.0, np.nan], [0.0, 1.0]], {}, "x contains NaN"),
            ([[1.0, 2.0]], {}, "at least two samples"),
            (np.full((5, 2), 0.1), {}, "x is constant"),
            (np.zeros((5, 2)), {}, "x is constant"),
            ([1.0, 2.0], {}, "x must be a non-empty matrix"),
            (np.eye(3), {"rtol": 0.0}, "rtol must be positive"),
        ],
    )
    def test_bad_input(self, x, options, message):
        with pytest.raises(ValueError, match=message):
            whiten(x, **options)

    def test_transform_refuses_other_columns(self):
        with pytest.raises(ValueError, match="x must have shape any x 3"):
            whiten(gaussian(9, 3))[1](gaussian(9, 4))


class TestLinearTask:
    def test_sigma_is_the_correlation_of_white_inputs(self):
        task = linear_task(*raw_regression())
        np.testing.assert_allclose(task.x.T @ task.x / 40, np.eye(5), atol=1e-12)
        np.testing.assert_allclose(task.y.mean(axis=0), 0, atol=1e-12)
        by_sample = np.mean([np.outer(y, x) for x, y in zip(task.x, task.y, strict=True)], axis=0)
        np.testing.assert_allclose(task.sigma, by_sample, atol=1e-12)

    def test_sigma_is_the_least_squares_map(self):
        x, y, x_test, y_test = raw_regression()
        task = linear_task(x, y, x_test, y_test)
        fit = LinearRegression().fit(x, y)
        for inputs, outputs, ours in [(x, y, task.loss), (x_test, y_test, task.test_loss)]:
            residual = outputs - fit.predict(inputs)
            expected = 0.5 * np.mean(np.sum(residual**2, axis=1))
            np.testing.assert_allclose(ours(task.sigma), expected, rtol=1e-9)

    def test_excess_loss_is_the_distance_to_sigma(self):
        task = linear_task(*raw_regression())
        maps = gaussian(6, 3, 5)
        excess = 0.5 * ((maps - task.sigma) ** 2).sum(axis=(1, 2))
        np.testing.assert_allclose(task.loss(maps) - task.loss(task.sigma), excess, rtol=1e-9)

    def test_losses_keep_leading_axes(self):
        task = linear_task(*raw_regression())
        maps = gaussian(2, 4, 3, 5)
        losses = task.test_loss(maps)
        assert losses.shape == (2, 4)
        assert task.loss(maps[0, 0]).shape == ()
        np.testing.assert_allclose(losses[1, 2], task.test_loss(maps[1, 2]))

    @given(st.integers(0, 2**32 - 1))
    def test_modes_do_not_depend_on_units_or_origin_of_the_inputs(self, seed):
        x, y, x_test, y_test = raw_regression(seed)
        rng = np.random.default_rng(seed)
        mix = np.linalg.qr(rng.standard_normal((5, 5)))[0] * rng.uniform(0.5, 2, 5)
        one = linear_task(x, y, x_test, y_test)
        two = linear_task(x @ mix + 3, y - 4, x_test @ mix + 3, y_test - 4)
        np.testing.assert_allclose(two.modes.s, one.modes.s, rtol=1e-6)
        np.testing.assert_allclose(two.test_loss(two.sigma), one.test_loss(one.sigma), rtol=1e-6)

    def test_without_whitening_inputs_are_centred_only(self):
        x, y, x_test, y_test = raw_regression()
        task = linear_task(x, y, x_test, y_test, whiten_inputs=False)
        np.testing.assert_allclose(task.x, x - x.mean(axis=0))
        np.testing.assert_allclose(task.x_test, x_test - x.mean(axis=0))
        np.testing.assert_allclose(task.sigma, np.cov(y.T, x.T, bias=True)[:3, 3:])

    def test_modes_are_computed_once(self):
        task = linear_task(*raw_regression())
        assert isinstance(task.modes, Modes)
        assert task.modes is task.modes
        assert task.teacher is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"x": gaussian(39, 5)}, "x and y must have one row per sample: got 39 and 40"),
            ({"x_test": gaussian(24, 5)}, "x_test and y_test must have one row per sample"),
            ({"x_test": gaussian(25, 4)}, "x must have shape any x 5"),
            ({"y_test": gaussian(25, 2)}, "x must have shape any x 3"),
            ({"y_test": None}, "both x_test and y_test"),
            ({"x_test": None}, "both x_test and y_test"),
            ({"y": np.full((40, 3), np.nan)}, "y contains NaN"),
            ({"x": np.ones((40, 5))}, "x is constant"),
            ({"x": gaussian(1, 5), "y": gaussian(1, 3)}, "at least two samples"),
        ],
    )
    def test_bad_input(self, change, message):
        names = ["x", "y", "x_test", "y_test"]
        with pytest.raises(ValueError, match=message):
            linear_task(**dict(zip(names, raw_regression(), strict=True)) | change)

    def test_loss_needs_samples_and_the_shape_of_sigma(self):
        task = linear_task(*raw_regression()[:2])
        with pytest.raises(ValueError, match="no held-out samples: build"):
            task.test_loss(task.sigma)
        with pytest.raises(ValueError, match="no training samples"):
            Task(sigma=np.eye(2)).loss(np.eye(2))
        with pytest.raises(ValueError, match="transpose"):
            task.loss(task.sigma.T)


def covariance_by_enumeration(branching, flips):
    """Sum over every way in which the branches of the tree can flip, weighted by its odds."""
    paths = [[()]]
    for children in branching:
        paths.append([(*path, child) for path in paths[-1] for child in range(children)])
    branches = [path for level in paths[1:] for path in level]
    covariance = 0.0
    for flipped in product([False, True], repeat=len(branches)):
        state, odds = dict(zip(branches, flipped, strict=True)), 1.0
        for path, flip in state.items():
            p = flips[len(path) - 1]
            odds *= p if flip else 1 - p
        leaf = [
            (-1) ** sum(state[path[:level]] for level in range(1, len(path) + 1))
            for path in paths[-1]
        ]
        covariance = covariance + odds * np.outer(leaf, leaf)
    return covariance


class TestTree:
    def test_leaf_groups_of_a_small_tree(self):
        assert leaf_groups(2, [2, 3]).tolist() == [[0, 0], [0, 1], [0, 2], [1, 3], [1, 4], [1, 5]]
        assert leaf_groups()[:, 1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]

    @pytest.mark.parametrize(
        ("branching", "flips"),
        [([2], [0.2]), ([2, 2], [0.1, 0.3]), ([3, 2], [0.4, 0.05]), ([2, 3], [0.0, 0.5])],
    )
    def test_covariance_against_all_flips(self, branching, flips):
        np.testing.assert_allclose(
            tree_covariance(len(branching), branching, flip=flips),
            covariance_by_enumeration(branching, flips),
            atol=1e-14,
        )

    @given(TREES)
    def test_spectrum_is_that_of_the_covariance(self, tree):
        branching, flips = map(list, zip(*tree, strict=True))
        values, multiplicities = tree_spectrum(len(tree), branching, flip=flips)
        assert multiplicities.sum() == np.prod(branching)
        assert (np.diff(values) <= 1e-12).all()
        np.testing.assert_allclose(
            np.repeat(values, multiplicities),
            np.linalg.eigvalsh(tree_covariance(len(tree), branching, flip=flips))[::-1],
            atol=1e-10,
        )

    def test_eigenvectors_are_level_contrasts(self):
        branching, flip = [2, 3], [0.1, 0.2]
        values, multiplicities = tree_spectrum(2, branching, flip=flip)
        covariance = tree_covariance(2, branching, flip=flip)
        for value, vector in zip(
            values,
            [[1, 1, 1, 1, 1, 1], [1, 1, 1, -1, -1, -1], [1, -1, 0, 0, 0, 0]],
            strict=True,
        ):
            np.testing.assert_allclose(covariance @ vector, value * np.array(vector))
        assert multiplicities.tolist() == [1, 1, 4]

    def test_limits_of_the_flip_probability(self):
        np.testing.assert_array_equal(tree_covariance(flip=0.0), np.ones((8, 8)))
        np.testing.assert_array_equal(tree_covariance(flip=0.5), np.eye(8))

    @pytest.mark.parametrize("features", [100, 10_000])
    def test_sampled_covariance_converges_as_one_over_root_features(self, features):
        # A product of two +-1 features has variance 1 - c^2, so the error in these units is
        # standard at every number of features.
        exact = tree_covariance(flip=0.2)
        off = ~np.eye(8, dtype=bool)
        errors = []
        for stream in np.random.default_rng(1).spawn(60):
            sigma = hierarchical_tree(features=features, flip=0.2, rng=stream).sigma
            errors.append((8 * sigma.T @ sigma - exact)[off] / np.sqrt(1 - exact[off] ** 2))
        errors = np.sqrt(features) * np.array(errors)
        assert np.sqrt((errors**2).mean()) == pytest.approx(1, rel=0.1)
        assert abs(errors.mean()) < 0.25

    def test_task_is_white_and_free_of_noise(self):
        task = hierarchical_tree(2, [2, 3], features=50, flip=0.1, rng=np.random.default_rng(0))
        np.testing.assert_allclose(task.x.T @ task.x / 6, np.eye(6), atol=1e-14)
        np.testing.assert_allclose(task.y.T @ task.x / 6, task.sigma, atol=1e-14)
        np.testing.assert_allclose(np.abs(task.y), 1 / np.sqrt(50))
        np.testing.assert_array_equal(task.teacher, task.sigma)
        assert task.loss(task.teacher) == pytest.approx(0, abs=1e-28)

    def test_singular_values_come_in_levels(self):
        rng = np.random.default_rng(3)
        task = hierarchical_tree(features=100_000, flip=[0.1, 0.15, 0.2], rng=rng)
        values, multiplicities = tree_spectrum(flip=[0.1, 0.15, 0.2])
        expected = np.sqrt(np.repeat(values, multiplicities) / 8)
        np.testing.assert_allclose(task.modes.s, expected, rtol=0.02)

    def test_flip_is_given_from_the_root_down(self):
        rng = np.random.default_rng(0)
        y = hierarchical_tree(3, 2, features=200, flip=[0.5, 0, 0], rng=rng).y
        assert (y[:4] == y[0]).all()
        assert (y[4:] == y[4]).all()
        assert (y[0] != y[4]).any()
        y = hierarchical_tree(3, 2, features=200, flip=[0, 0, 0.5], rng=rng).y
        assert (y[0] != y[1]).any()

    def test_features_have_no_preferred_sign(self):
        y = hierarchical_tree(features=10_000, flip=0.1, rng=np.random.default_rng(0)).y
        assert (np.abs(np.sign(y).mean(axis=1)) < 5 / np.sqrt(10_000)).all()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"depth": 0}, "depth must be an integer >= 1"),
            ({"branching": 1}, "branching must be an integer >= 2: .*leave it out"),
            ({"branching": [2, 2.5, 2]}, "branching must be an integer >= 2"),
            ({"branching": [2, 2]}, "branching must be one integer or one per level"),
            ({"flip": -0.1}, "flip must not be negative"),
            ({"flip": 0.6}, "flip must lie in .0, 1/2.: got 0.6; 1 - flip"),
            ({"flip": np.nan}, "flip contains NaN"),
            ({"flip": [0.1, 0.2]}, "flip must be one number or one per level"),
            ({"features": 0}, "features must be an integer >= 1"),
        ],
    )
    def test_bad_input(self, change, message):
        rng = np.random.default_rng(0)
        given = {"depth": 3, "branching": 2, "features": 4, "flip": 0.1} | change
        with pytest.raises(ValueError, match=message):
            hierarchical_tree(**given, rng=rng)
        if "features" in change:
            return
        del given["features"]
        for exact in (tree_covariance, tree_spectrum):
            with pytest.raises(ValueError, match=message):
                exact(**given)


class TestSpikedTeacher:
    @pytest.mark.parametrize(("n_out", "n_in"), [(600, 600), (150, 900), (900, 150)])
    def test_noise_alone_ends_at_the_bulk_edge(self, n_out, n_in):
        task = spiked_teacher(n_out, n_in, [], noise=0.7, rng=np.random.default_rng(0))
        assert task.modes.s[0] == pytest.approx(0.7 * (1 + np.sqrt(n_out / n_in)), rel=0.02)
        assert not task.teacher.any()

    @pytest.mark.parametrize(("n_out", "n_in"), [(600, 600), (300, 900)])
    def test_spike_is_pushed_outwards(self, n_out, n_in):
        s0, noise, aspect = 3.0, 0.8, n_out / n_in
        task = spiked_teacher(n_out, n_in, [s0], noise=noise, rng=np.random.default_rng(0))
        expected = np.sqrt((s0**2 + noise**2) * (s0**2 + aspect * noise**2)) / s0
        if n_out == n_in:
            assert expected == pytest.approx(s0 + noise**2 / s0)
        assert task.modes.s[0] == pytest.approx(expected, rel=0.01)

    def test_without_noise_the_teacher_is_seen(self):
        task = spiked_teacher(7, 5, [3.0, 1.0], noise=0.0, rng=np.random.default_rng(0))
        np.testing.assert_array_equal(task.sigma, task.teacher)
        np.testing.assert_allclose(task.modes.s, [3, 1, 0, 0, 0], atol=1e-14)

    def test_directions_are_uniform(self):
        # For a fixed unit matrix pair <W*, E_ij> is symmetric about 0 with variance 1/(out in).
        draws = np.array(
            [
                spiked_teacher(4, 3, [1.0], noise=0.0, rng=stream).teacher
                for stream in np.random.default_rng(0).spawn(2000)
            ]
        )
        np.testing.assert_allclose(draws.mean(axis=0), 0, atol=5 / np.sqrt(12 * 2000))
        np.testing.assert_allclose((draws**2).mean(axis=0) * 12, 1, atol=0.2)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n_out": 0}, "n_out must be an integer >= 1"),
            ({"n_in": -1}, "n_in must be an integer >= 1"),
            ({"strengths": [1.0, 0.0]}, "strengths must be positive"),
            ({"strengths": [1.0, np.nan]}, "strengths contains NaN"),
            ({"strengths": [1.0] * 4}, "at most min.n_out, n_in. = 3 entries: got 4"),
            ({"noise": -0.1}, "noise must not be negative"),
            ({"noise": np.nan}, "noise contains NaN"),
            ({"noise": [0.1, 0.2]}, "noise must be one number"),
        ],
    )
    def test_bad_input(self, change, message):
        given = {"n_out": 5, "n_in": 3, "strengths": [1.0], "noise": 0.1} | change
        with pytest.raises(ValueError, match=message):
            spiked_teacher(**given, rng=np.random.default_rng(0))


class TestDigits:
    def test_split_whitening_and_labels(self):
        task = digits_task(n_train=1000, rng=np.random.default_rng(0))
        inputs = task.x.shape[1]
        assert task.sigma.shape == (10, inputs)
        assert 50 < inputs <= 64
        assert task.x_test.shape == (797, inputs)
        np.testing.assert_allclose(task.x.T @ task.x / 1000, np.eye(inputs), atol=1e-10)
        np.testing.assert_allclose(task.y.sum(axis=1), 0, atol=1e-12)
        assert task.modes.rank == 9
        labels = np.concatenate([task.y, task.y_test]).argmax(axis=1)
        expected = np.bincount(load_digits().target)
        np.testing.assert_array_equal(np.bincount(labels), expected)

    def test_labels_still_belong_to_their_images(self):
        task = digits_task(n_train=1000, rng=np.random.default_rng(0))
        guesses = (task.x_test @ task.sigma.T + 0.1).argmax(axis=1)
        assert (guesses == task.y_test.argmax(axis=1)).mean() > 0.9

    def test_held_out_loss_is_above_training_loss_and_below_ignorance(self):
        task = digits_task(n_train=300, rng=np.random.default_rng(0))
        assert task.loss(task.sigma) < task.test_loss(task.sigma) < task.test_loss(0 * task.sigma)

    def test_generator_decides_the_split(self):
        one, same, other = (
            digits_task(n_train=200, rng=np.random.default_rng(k)) for k in (0, 0, 1)
        )
        np.testing.assert_array_equal(one.sigma, same.sigma)
        np.testing.assert_array_equal(one.y_test, same.y_test)
        assert not np.array_equal(one.y_test.argmax(axis=1), other.y_test.argmax(axis=1))

    def test_wrong_labels_touches_its_share_of_the_training_labels(self):
        clean, noisy = (
            digits_task(n_train=1000, rng=np.random.default_rng(0), wrong_labels=share)
            for share in (0.0, 0.4)
        )
        changed = (clean.y.argmax(axis=1) != noisy.y.argmax(axis=1)).mean()
        assert changed == pytest.approx(0.4 * 0.9, abs=0.05)  # a draw hits the old digit 1 in 10
        np.testing.assert_array_equal(clean.y_test.argmax(axis=1), noisy.y_test.argmax(axis=1))
        np.testing.assert_array_equal(clean.x, noisy.x)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n_train": 1}, "n_train must be an integer >= 2"),
            ({"n_train": 1797}, "n_train must be below 1797: got 1797; hold some out"),
            ({"wrong_labels": 1.5}, "wrong_labels must lie in .0, 1."),
            ({"wrong_labels": np.nan}, "wrong_labels must lie in"),
        ],
    )
    def test_bad_input(self, change, message):
        with pytest.raises(ValueError, match=message):
            digits_task(**change, rng=np.random.default_rng(0))


# Found by changing the package a little and asking whether a test notices: `make mutants`.


def test_trees_have_three_levels_of_two_unless_told_otherwise():
    assert leaf_groups().shape == (8, 3)
    np.testing.assert_array_equal(tree_covariance(flip=0.1), tree_covariance(3, 2, flip=0.1))
    for found, named in zip(tree_spectrum(flip=0.1), tree_spectrum(3, 2, flip=0.1), strict=True):
        np.testing.assert_array_equal(found, named)


def test_a_teacher_may_have_full_rank():
    task = spiked_teacher(2, 3, [2.0, 1.0], noise=0.0, rng=np.random.default_rng(0))
    np.testing.assert_allclose(task.modes.s, [2.0, 1.0])


def test_half_of_a_test_set_is_refused():
    x, y = np.eye(3), np.arange(3.0)[:, None]
    for part in ({"x_test": x}, {"y_test": y}):
        with pytest.raises(ValueError, match="both x_test and y_test"):
            linear_task(x, y, **part)


def test_stacked_samples_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"x.reshape\(len\(x\), -1\) has one row each"):
        linear_task(np.zeros((4, 2, 2)), np.zeros((4, 1)))


def test_digits_keep_their_labels_unless_told_otherwise():
    task = digits_task(rng=np.random.default_rng(0))
    right = digits_task(rng=np.random.default_rng(0), wrong_labels=0.0)
    np.testing.assert_array_equal(task.y, right.y)


@pytest.mark.parametrize("unit", [[1, 1e-9], [1e-30, 1], [1e12, 1e-12]])
def test_an_input_is_not_dropped_for_its_unit(unit):
    x = np.random.default_rng(0).standard_normal((50, 2))
    task, plain = linear_task(x * unit, x), linear_task(x, x)
    assert task.sigma.shape == (2, 2)
    np.testing.assert_allclose(task.modes.s, plain.modes.s, rtol=1e-9)
    np.testing.assert_allclose(task.x.T @ task.x / 50, np.eye(2), atol=1e-12)


def test_constant_and_dependent_inputs_are_dropped_in_any_unit():
    x = np.random.default_rng(0).standard_normal((50, 2))
    for unit in (1e-9, 1.0, 1e9):
        constant, twice = unit * np.full((50, 1), 3.0), unit * x @ [[1.0], [2.0]]
        for more in (constant, twice, np.hstack([constant, twice])):
            assert linear_task(np.hstack([x, more]), x).sigma.shape == (2, 2)
