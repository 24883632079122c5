"""One valid call of each public function: what the tests of all doors change and feed to them."""

import importlib
import inspect
from collections.abc import Callable

import numpy as np

from dlnlib.sgd import ReLUNetwork, two_layer_task
from dlnlib.stopping import ESTIMATE_RULES, Run
from dlnlib.stopping import RULES as STOP_RULES
from dlnlib.tasks import Task, svd_modes, whiten

ROOMS = ("entropy", "flow", "measures", "modes", "random_matrix", "sgd", "stopping", "tasks")
SIGMA = np.array([[3.0, 0.0, 0.5], [0.0, 1.0, 0.0]])
MODES = svd_modes(SIGMA)
X = np.array([[1.0, 0.5, 0.2], [0.3, -1.0, 0.4], [0.1, 0.6, -2.0], [-1.0, 0.2, 0.9]])
Y = X @ np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
WEIGHTS = [0.1 * np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), 0.1 * np.eye(2)]
BALANCED = [0.1 * np.eye(2), 0.1 * np.eye(2)]
NETWORK = ReLUNetwork((1, 2, 1), biases=False)
THETA = np.array([0.5, -0.5, 0.5, 0.5])
LINE = {"x": [[-1.0], [0.5], [1.0]], "y": [1.0, 0.5, 1.0]}
SPARSE = {"x": [[1.0, 2.0, 0.5], [0.2, 1.0, 1.0]], "y": [1.0, 0.5]}
FEATURES = {"features": [[1.0, 0.5, 0.0], [2.0, 3.0, 0.0]]}
TIMES = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
CURVE = (TIMES - 1) ** 2 + 0.1
TASK = Task(sigma=SIGMA, teacher=SIGMA, x=X, y=Y, x_test=X, y_test=Y)
ESTIMATED = {"t": TIMES, "s": [3.0, 1.0], "a0": 0.01, "shape": (2, 3), "tau": 1.0, "depth": 2}
SMALL = two_layer_task(rng=np.random.default_rng(0))


def stream() -> np.random.Generator:
    """The same random numbers for each call."""
    return np.random.default_rng(0)


def shrunk(y: np.ndarray) -> np.ndarray:
    """A training whose predictions go the same share of the way to each output."""
    return np.multiply.outer([0.0, 0.5, 0.9], y)


class Drawn:
    """Stands for a fresh generator among the arguments."""


