"""The runs behind the chapter on deep networks: a row per epoch, and all that decides a run."""

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from dlnlib._checks import as_choice, as_count
from dlnlib.deep.densenet import DenseNet
from dlnlib.deep.images import load_images
from dlnlib.deep.training import (
    SETTINGS,
    Standard,
    has_fast_bfloat16,
    step_sizes,
    train_epochs,
)
from dlnlib.deep.watch import watch
from dlnlib.measures import feature_sparsity, measure

#: Layers whose activations are measured: the end of block 3, and of block 4 before pooling.
LAYERS = ("block3", "block4")
#: Thresholds of the coefficient; 0.95 is that of the paper and is measured at all records.
CORRELATIONS = (0.9, 0.95, 0.99, 0.999)
#: Shares of a run after which the network is measured.
RECORDS = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1)
_UNITS, _PICTURES = 1000, 100  # sampled units of a layer, and pictures for the Jacobian


@dataclass(frozen=True)
class Run:
    """One training, by all that decides it.

    Parameters
    ----------
    data : str
        As in `load_images`.
    depth, growth : int
        Of the `DenseNet`.
    setting : {"basic", "full"}
        SGD alone, or with momentum 0.9, weight decay 5e-4 and augmentation.
    lr : float
        First step size.
    until : float or None
        Share of the run in which it is large, see `step_sizes`; None for a constant one.
    trial : int
        Number of the random streams: of the start, and of the pictures in each epoch.
    epochs, batch : int
        Passes over the pictures, in steps of so many.
    n : int or None
        Training pictures, None for all.

    Examples
    --------
    >>> Run("digits", 22, 12, "basic", 0.75, 0.5, trial=0).schedule
    '0.75, 50 %'
    """

    data: str
    depth: int
    growth: int
    setting: str
    lr: float
    until: float | None
    trial: int
    epochs: int = 30
    batch: int = 64
    n: int | None = 1000

    @property
    def schedule(self) -> str:
        """Name of the schedule, as "0.75, 50 %" or "0.05, constant"."""
        return f"{self.lr:g}, " + ("constant" if self.until is None else f"{100 * self.until:g} %")

    @property
    def name(self) -> str:
        """Name of its checkpoint."""
        share = "constant" if self.until is None else f"{100 * self.until:g}"
        parts = [self.data, self.depth, self.growth, self.setting, f"{self.lr:g}", share]
        return "-".join(map(str, [*parts, self.trial, self.epochs, self.batch, self.n]))


#: First steps and shares of large steps, by set and setting: a small constant step, a medium one,
#: and two large ones, chosen on a trial (100) that no table holds.  From depth 40 on, six of them.
_SHARES, _CONSTANT = (0.1, 0.3, 0.5), [(0.05, None), (0.3, None)]
SCHEDULES = {
    ("digits", "basic"): [*_CONSTANT, *itertools.product((0.75, 1.5), _SHARES)],
    ("images", "basic"): [*_CONSTANT, *itertools.product((0.3, 0.75), _SHARES)],
    ("deep", "basic"): [*_CONSTANT, (0.3, 0.5), *itertools.product((0.75,), _SHARES)],
    ("images", "full"): [(0.01, None), (0.05, None), (0.1, 0.5), *((0.3, q) for q in _SHARES)],
}


def planned_runs(
    data: str,
    depth: int,
    *,
    growth: int = 12,
    settings: Iterable[str] = ("basic",),
    trials: int = 1,
    epochs: int = 30,
    batch: int = 64,
    n: int | None = 1000,
) -> list[Run]:
    """All runs of a comparison: every schedule of the settings, in several trials.

    Parameters
    ----------
    data, depth, growth
        As in `Run`.
    settings : iterable of {"basic", "full"}
        Settings.
    trials : int
        Number of trials, each with streams of its own.
    epochs, batch, n
        As in `Run`.

    Returns
    -------
    list of Run

    Examples
    --------
    >>> runs = planned_runs("digits", 22, trials=2)
    >>> len(runs), runs[0].schedule, runs[-1].schedule
    (16, '0.05, constant', '1.5, 50 %')
    """
    found = []
    for setting in settings:
        as_choice("settings", setting, SETTINGS)
        kinds = (*["deep"] * (depth >= 40), data, "images")
        kind = next(kind for kind in kinds if (kind, setting) in SCHEDULES)
        for trial in range(as_count("trials", trials, 1, "each is a run with streams of its own")):
            found += [
                Run(data, depth, growth, setting, lr, until, trial, epochs, batch, n)
                for lr, until in SCHEDULES[kind, setting]
            ]
    return found


