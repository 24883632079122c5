"""Kernels compute without their cache, and as plain Python the same numbers as compiled."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = """
import json
import numpy as np
from dlnlib.entropy import entropy_dynamics, group_entropy
from dlnlib.sgd import ReLUNetwork, gaussian_start, sde_diagonal, train_diagonal, train_relu
from dlnlib.stopping import mode_window, spiked_draws

rng, found = np.random.default_rng, {}
a, g = rng(0).standard_normal((2, 3, 5))
for power in (1, 2, 3):
    one = entropy_dynamics(a, g, power=power)
    found[f"entropy {power}"] = [one.entropy, one.rate, one.by_mode.ravel()]
found["one mode of three"] = [entropy_dynamics([0.0, 2.0, 0.0], [1.0, 1.0, 1.0]).entropy]
found["groups"] = [group_entropy(a, np.arange(5) < 2).between]
for depth in (2, 3, np.inf):
    for share in ("half", "share"):
        window = mode_window(
            [3.0, 2.5, 0.5, 0.3, 0.0], [2.7, 2.0, 0.1, 0.0, 0.0], [1e-3] * 3 + [0.5, 0.1],
            noise_modes=2, depth=depth, variant=share, level=0.02,
        )
        found[f"window {depth} {share}"] = [window.t_star, window.t_opt, window.t_memorisation]
draws = spiked_draws(2, 6, 5, [3.0], 1e-2, noise=0.3, depth=[2, 3], rng=rng(1), t=[0.5, 1.0, 3.0])
found["draws"] = [draws.entropy.ravel(), draws.test_error.ravel()]
x, y = rng(2).standard_normal((4, 6)), rng(3).standard_normal(4)
for name, options in {
    "single": {}, "batch": {"batch": 2, "track": True}, "all": {"batch": None},
    "labels": {"label_noise": 0.1},
}.items():
    runs = train_diagonal(x, y, [0.05] * 40, rng=rng(4), **options)
    found[f"diagonal {name}"] = [runs.u.ravel(), runs.v.ravel()]
found["diverged"] = [train_diagonal(x, y, [9.0] * 40, rng=rng(4)).diverged_at]
for kind in ("centred", "diagonal", "isotropic"):
    runs = sde_diagonal(
        x, y, [0.05] * 10, rng=rng(5), substeps=2, covariance=kind, label_noise=0.1
    )
    found[f"diffusion {kind}"] = [runs.u.ravel()]
for biases in (False, True):
    network = ReLUNetwork((2, 3, 4, 1), biases=biases)
    start = gaussian_start(network, 1.0, rng=rng(6), runs=2)
    for batch in (1, 3, None):
        runs = train_relu(network, start, x[:, :2], y, [0.02] * 12, batch=batch, rng=rng(7))
        found[f"relu {biases} {batch}"] = [runs.theta.ravel()]
rows = {k: np.concatenate([np.ravel(v) for v in vs]) for k, vs in found.items()}
print(json.dumps({k: row.tolist() for k, row in rows.items()}))
"""
FIRST = (
    "from dlnlib.entropy import spectral_entropy; print(round(float(spectral_entropy([1, 2])), 4))"
)


def run(code: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    inherited = dict(os.environ)
    if cwd != ROOT:
        inherited.pop("NUMBA_CACHE_DIR", None)  # a copy of the package has its cache in itself
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_plain_python_computes_what_the_compiled_kernels_do():
    results = []
    for flag in ("0", "1"):
        done = run(KERNELS, NUMBA_DISABLE_JIT=flag)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    compiled, plain = results
    assert compiled.keys() == plain.keys()
    for name, values in compiled.items():
        # training is chaotic: its sums have a fixed order, and not one bit may differ
        exact = name.startswith(("diagonal", "diffusion", "relu", "diverged"))
        tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-9, "atol": 1e-12}
        np.testing.assert_allclose(plain[name], values, err_msg=name, **tolerance)


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of what one kernel needs, and its cache."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(
        ROOT / "dlnlib", folder / "dlnlib", ignore=shutil.ignore_patterns("__pycache__")
    )
    assert run(FIRST, folder).stdout == "0.5004\n"
    return folder


def cached(package: Path, kind: str) -> list[Path]:
    found = sorted(package.rglob(f"*.{kind}"))
    assert found
    return found


@pytest.mark.parametrize(
    ("kind", "cut"),
    [("nbi", lambda data: b""), ("nbi", lambda data: data[:40]), ("nbc", lambda data: data[:-200])],
    ids=["empty index", "cut index", "cut code"],
)
def test_a_broken_cache_costs_a_word_and_nothing_else(package, kind, cut):
    for file in cached(package, kind):
        file.write_bytes(cut(file.read_bytes()))
    done = run(FIRST, package)
    assert done.stdout == "0.5004\n"
    assert done.stderr.count("compiled code is not cached") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
    again = run(FIRST, package)  # what was broken has been written anew
    assert (again.stdout, again.stderr) == ("0.5004\n", "")


# Stands for a full disk, and for a folder that lost its rights: no user can be refused as root.
FULL = """
import errno, tempfile
from numba.core import caching
def fail(*_): raise OSError(errno.ENOSPC, "No space left on device")
caching.IndexDataCacheFile.{step} = fail
"""


@pytest.mark.parametrize("step", ["_save_index", "_save_data", "_load_index"])
def test_a_full_or_locked_disk_costs_a_word_and_nothing_else(package, step):
    for file in cached(package, "nbi"):
        file.unlink()
    done = run(FULL.format(step=step) + FIRST, package)
    assert done.stdout == "0.5004\n"
    assert done.stderr.count("compiled code is not cached") == 1
    run(FIRST, package)


def test_no_place_for_a_cache_costs_a_word_and_nothing_else(package):
    nowhere = "from numba.core import caching\ncaching.CacheImpl._locator_classes = []\n"
    done = run(nowhere + FIRST, package)
    assert done.stdout == "0.5004\n"
    assert done.stderr.count("compiled code is not cached") == 1