CALLS: dict[str, dict] = {
    "entropy.effective_modes": {"a": [2.0, 1.0], "power": 2.0},
    "entropy.energy_shares": {"a": [2.0, 1.0], "power": 2.0},
    "entropy.entropy_dynamics": {"a": [2.0, 1.0], "g": [3.0, 1.0], "power": 2.0},
    "entropy.entropy_phases": {"t": TIMES, "h": CURVE, "tol": 0.05},
    "entropy.entropy_rate": {"a": [2.0, 1.0], "g": [3.0, 1.0], "power": 2.0},
    "entropy.entropy_rate_by_mode": {"a": [2.0, 1.0], "g": [3.0, 1.0], "power": 2.0},
    "entropy.group_entropy": {"a": [2.0, 1.0], "signal": [True, False], "power": 2.0},
    "entropy.map_entropy": {"w": SIGMA},
    "entropy.map_entropy_rate": {"w": SIGMA, "velocity": SIGMA[::-1]},
    "entropy.mode_phases": {
        "t": TIMES,
        "a": np.outer(1 + TIMES, [2.0, 1.0]) ** [1.0, 2.0],
        "signal": [True, False],
        "power": 2.0,
        "tol": 0.05,
    },
    "entropy.spectral_entropy": {"a": [2.0, 1.0], "power": 2.0},
    "flow.aligned_weights": {"modes": MODES, "a0": [0.1, 0.2], "hidden": 3, "depth": 2},
    "flow.balance": {"weights": WEIGHTS},
    "flow.balanced_weights": {"widths": (3, 2, 2), "scale": 0.1, "rng": Drawn, "balance": 0.1},
    "flow.exact_flow": {"t": TIMES, "weights": BALANCED, "sigma": np.diag([2.0, 1.0]), "tau": 1.0},
    "flow.gaussian_weights": {"widths": (3, 2, 2), "scale": 0.1, "rng": Drawn},
    "flow.gradient_descent": {
        "steps": [0, 2, 5],
        "weights": WEIGHTS,
        "sigma": SIGMA,
        "lr": 0.1,
        "sigma_xx": np.eye(3),
    },
    "flow.gradient_flow": {
        "t": TIMES,
        "weights": WEIGHTS,
        "sigma": SIGMA,
        "sigma_xx": np.eye(3),
        "tau": 1.0,
        "decay": 0.1,
        "rtol": 1e-6,
        "atol": 1e-9,
    },
    "flow.product": {"weights": WEIGHTS},
    "measures.distinct_units": FEATURES | {"correlation": 0.99, "normalise": False},
    "measures.feature_sparsity": FEATURES | {"correlation": 0.99, "normalise": True},
    "measures.measure": FEATURES
    | {"correlation": 0.99, "centred": False, "rank_above": 1e-4, "units": 2, "rng": Drawn},
    "measures.measure_layers": {
        "layers": {"first": FEATURES["features"]},
        "units": 2,
        "rng": Drawn,
    },
    "measures.numerical_rank": {"singular_values": [3.0, 1.0], "threshold": [0.001, 0.5]},
    "modes.growth_rate": {
        "a": [0.1, 0.2],
        "s": [3.0, 1.0],
        "tau": 1.0,
        "depth": 3,
        "decay": 0.1,
    },
    "modes.learning_time": {
        "s": [3.0, 1.0],
        "a0": 0.01,
        "fraction": 0.5,
        "tau": 1.0,
        "depth": 2,
        "decay": 0.1,
    },
    "modes.mode_sensitivity": {"t": TIMES, "s": [3.0, 1.0], "a0": 0.01, "tau": 1.0, "depth": 3},
    "modes.mode_strength": {
        "t": TIMES,
        "s": [3.0, 1.0],
        "a0": 0.01,
        "tau": 1.0,
        "depth": 2,
        "decay": 0.5,
    },
    "random_matrix.bulk_density": {"x": [0.5, 1.0], "noise": 1.0, "aspect": 0.5},
    "random_matrix.bulk_edge": {"noise": 1.0, "aspect": 0.5},
    "random_matrix.bulk_quantiles": {"count": 4, "noise": 1.0, "aspect": 0.5},
    "random_matrix.bulk_target": {"x": [0.5, 1.0], "s0": [0.5], "noise": 1.0, "aspect": 0.5},
    "random_matrix.critical_dimension": {"s": [2.5, 4.0], "n": 2.0, "a0": 0.01},
    "random_matrix.detection_threshold": {"noise": 1.0, "aspect": 0.5},
    "random_matrix.infinite_network": {
        "t": TIMES,
        "strengths": [3.0],
        "a0": 0.01,
        "modes": 20,
        "noise": 0.5,
        "aspect": 0.5,
        "tau": 1.0,
        "depth": 2,
    },
    "random_matrix.optimal_shrinker": {"s": [1.5, 2.5], "noise": 1.0, "aspect": 0.5},
    "random_matrix.sharp_critical_dimension": {
        "s": [2.5],
        "a0": 0.01,
        "noise": 1.0,
        "aspect": 0.5,
        "depth": 2,
    },
    "random_matrix.spike_forward": {"s0": [0.5, 2.0], "noise": 1.0, "aspect": 0.5},
    "random_matrix.typical_spectrum": {
        "strengths": [2.0],
        "modes": 4,
        "noise": 1.0,
        "aspect": 0.5,
    },
    "sgd.basis_pursuit": SPARSE,
    "sgd.constant": {"lr": 0.1, "steps": 3},
    "sgd.diagonal_flow": {"t": TIMES, **SPARSE, "u0": 0.1, "v0": [0.0, 0.1, 0.0]},
    "sgd.diagonal_jacobian": {"x": SPARSE["x"], "u": [1.0, 2.0, 3.0], "v": [1.0, 0.0, 1.0]},
    "sgd.diagonal_sparsity": {
        "u": [1.0, 2.0, 3.0],
        "v": [1.0, 0.0, 1.0],
        "l0_above": 1e-50,
        "rank_above": 1e-15,
    },
    "sgd.exponential_warmup": {"lr": 0.1, "steps": 4, "until": 0.5, "base": 1.05},
    "sgd.gaussian_start": {"network": NETWORK, "scales": [1.0, 0.5], "rng": Drawn, "runs": 2},
    "sgd.gradient_covariance": {
        "jacobian": SPARSE["x"],
        "residuals": [1.0, 0.5],
        "batch": 1,
        "label_noise": 0.1,
        "level": 0.5,
        "covariance": "isotropic",
    },
    "sgd.implicit_bias": {**SPARSE, "alpha_squared": 0.1, "shift": 0.0},
    "sgd.line_task": {"rng": Drawn},
    "sgd.linear_warmup": {"lr": 0.1, "steps": 4, "until": 0.5, "factor": 5.0, "by": 2.0},
    "sgd.published_run": {"name": "three layers", "stream": np.random.RandomState},
    "sgd.relu_sparsity": {
        "task": SMALL,
        "theta": SMALL.starts(stream(), 1)[0],
        "l0_above": 1e-10,
        "rank_above": 1e-4,
    },
    "sgd.sde_diagonal": {
        **SPARSE,
        "lr": [0.1, 0.1],
        "rng": Drawn,
        "runs": 1,
        "substeps": 2,
        "record": [0, 2],
        "u0": 0.1,
        "v0": 0.0,
        "batch": 1,
        "label_noise": 0.1,
        "level": [0.5, 0.5],
        "covariance": "isotropic",
        "factor": 1.0,
    },
    "sgd.sparse_regression": {"n": 4, "d": 5, "r": 2, "n_test": 3, "rng": Drawn},
    "sgd.sqrt_warmup": {"lr": 0.1, "steps": 4, "until": 0.5, "factor": 5.0, "by": 2.0},
    "sgd.stability_threshold": {"jacobian": SPARSE["x"]},
    "sgd.stationary_covariance": {"jacobian": SPARSE["x"], "lr": 0.1, "label_noise": 0.1},
    "sgd.step_decay": {"lr": 0.1, "steps": 4, "at": [0.5], "by": [2.0], "delay": 1},
    "sgd.three_layer_task": {"rng": Drawn},
    "sgd.train_diagonal": {
        **SPARSE,
        "lr": [0.1, 0.1],
        "u0": 0.1,
        "v0": 0.0,
        "batch": 1,
        "label_noise": 0.1,
        "runs": 1,
        "rng": Drawn,
        "record": [0, 2],
    },
    "sgd.train_relu": {
        "network": NETWORK,
        "start": THETA,
        **LINE,
        "lr": [0.1, 0.1],
        "batch": 2,
        "rng": Drawn,
        "record": [0, 2],
    },
    "sgd.two_layer_task": {"rng": Drawn},
    "stopping.cross_validation": ESTIMATED,
    "stopping.degrees_of_freedom": ESTIMATED,
    "stopping.excess_error": {"a": [3.0, 1.0], "m": [2.0, 0.0], "energy": 4.0},
    "stopping.memorisation_time": {
        "s": [3.0, 1.0],
        "a0": 0.01,
        "noise_modes": 1,
        "variant": "share",
        "level": 0.01,
        "tau": 1.0,
        "depth": 2,
    },
    "stopping.mode_window": {
        "s": [3.0, 1.0],
        "m": [2.0, 0.0],
        "a0": 0.01,
        "noise_modes": [False, True],
        "tau": 1.0,
        "depth": 3,
        "level": 0.01,
    },
    "stopping.noise_level": {"s": [3.0, 1.0], "shape": (2, 3)},
    "stopping.plugin_error": ESTIMATED | {"noise": 0.5},
    "stopping.probe_degrees_of_freedom": {
        "train": shrunk,
        "y": [[1.0, 2.0], [0.5, -1.0], [3.0, 0.2]],
        "probes": 2,
        "rng": Drawn,
        "step": 0.01,
    },
    "stopping.risk_estimate": ESTIMATED | {"noise": 0.5, "corrected": True},
    "stopping.spiked_draws": {
        "draws": 2,
        "n_out": 5,
        "n_in": 5,
        "strengths": [3.0],
        "a0": [0.01],
        "noise": 0.5,
        "rng": Drawn,
        "depth": [2],
        "tau": 1.0,
        "t": TIMES,
        "level": 0.01,
        "estimates": True,
    },
    "stopping.spiked_spectra": {
        "draws": 2,
        "n_out": 5,
        "n_in": 5,
        "strengths": [3.0],
        "noise": 0.5,
        "rng": Drawn,
    },
    "stopping.stop_estimates": ESTIMATED | {"noise": 0.5},
    "stopping.two_level_window": {
        "s": [3.0, 4.0],
        "m": [2.7, 3.0],
        "n": 1.0,
        "a0": 0.01,
        "tau": 1.0,
    },
    "tasks.digits_task": {"n_train": 100, "rng": Drawn, "wrong_labels": 0.1},
    "tasks.hierarchical_tree": {
        "depth": 2,
        "branching": [2, 3],
        "features": 4,
        "flip": [0.1, 0.2],
        "rng": Drawn,
    },
    "tasks.leaf_groups": {"depth": 2, "branching": [2, 3]},
    "tasks.linear_task": {"x": X, "y": Y, "x_test": X, "y_test": Y},
    "tasks.project": {"maps": SIGMA, "modes": MODES},
    "tasks.spiked_teacher": {
        "n_out": 5,
        "n_in": 4,
        "strengths": [3.0],
        "noise": 0.5,
        "rng": Drawn,
    },
    "tasks.svd_modes": {"sigma": SIGMA},
    "tasks.teacher_targets": {"task": TASK},
    "tasks.tree_covariance": {"depth": 2, "branching": [2, 3], "flip": [0.1, 0.2]},
    "tasks.tree_spectrum": {"depth": 2, "branching": [2, 3], "flip": [0.1, 0.2]},
    "tasks.whiten": {"x": X, "rtol": 1e-8},
}
METHODS: dict[str, tuple[Callable, dict]] = {
    "tasks.AffineMap.__call__": (whiten(X)[1], {"x": X}),
    "tasks.Task.loss": (TASK.loss, {"product": SIGMA}),
    "tasks.Task.test_loss": (TASK.test_loss, {"product": SIGMA}),
    "sgd.ReLUNetwork.predict": (NETWORK.predict, {"theta": THETA, "x": LINE["x"]}),
    "sgd.ReLUNetwork.features": (NETWORK.features, {"theta": THETA, "x": LINE["x"]}),
    "sgd.ReLUNetwork.jacobian": (NETWORK.jacobian, {"theta": THETA, "x": LINE["x"]}),
    "sgd.ReLUNetwork.loss": (NETWORK.loss, {"theta": THETA, **LINE}),
    "sgd.ReLUNetwork.gradient": (NETWORK.gradient, {"theta": THETA, **LINE}),
    "sgd.ReLUNetwork.pack": (NETWORK.pack, {"weights": [[[0.5], [-0.5]], [[0.5, 0.5]]]}),
    "sgd.ReLUNetwork": (ReLUNetwork, {"widths": (1, 2, 1), "biases": True}),
    "stopping.Run": (
        Run,
        {
            "t": TIMES,
            "entropy": CURVE,
            "train_error": CURVE,
            "test_error": CURVE,
            "validation_error": CURVE,
            "noise_mode": CURVE,
            "edge_mode": CURVE,
            "risk_estimate": CURVE,
            "plugin_error": CURVE,
            "cross_validation": CURVE,
            "noise_energy": 1.0,
        },
    ),
}
RUN = Run(**METHODS["stopping.Run"][1])
# Stop rules take a run, which has checked its curves, and at most one number.
RULES: dict[str, dict] = {f"stopping.{rule}": {} for rule in STOP_RULES | ESTIMATE_RULES} | {
    "stopping.noise_edge": {"fraction": 0.1},
    "stopping.regret": {"stop": 2.0},
    "stopping.validation_patience": {"patience": 2.0},
}
NAMES = [*CALLS, *METHODS, *RULES]