def run_rows(
    run: Run,
    checkpoints: str | Path | None = None,
    *,
    folder: str | Path = "data",
    download: bool = False,
) -> list[dict]:
    """Rows of one run, on the first GPU if there is one; else on one thread, for the same digits.

    Parameters
    ----------
    run : Run
        What is trained.
    checkpoints : path, optional
        Folder in which the run is kept after each epoch; one that it already holds goes on.
    folder, download
        As in `load_images`.

    Returns
    -------
    list of dict
        See `train_epochs`; after the shares `RECORDS` of the run also losses and errors, and for
        each of `LAYERS` its coefficients by threshold (``block4_0.95``; with scaled samples
        ``block4_0.95_scaled``), share of non-zeros, effective modes with the powers 2 and 1, and
        rank; first and last also those of the Jacobian.

    Examples
    --------
    >>> rows = run_rows(Run("digits", 7, 2, "basic", 0.1, None, trial=0, epochs=2, n=128))
    >>> [row["epoch"] for row in rows], 0 < rows[2]["block4_0.95"] < 1
    ([0, 1, 2], True)
    """
    images = load_images(run.data, folder, download=download).few(run.n, None)
    setting = SETTINGS[as_choice("setting", run.setting, SETTINGS)]
    batch = as_count("batch", run.batch, 1, "it counts pictures", most=len(images.y))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start, *streams = (np.random.default_rng([run.trial, k]) for k in range(run.epochs + 1))
    network = DenseNet(run.depth, run.growth, images.x.shape[1], images.classes, rng=start)
    network = network.to(device, memory_format=torch.channels_last)
    with _one_thread():
        data = Standard(images, device)
        return train_epochs(
            network,
            data,
            step_sizes(setting, run.lr, run.until, run.epochs * (len(images.y) // batch)),
            batch=batch,
            setting=setting,
            streams=streams,
            measure=lambda net, epoch: measured(net, data, epoch, run.epochs),
            checkpoint=None if checkpoints is None else Path(checkpoints, f"{run.name}.pt"),
            label=f"{run.data}, trial {run.trial}, {run.schedule}",
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over several threads have another order on another machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def measured(network: nn.Module, data: Standard, epoch: int, epochs: int) -> dict[str, float]:
    """Entries of a row at the records, and none between them."""
    if epoch not in {math.ceil(share * epochs) for share in RECORDS}:
        return {}
    network.eval()
    with torch.no_grad(), watch(network, LAYERS) as seen:
        logits = torch.cat([network(x) for x in data.x.split(500)])
    with torch.no_grad(), data.autocast():
        tests = torch.cat([network(x).float() for x in data.x_test.split(500)])
    found, ends = {}, epoch in (0, epochs)
    for part, out, y in (("train", logits, data.y), ("test", tests, data.y_test)):
        found[f"{part}_loss"] = nn.functional.cross_entropy(out, y).item()
        found[f"{part}_error"] = (out.argmax(dim=1) != y).float().mean().item()
    for name in LAYERS:
        found |= _of_features(seen[name], name, ends)
    return found | (_of_jacobian(network, data) if ends else {})


def _of_features(z: np.ndarray, name: str, ends: bool) -> dict[str, float]:
    """Measures of the activations of a layer, on a sample of its units."""
    z = z.reshape(len(z), -1)
    pick = np.random.default_rng(0).permutation(z.shape[1])[:_UNITS]
    found, z = {f"{name}_nonzero": float((z > 0).mean())}, z[:, np.sort(pick)].astype(float)
    for scaled in (False, True) if ends else (False,):
        for rho in CORRELATIONS if ends else (0.95,):
            key = f"{name}_{rho:g}" + "_scaled" * scaled
            found[key] = feature_sparsity(z, correlation=rho, normalise=scaled)
    return found | _of_spectrum(z, name)


def _of_spectrum(matrix: np.ndarray, name: str) -> dict[str, float]:
    """Effective modes with the powers 2 and 1, and rank; no modes where all is zero."""
    found = measure(matrix)
    modes = (found.modes, found.effective_rank) if found.rank else (math.nan, math.nan)
    return {f"{name}_modes": modes[0], f"{name}_modes1": modes[1], f"{name}_rank": found.rank}


def _of_jacobian(network: nn.Module, data: Standard) -> dict[str, float]:
    """Modes of the Jacobian of the true class's logit, on the first pictures."""
    parameters, rows = list(network.parameters()), []
    for x, y in zip(data.x[:_PICTURES], data.y[:_PICTURES], strict=True):
        slopes = torch.autograd.grad(network(x[None])[0, y], parameters)
        rows.append(torch.cat([slope.ravel() for slope in slopes]))
    return _of_spectrum(torch.stack(rows).cpu().numpy(), "jacobian")


#: What decides a run, as columns of a table.
PARAMETERS = ["data", "depth", "growth", "setting", "schedule", "trial", "epochs", "batch", "n"]


def run_table(runs: Iterable[Run], rows: Iterable[Iterable[dict]]) -> pd.DataFrame:
    """One tidy table of the measured rows: what decides a run, then its numbers, to five digits.

    ``loss`` is the mean over all epochs since the row before.
    """
    found = []
    for run, own in zip(runs, rows, strict=True):
        decided, losses = {key: getattr(run, key) or 0 for key in PARAMETERS}, []
        for row in own:
            losses.append(row["loss"])
            if "train_loss" in row:
                numbers = row | {"loss": float(np.mean(losses))}
                found.append(decided | {key: _short(value) for key, value in numbers.items()})
                losses = []
    table = pd.DataFrame(found)
    table.attrs = {"parameters": ", ".join(PARAMETERS)}
    return table


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def cost_table(
    depths: Sequence[int] = (22, 40, 100), sizes: Sequence[int] = (8, 14, 32), repeats: int = 3
) -> pd.DataFrame:
    """Processor seconds of one thread per 1,000 pictures of a step, the fastest of some repeats."""
    rows = []
    for depth, size in itertools.product(depths, sizes):
        batch, channels = (16, 3) if size == 32 else (64, 1)  # large pictures need memory
        network = DenseNet(depth, 12, channels, 10, rng=np.random.default_rng(0))
        network = network.to(memory_format=torch.channels_last)
        x = torch.zeros(batch, channels, size, size).to(memory_format=torch.channels_last)
        with _one_thread():
            seconds = min(_step_time(network, x) for _ in range(repeats + 1))
        cost = float(f"{1000 * seconds / batch:.2g}")
        rows.append({"depth": depth, "size": size, "batch": batch, "seconds": cost})
    return pd.DataFrame(rows)


def _step_time(network: DenseNet, x: torch.Tensor) -> float:
    begun = time.process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_fast_bfloat16("cpu")):
        loss = network(x).logsumexp(dim=1).mean()
    network.zero_grad()
    loss.backward()
    return time.process_time() - begun
