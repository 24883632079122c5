"""SGD on pictures; a killed run goes on from its last epoch, and gives what it would have given."""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from dlnlib.deep.images import Images
from dlnlib.sgd.schedules import constant, exponential_warmup, step_decay


@dataclass(frozen=True)
class Setting:
    """What is the same in all runs of a comparison.

    Parameters
    ----------
    momentum, weight_decay : float
        Of SGD; weight decay acts on all parameters.
    augment : bool
        Random shifts by up to an eighth of the size, and mirror images of coloured pictures.
    warmup : float
        Large step sizes grow by this factor in a hundredth of the run, until they are divided.

    Examples
    --------
    >>> Setting(momentum=0.9).warmup
    1.05
    """

    momentum: float = 0.0
    weight_decay: float = 0.0
    augment: bool = False
    warmup: float = 1.05


def has_fast_bfloat16(device: str) -> bool:
    """Whether a device multiplies in bfloat16 itself; imitated, it takes several times as long.

    Parameters
    ----------
    device : str
        "cpu" or "cuda".

    Returns
    -------
    bool

    Examples
    --------
    >>> has_fast_bfloat16("cpu") in (True, False)
    True
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", text) is not None


#: The two settings of the note: SGD alone, and "state of the art".
SETTINGS = {"basic": Setting(), "full": Setting(0.9, 5e-4, True, 1.0)}


def step_sizes(
    setting: Setting, lr: float, until: float | None, steps: int
) -> Float[np.ndarray, "steps"]:
    """Step sizes of the schedules that the chapter compares.

    Parameters
    ----------
    setting : Setting
        Its ``warmup`` lets large steps grow.
    lr : float
        First step size.
    until : float or None
        Share of the run after which large steps are divided by 10; at 90 % they are divided by 10
        once more.  None for a constant step.
    steps : int
        Number of iterations.

    Returns
    -------
    (steps,) ndarray

    Examples
    --------
    >>> step_sizes(Setting(warmup=1.0), 0.5, 0.5, 10).round(3).tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.05, 0.005]
    """
    if until is None:
        return constant(lr, steps)
    if setting.warmup == 1:
        return step_decay(lr, steps, at=[until, 0.9], by=[10, 10])
    return exponential_warmup(lr, steps, until=until, base=setting.warmup)


class Standard:
    """Pictures as tensors on a device, standardised by the training pictures of each channel.

    Parameters
    ----------
    images : Images
        Pictures and classes.
    device : str
        "cpu" or "cuda".

    Examples
    --------
    >>> from dlnlib.deep import load_images
    >>> data = Standard(load_images("digits"), "cpu")
    >>> tuple(data.x.shape), round(data.x.mean().item(), 3), round(data.x.std().item(), 3)
    ((1347, 1, 8, 8), 0.0, 1.0)
    """

    def __init__(self, images: Images, device: str):
        pixels = images.x.astype(float)
        axes = (0, 2, 3)
        self.mean, self.deviation = pixels.mean(axis=axes), pixels.std(axis=axes)
        self.device, self.colour = device, images.x.shape[1] == 3
        self.short = has_fast_bfloat16(device)
        self.x, self.x_test = self._tensor(images.x), self._tensor(images.x_test)
        self.y, self.y_test = (torch.from_numpy(y).to(device) for y in (images.y, images.y_test))

    def _tensor(self, x: np.ndarray) -> torch.Tensor:
        scaled = (x - self.mean[:, None, None]) / self.deviation[:, None, None]
        tensor = torch.from_numpy(scaled.astype(np.float32)).to(self.device)
        return tensor.to(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """Context of the products of a network, in bfloat16 where the device has it."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.short)

    def epoch(
        self, batch: int, augment: bool, rng: np.random.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All samples once in random order, in batches; an incomplete last one is left out."""
        order = torch.from_numpy(rng.permutation(len(self.y))).to(self.device)
        for pick in order[: len(order) // batch * batch].split(batch):
            x = self.x[pick]
            yield (_moved(x, self.colour, rng) if augment else x), self.y[pick]


def _moved(x: torch.Tensor, mirror: bool, rng: np.random.Generator) -> torch.Tensor:
    """Each picture shifted, with the mean coming in, and mirrored by a coin if ``mirror``."""
    n, _, size, _ = x.shape
    reach = max(1, size // 8)
    wide = nn.functional.pad(x, [reach] * 4)
    down, right = torch.from_numpy(rng.integers(2 * reach + 1, size=(2, n))).to(x.device)
    line = torch.arange(size, device=x.device)
    rows, columns = down[:, None] + line, right[:, None] + line
    if mirror:
        coin = torch.from_numpy(rng.random(n) < 0.5).to(x.device)
        columns = torch.where(coin[:, None], columns.flip(1), columns)
    which = torch.arange(n, device=x.device)[:, None, None]
    moved = wide.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def train_epochs(
    network: nn.Module,
    data: Standard,
    lr: ArrayLike,
    *,
    batch: int,
    setting: Setting,
    streams: Sequence[np.random.Generator],
    measure: Callable[[nn.Module, int], dict],
    checkpoint: str | Path | None = None,
    label: str = "",
) -> list[dict]:
    """Train by SGD, and keep all that is needed to go on after every epoch.

    Products are in bfloat16 where the device has it, see `has_fast_bfloat16`, else in float32.

    Parameters
    ----------
    network : torch.nn.Module
        From pictures to logits; it is changed.
    data : Standard
        What it learns.
    lr : (steps,) array_like
        Step sizes, the same number for each epoch.
    batch : int
        Pictures per step.
    setting : Setting
        Momentum, weight decay, augmentation.
    streams : sequence of numpy.random.Generator
        One for each epoch: a run that goes on needs no state of the earlier ones.
    measure : callable
        From the network and the number of epochs done to further entries of a row.
    checkpoint : path, optional
        File that holds network, optimiser and rows after each epoch.  If it exists the run goes on
        from it; a finished one only gives its rows.
    label : str
        Shown before the progress bar.

    Returns
    -------
    list of dict
        A row before the first epoch and one after each: ``epoch``, the last step size ``lr``, the
        mean ``loss`` over its steps, and what ``measure`` gives.

    Examples
    --------
    >>> from dlnlib.deep import load_images
    >>> data = Standard(load_images("digits").few(128, 10), "cpu")
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> rows = train_epochs(
    ...     network, data, [0.1] * 2, batch=64, setting=Setting(),
    ...     streams=np.random.default_rng(0).spawn(1), measure=lambda network, epoch: {},
    ... )
    >>> [row["epoch"] for row in rows], rows[1]["lr"]
    ([0, 1], 0.1)
    """
    checkpoint = None if checkpoint is None else Path(checkpoint)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=0.0, momentum=setting.momentum, weight_decay=setting.weight_decay
    )
    rows = _resume(checkpoint, network, optimiser)
    rows = rows or [{"epoch": 0, "lr": math.nan, "loss": math.nan, **measure(network, 0)}]
    steps = np.split(np.asarray(lr, dtype=float), len(streams))
    left = range(len(rows), len(streams) + 1)
    bar = tqdm(left, label, initial=len(rows) - 1, total=len(streams), leave=False, unit="epoch")
    for epoch in bar:
        sizes = steps[epoch - 1]
        batches = data.epoch(batch, setting.augment, streams[epoch - 1])
        loss = _one_epoch(network, optimiser, sizes, batches, data.autocast)
        found = {"epoch": epoch, "lr": sizes[-1].item(), "loss": loss}
        rows.append(found | measure(network, epoch))
        bar.set_postfix(loss=f"{loss:.2g}")
        if checkpoint is not None:
            _keep(checkpoint, network, optimiser, rows)
    return rows


def _one_epoch(network, optimiser, lr, batches: Iterable, autocast: Callable) -> float:
    network.train()
    losses = []
    for size, (x, y) in zip(lr.tolist(), batches, strict=True):
        optimiser.param_groups[0]["lr"] = size
        with autocast():
            loss = cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _keep(path: Path, network, optimiser, rows) -> None:
    """Put the file in place when it is whole: a kill leaves that of the epoch before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "rows": rows}
    try:
        torch.save(state, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _resume(path: Path | None, network, optimiser) -> list[dict]:
    if path is None or not path.exists():
        return []
    try:
        state = torch.load(path, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        return state["rows"]
    except (RuntimeError, LookupError, ValueError, EOFError, UnpicklingError) as error:
        raise ValueError(
            f"{path} is no checkpoint of this run ({type(error).__name__}): delete it, and the run "
            "starts anew"
        ) from error