def public_functions() -> set[str]:
    """Names of the functions in the doors of all rooms, as "room.function"."""
    doors = {room: importlib.import_module(f"dlnlib.{room}") for room in ROOMS}
    return {
        f"{room}.{name}"
        for room, door in doors.items()
        for name in door.__all__
        if inspect.isfunction(getattr(door, name))
    }


def arguments(name: str) -> dict:
    """What the valid call is given."""
    if name in METHODS:
        return METHODS[name][1]
    return CALLS[name] if name in CALLS else {"run": RUN, **RULES[name]}


def call(name: str, **changed: object) -> object:
    """The valid call with some arguments changed; what is lazy is looked at once."""
    if name in METHODS:
        function = METHODS[name][0]
    else:
        room, function_name = name.split(".")
        function = getattr(importlib.import_module(f"dlnlib.{room}"), function_name)
    given = arguments(name) | changed
    given = {k: stream() if v is Drawn else v for k, v in given.items()}
    result = function(**given)
    return next(result) if inspect.isgenerator(result) else result


def numbers_of(name: str) -> list[str]:
    """The arguments of a call that are numbers or arrays."""
    return [
        key
        for key, value in arguments(name).items()
        if isinstance(value, int | float | list | tuple | np.ndarray) and key != "biases"
    ]
