"""Data: embedded sets, the search order, and every way in which files and servers can be bad."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import multiprocessing
import os
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaetl_helpers import data
from vaetl_helpers.data import (
    DATASETS,
    Dataset,
    ImageSet,
    Splits,
    fetch,
    files,
    image_hashes,
    load,
    load_folder,
    readers,
    where,
)
from vaetl_helpers.errors import CourseError

FULL = Path(__file__).parents[3] / "shared" / "data"
needs_full = pytest.mark.skipif(not FULL.is_dir(), reason=f"the full data sets are not at {FULL}")
IDX = tuple(DATASETS["mnist"].files)
ASSETS = Path(data.__file__).parents[1] / "assets"


def says(error: pytest.ExceptionInfo[CourseError] | Exception, *words: str) -> None:
    """The message is one line that ends in a full stop and holds the words."""
    message = str(getattr(error, "value", error))
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder, with size, time and mode."""
    entries = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        name = str(path.relative_to(folder))
        entries[name] = (status.st_size, status.st_mtime_ns, status.st_mode)
    return entries


def hashes(images: ImageSet) -> list[bytes]:
    return image_hashes(images.images.squeeze(1).numpy())


def hash_set(*sets: ImageSet) -> set[bytes]:
    digests: set[bytes] = set()
    for images in sets:
        digests.update(hashes(images))
    return digests


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no data root, no proxy, no waiting between tries, no network but here."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("VAETL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    connect = socket.socket.connect
    look_up = socket.getaddrinfo

    def connect_here(self: socket.socket, address: tuple[str, int]) -> None:
        if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
            raise OSError(errno.ENETUNREACH, "the tests have no network")
        connect(self, address)

    def look_up_here(host: str, *arguments: object, **options: object) -> list:
        if host != "127.0.0.1":
            raise socket.gaierror("the tests have no network")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    return tmp_path / "cache"


# ---------------------------------------------------------------- making sets


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def small_arrays(train: int = 120, test: int = 20) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for stem, count in (("train", train), ("t10k", test)):
        arrays[f"{stem}-images-idx3-ubyte.gz"] = generator.integers(0, 256, (count, 28, 28))
        arrays[f"{stem}-labels-idx1-ubyte.gz"] = np.arange(count) % 10
    return arrays


OF_SMALL_ARRAYS: dict[str, Any] = {"first_labels": (0, 1, 2, 3), "digests": {}}


def write_set(folder: Path, **counts: int) -> dict[str, bytes]:
    """Writes a small MNIST into a folder; returns its files."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for name, array in small_arrays(**counts).items():
        contents[name] = gzip.compress(idx(array), mtime=0)
        (folder / name).write_bytes(contents[name])
    return contents


def photo(path: Path, colour: str = "red", size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def photo_zip(path: Path, train: int = 12, val: int = 3) -> bytes:
    """An archive of the layout of the ants and bees, `train` and `val` photos in each class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jpeg = io.BytesIO()
    Image.new("RGB", (24, 16), "red").save(jpeg, "JPEG")
    with zipfile.ZipFile(path, "w") as opened:
        for split, count in (("train", train), ("val", val)):
            for kind, number in product(("ants", "bees"), range(count)):
                name = f"hymenoptera_data/{split}/{kind}/{number}.jpg"
                opened.writestr(name, jpeg.getvalue())
    return path.read_bytes()


class Server:
    """A mirror on this machine: `answers[name]` lists what it does with the next requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.done = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self, self.path.lstrip("/"))

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def answer(self, request: BaseHTTPRequestHandler, name: str) -> None:
        self.asked.append(name)
        queue = self.answers.get(name, ["good"])
        manner = queue.pop(0) if len(queue) > 1 else queue[0]
        content = self.files.get(name, b"")
        if manner == "wrong":
            content = b"<html>Please log in to the network.</html>"
        request.send_response(404 if manner == "404" else 200)
        if manner != "half, no length":
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if manner in ("half", "half, no length", "stall"):
            content = content[: len(content) // 2]
        request.wfile.write(content)
        if manner == "stall":
            request.wfile.flush()
            self.done.wait(60)


@pytest.fixture
def server() -> Iterator[Server]:
    mirror = Server()
    yield mirror
    mirror.done.set()
    mirror.http.shutdown()
    mirror.http.server_close()


@pytest.fixture
def small(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A small MNIST in the registry, served by `server`; the embedded digits to fall back on."""
    server.files = write_set(tmp_path / "published")
    published_hashes = {}
    for name, content in server.files.items():
        published_hashes[name] = f"md5:{hashlib.md5(content).hexdigest()}"
    item = replace(
        DATASETS["mnist"],
        title="Small",
        files=published_hashes,
        mirrors=(server.url,),
        folder="Small/raw",
        system_folders=(),
        **OF_SMALL_ARRAYS,
    )
    monkeypatch.setitem(DATASETS, "small", item)
    return item


@pytest.fixture
def photos(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A small set of ants and bees as 'photos', without a published hash."""
    server.files = {"photos.zip": photo_zip(tmp_path / "published" / "photos.zip")}
    monkeypatch.setattr("vaetl_helpers.data.readers.PHOTOS", {"train": 24, "val": 6})
    item = replace(
        DATASETS["ants-bees"], title="Photos", files={"photos.zip": None}, mirrors=(server.url,)
    )
    monkeypatch.setitem(DATASETS, "photos", item)
    return item


def sizes(splits: Splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.validation), len(splits.test)


# ---------------------------------------------------------------- embedded sets

EMBEDDED = {"fashion-mnist": (9000, 1000, 2000), "mnist": (3500, 500, 1000)}


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_set_is_stratified_and_its_splits_share_no_image(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = load(name)
    assert sizes(splits) == EMBEDDED[name]
    sets = [splits.train, splits.validation, splits.test]
    distinct = 0
    for images in sets:
        assert images.images.dtype == torch.uint8
        assert images.images.shape[1:] == (1, 28, 28)
        assert images.labels.bincount().tolist() == [len(images) // 10] * 10
        distinct += len(hash_set(images))
    assert len(hash_set(*sets)) == distinct
    counts = "/".join(f"{count:,}" for count in EMBEDDED[name])
    assert capsys.readouterr().out == f"{DATASETS[name].title}, embedded {counts}\n"


def test_embedded_sets_are_under_8_mb_together() -> None:
    paths = [ASSETS / str(DATASETS[name].embedded) for name in EMBEDDED]
    assert sum(path.stat().st_size for path in paths) < 8_000_000


@pytest.mark.slow
def test_embedded_sets_load_without_a_network_and_with_an_empty_home(tmp_path: Path) -> None:
    code = """if True:
        import socket
        def refuse(*_, **__):
            raise AssertionError("it used the network")
        socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
        from vaetl_helpers.data import load
        for name in ("fashion-mnist", "mnist"):
            load(name)
    """
    home = tmp_path / "home"
    home.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=home, capture_output=True, text=True
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "Fashion-MNIST, embedded 9,000/1,000/2,000",
        "MNIST, embedded 3,500/500/1,000",
    ]
    assert tree(home) == {}


@pytest.mark.debian("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist")
def test_embedded_fashion_keeps_the_official_split_and_labels() -> None:
    item = DATASETS["fashion-mnist"]
    official = item.read(item.system_folders[0])
    official_labels = {}
    for split, (images, labels) in official.items():
        digests = image_hashes(images)
        official_labels[split] = dict(zip(digests, labels.tolist(), strict=True))
    splits = load("fashion-mnist")
    pairs = [
        (splits.train, "train"),
        (splits.validation, "train"),
        (splits.test, "test"),
    ]
    for images, split in pairs:
        labels = [official_labels[split].get(digest) for digest in hashes(images)]
        assert labels == images.labels.tolist()
    assert hash_set(splits.test).isdisjoint(official_labels["train"])


@pytest.mark.debian("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist")
def test_debian_package_serves_as_the_full_fashion_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert sizes(load("fashion-mnist", full=True)) == (55_000, 5_000, 10_000)
    assert capsys.readouterr().out == "Fashion-MNIST, full 55,000/5,000/10,000\n"


# ---------------------------------------------------------------- full sets and where they are


def test_a_full_set_does_not_train_on_what_the_embedded_one_holds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a "full" set of the embedded images alone, which is on every machine."""
    embedded = load("mnist")
    splits = (embedded.train, embedded.validation, embedded.test)
    images = torch.cat([split.images for split in splits]).squeeze(1).numpy()
    labels = torch.cat([split.labels for split in splits]).to(torch.uint8).numpy()
    contents = (images, labels, images[:1], labels[:1])
    for name, array in zip(IDX, contents, strict=True):
        (tmp_path / name.removesuffix(".gz")).write_bytes(idx(array))
    item = replace(
        DATASETS["mnist"], folder=".", first_labels=tuple(labels[:4].tolist()), digests={}
    )
    monkeypatch.setitem(DATASETS, "small", item)
    full = load("small", full=True, root=tmp_path)
    assert hash_set(full.train) == hash_set(embedded.train)
    assert hash_set(full.validation) == hash_set(embedded.validation, embedded.test)


@needs_full
def test_full_sets_keep_the_embedded_validation_and_test_digits_out_of_training(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    original = tree(FULL)
    monkeypatch.setenv("VAETL_DATA", str(FULL))
    embedded = load("mnist")
    full = load("mnist", full=True)
    assert sizes(full) == (55_000, 5_000, 10_000)
    assert full.source == "MNIST, full 55,000/5,000/10,000"
    held_out = hash_set(embedded.validation, embedded.test)
    assert len(held_out) == 1500
    assert held_out.isdisjoint(hashes(full.train))
    assert held_out <= hash_set(full.validation)
    assert hash_set(embedded.train) <= hash_set(full.train, full.validation)
    assert hash_set(full.train).isdisjoint(hashes(full.test))
    repeated = load("mnist", full=True)
    assert torch.equal(full.train.images, repeated.train.images), "the same split every time"
    assert tree(FULL) == original
    assert not cache.exists()


@needs_full
def test_full_fashion_from_the_data_root_keeps_embedded_images_out_of_training() -> None:
    embedded = load("fashion-mnist")
    full = load("fashion-mnist", full=True, root=FULL)
    assert sizes(full) == (55_000, 5_000, 10_000)
    held_out = hash_set(embedded.validation, embedded.test)
    assert held_out.isdisjoint(hashes(full.train))
    assert hash_set(embedded.test) <= hash_set(full.test)


@pytest.mark.slow
@needs_full
def test_photos_are_unpacked_from_a_read_only_root_into_the_cache(cache: Path) -> None:
    original = tree(FULL)
    splits = load("ants-bees", root=FULL)
    assert sizes(splits) == (225, 20, 153)
    assert splits.train.images.shape[1:] == (3, 224, 224)
    assert splits.train.classes == ("ant", "bee")
    assert tree(FULL) == original
    assert len(list((cache / "unpacked").iterdir())) == 1


def test_data_root_may_be_relative_and_comes_before_the_cache(
    small: Dataset, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    write_set(tmp_path / "mine" / small.folder, train=240)
    write_set(cache / small.folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAETL_DATA", "mine")
    assert data.data_root() == tmp_path / "mine"
    assert sizes(load("small", full=True)) == (220, 20, 20)
    assert sizes(load("small", full=True, root=tmp_path / "cache")) == (110, 10, 20)
    assert server.asked == []


def test_embedded_set_is_used_unless_full_is_asked_for(small: Dataset, cache: Path) -> None:
    write_set(cache / small.folder)
    assert sizes(load("small")) == (3500, 500, 1000)


@pytest.mark.parametrize("place", ["{name}", "{name}/{name}", "{name}/{dotted}", "{dotted}"])
def test_unpacked_idx_files_serve_too(small: Dataset, cache: Path, place: str) -> None:
    folder = cache / small.folder
    for packed, array in small_arrays().items():
        name = packed.removesuffix(".gz")
        path = folder / place.format(name=name, dotted=name.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(idx(array))
    assert files.evidence_of(small, cache) == folder
    splits = load("small", full=True)
    assert sizes(splits) == (110, 10, 20)
    expected = small_arrays()["t10k-images-idx3-ubyte.gz"]
    assert np.array_equal(splits.test.images.squeeze(1).numpy(), expected)


@pytest.fixture
def attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is attached to a Kaggle notebook."""
    folder = tmp_path / "input"
    monkeypatch.setattr("vaetl_helpers.data.files.ATTACHED", folder)
    return folder


def test_idx_files_attached_on_kaggle_are_told_apart_by_their_labels(
    attached: Path, cache: Path
) -> None:
    digits = replace(DATASETS["mnist"], **OF_SMALL_ARRAYS)
    clothes = replace(DATASETS["fashion-mnist"], system_folders=())
    write_set(attached / "cut short")
    (attached / "cut short" / "train-labels-idx1-ubyte.gz").write_bytes(b"cut short")
    (attached / "a folder" / "train-labels-idx1-ubyte").mkdir(parents=True)
    folder = attached / "datasets" / "someone" / "digits"
    for name, content in write_set(folder).items():
        (folder / name).unlink()
        unpacked = folder / name.removesuffix(".gz")  # as Kaggle does
        unpacked.write_bytes(gzip.decompress(content))
    original = tree(attached)
    images, _ = files.find_arrays(digits, None)["train"]
    assert images.shape == (120, 28, 28)
    with pytest.raises(FileNotFoundError):
        files.find_arrays(clothes, None)
    assert tree(attached) == original, "only read"


def test_an_archive_attached_on_kaggle_is_found(attached: Path, cache: Path) -> None:
    photo_zip(attached / "photos" / "hymenoptera_data.zip", train=122, val=77)
    images, _ = files.find_arrays(DATASETS["ants-bees"], None)["train"]
    assert len(images) == 244


def cache_of(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Path:
    """The folder for downloads where only these environment variables are set."""
    for name in ("VAETL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return data.cache_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere caches have another place")
def test_the_cache_is_the_users_folder_for_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "home")
    caches = str(tmp_path / "caches")
    override = str(tmp_path / "override")
    assert cache_of(monkeypatch, HOME=home) == Path(home, ".cache", "vaetl")
    assert cache_of(monkeypatch, HOME=home, XDG_CACHE_HOME="") == Path(home, ".cache", "vaetl")
    assert cache_of(monkeypatch, XDG_CACHE_HOME=caches) == Path(caches, "vaetl")
    assert cache_of(monkeypatch, XDG_CACHE_HOME=caches, VAETL_CACHE=override) == Path(override)
    assert not list(tmp_path.iterdir()), "nothing is made"
    monkeypatch.chdir(tmp_path)
    assert cache_of(monkeypatch, VAETL_CACHE="here") == tmp_path / "here"


def test_without_a_home_directory_there_is_no_cache_and_the_rest_works(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("pooch.os_cache", homeless)
    with pytest.raises(CourseError, match="no home directory here.*set VAETL_CACHE"):
        cache_of(monkeypatch)
    assert files.search_places(small, None) == []
    assert sizes(load("small", full=True, download=False)) == (3500, 500, 1000)


@pytest.mark.parametrize("value", ["1", "true", "Yes", "on "])
def test_downloads_are_switched_off_in_the_usual_words(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAETL_OFFLINE", value)
    assert files.is_offline()


@pytest.mark.parametrize("value", ["0", "false", "no", "off", ""])
def test_downloads_are_not_switched_off_by_words_that_deny_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAETL_OFFLINE", value)
    assert not files.is_offline()


def test_a_data_root_that_is_no_folder_is_named(
    photos: Dataset,
    small: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VAETL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(CourseError) as error:
        load("photos")
    says(error, "nowhere is not a folder", "VAETL_DATA")
    with pytest.raises(CourseError):
        where()
    capsys.readouterr()
    assert sizes(load("small", full=True)) == (3500, 500, 1000)
    problem, source = capsys.readouterr().out.splitlines()
    assert "nowhere is not a folder" in problem
    assert source == "Small, embedded 3,500/500/1,000"


def test_full_asked_for_and_not_to_be_had_gives_one_line_and_the_embedded_set(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        DATASETS, "fashion-mnist", replace(DATASETS["fashion-mnist"], system_folders=())
    )
    for name, title in (("mnist", "MNIST"), ("fashion-mnist", "Fashion-MNIST")):
        assert sizes(load(name, full=True)) == EMBEDDED[name]
        out, err = capfd.readouterr()
        line, source = out.splitlines()
        assert line.startswith(f"{title} could not be fetched")
        assert "does not answer" in line, "nothing was asked of a host that the probe did not reach"
        assert "check the network" in line
        assert f"Until then the embedded {title} images are used." in line
        assert source.startswith(f"{title}, embedded")
        assert err == ""


def test_a_set_without_an_embedded_subset_says_where_to_put_it() -> None:
    with pytest.raises(CourseError) as error:
        load("cifar10")
    says(error, "cifar-10-python.tar.gz", "FOLDER", "VAETL_DATA")


def test_unknown_data_set_names_the_near_match() -> None:
    for ask in (load, fetch, data.entry):
        with pytest.raises(CourseError) as error:
            ask("fashion_mnist")
        says(error, "fashion_mnist", "did you mean 'fashion-mnist'", "cifar100")


def test_where_tells_what_is_there(
    small: Dataset, photos: Dataset, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(name: str) -> dict[str, str]:
        rows = {row["name"]: row for row in where()}
        assert list(rows) == list(DATASETS)
        return rows[name]

    assert row("small") == {
        "name": "small",
        "status": "embedded subset",
        "path": "in the package",
        "licence": "CC BY-SA 3.0",
        "how_to_get": "vaetl data fetch small",
    }
    assert row("photos")["status"] == "not here"
    folder = cache / small.folder
    write_set(folder)
    for name in IDX[1:]:
        (folder / name).unlink()
    assert row("small")["status"] == "embedded subset", "one file of four is not the set"
    write_set(folder)
    assert row("small")["status"] == "full set"
    assert row("small")["path"] == str(folder)
    assert row("small")["how_to_get"] == ""
    archive = tmp_path / "mine" / "photos.zip"
    photo_zip(archive)
    monkeypatch.setenv("VAETL_DATA", str(archive.parent))
    assert row("photos")["path"] == str(archive)


TRAIN_IMAGES, TRAIN_LABELS = IDX[:2]


def copy_set(source: Path, folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or IDX:
        shutil.copy(source / name, folder / name)


@needs_full
@pytest.mark.parametrize("mixed", [IDX, (TRAIN_IMAGES,), (TRAIN_LABELS,), IDX[2:]], ids=str)
def test_another_sets_files_under_a_sets_names_are_refused(
    tmp_path: Path, mixed: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether all of them are another set's or some."""
    folder = tmp_path / "mine" / "MNIST" / "raw"
    copy_set(FULL / "MNIST" / "raw", folder)
    copy_set(FULL / "FashionMNIST" / "raw", folder, *mixed)
    splits = load("mnist", full=True, root=tmp_path / "mine")
    assert splits.source == "MNIST, embedded 3,500/500/1,000"
    line, *_ = capsys.readouterr().out.splitlines()
    says(CourseError(line), str(folder), "does not hold MNIST as published", "VAETL_DATA")


def test_files_of_another_set_are_no_evidence(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / small.folder)
    assert files.evidence_of(small, tmp_path) == tmp_path / small.folder
    other = replace(small, first_labels=(5, 0, 4, 1))
    assert files.evidence_of(other, tmp_path) is None
    (tmp_path / small.folder / TRAIN_LABELS).write_bytes(b"cut short")
    assert files.evidence_of(small, tmp_path) is None


def test_changed_content_is_not_the_published_set(small: Dataset, tmp_path: Path) -> None:
    write_set(tmp_path / small.folder)
    arrays = files.read_from(small, tmp_path)
    digests = {}
    for split, (images, labels) in arrays.items():
        sums = [hashlib.sha256(array.tobytes()).hexdigest() for array in (images, labels)]
        digests[split] = tuple(sums)
    published = replace(small, digests=digests)
    assert files.read_from(published, tmp_path).keys() == arrays.keys()
    arrays["test"][0][0, 0, 0] ^= 1
    name = "t10k-images-idx3-ubyte.gz"
    (tmp_path / small.folder / name).write_bytes(gzip.compress(idx(arrays["test"][0])))
    with pytest.raises(CourseError) as error:
        files.read_from(published, tmp_path)
    says(error, "its test labels begin with 0, 1, 2, 3")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "ants-bees"])
def test_an_empty_folder_of_a_sets_name_is_not_the_set(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / DATASETS[name].folder).mkdir()
    row = {row["name"]: row for row in where(tmp_path)}[name]
    assert row["status"] == "not here"
    with pytest.raises(CourseError) as error:
        load(name, root=tmp_path, download=False)
    says(error, "is not whole on this machine", f"vaetl data fetch {name}")


def test_photos_of_other_classes_are_not_ants_and_bees(photos: Dataset, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(photo_zip(tmp_path / "photos.zip"))) as opened:
        opened.extractall(tmp_path / "mine")
    for split in ("train", "val"):
        folder = tmp_path / "mine" / "hymenoptera_data" / split
        (folder / "ants").rename(folder / "cats")
    with pytest.raises(CourseError) as error:
        files.read_from(photos, tmp_path / "mine")
    says(error, "bees, cats", "not ants and bees")


def test_many_attached_files_cost_little(attached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of each file: on Kaggle there may be a million."""
    for number in range(300):
        (attached / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        (attached / f"{number % 3}" / f"{number}.jpg").touch()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: pytest.fail("each file is asked"))
    assert files.attached_folders(DATASETS["cifar10"]) == []
    assert files.attached_folders(DATASETS["mnist"]) == []


def test_the_home_folder_is_meant_by_its_sign(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAETL_CACHE", "~/caches")
    assert data.cache_dir() == tmp_path / "caches"
    assert fetch("small", "~/mine") == tmp_path / "mine" / small.folder
    assert load("small", full=True, root="~/mine").source == "Small, full 110/10/20"
    assert not (tmp_path / "~").exists()


@needs_full
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")]
)
def test_published_hashes_are_those_of_the_real_files(name: str, folder: str) -> None:
    item = DATASETS[name]
    assert item.folder == folder
    for file, published_hash in item.files.items():
        content = (FULL / folder / file).read_bytes()
        assert published_hash == f"md5:{hashlib.md5(content).hexdigest()}"


def test_registry_agrees_with_torchvision() -> None:
    from torchvision import datasets

    for name, kind in (("mnist", datasets.MNIST), ("fashion-mnist", datasets.FashionMNIST)):
        published_hashes = {file: f"md5:{md5}" for file, md5 in kind.resources}
        assert DATASETS[name].files == published_hashes
        assert set(DATASETS[name].mirrors) & set(kind.mirrors)
    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        assert DATASETS[name].files == {kind.filename: f"md5:{kind.tgz_md5}"}
        (mirror,) = DATASETS[name].mirrors
        assert mirror + kind.filename == kind.url
        assert DATASETS[name].folder == kind.base_folder


# ---------------------------------------------------------------- damaged files


def undecodable(content: bytes, at: int) -> bytes:
    """Deflate has no block of the type that these bits ask for."""
    return content[:at] + b"\xff" * 4 + content[at + 4 :]


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "raw"])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 11, 1000, -1])
def test_truncated_idx_is_refused(tmp_path: Path, packed: bool, size: int) -> None:
    content = idx(small_arrays()["train-images-idx3-ubyte.gz"])
    path = tmp_path / "images"
    if packed:
        content = gzip.compress(content)
        path = tmp_path / "images.gz"
    path.write_bytes(content[:size])
    with pytest.raises(CourseError) as error:
        readers.read_idx(path)
    says(error, str(path), "cut short", "fetch")


def test_idx_with_a_flipped_byte_or_more_than_it_announces_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(idx(small_arrays()["train-images-idx3-ubyte.gz"])))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "flipped.gz").write_bytes(packed)
    (tmp_path / "undecodable.gz").write_bytes(undecodable(gzip.compress(b"0" * 1000), 10))
    (tmp_path / "long").write_bytes(idx(np.arange(10)) + b"\0")
    (tmp_path / "page").write_bytes(b"<html>" * 100)
    for name in ("flipped.gz", "undecodable.gz", "long", "page"):
        with pytest.raises(CourseError):
            readers.read_idx(tmp_path / name)


LABELS = {name: array for name, array in small_arrays().items() if "labels" in name}


@pytest.mark.parametrize(
    "wrong",
    [
        {"train-labels-idx1-ubyte.gz": np.arange(119) % 10},
        {"t10k-labels-idx1-ubyte.gz": np.arange(21) % 10},
        {"train-labels-idx1-ubyte.gz": LABELS["train-labels-idx1-ubyte.gz"][:, None]},
        {"train-images-idx3-ubyte.gz": np.zeros((120, 27, 28))},
        {"train-images-idx3-ubyte.gz": np.arange(120)},
        {"train-labels-idx1-ubyte.gz": np.full(120, 10)},
        {
            "t10k-images-idx3-ubyte.gz": np.zeros((0, 28, 28)),
            "t10k-labels-idx1-ubyte.gz": np.zeros(0),
        },
    ],
    ids=[
        "label missing",
        "label too many",
        "labels 2-d",
        "27 rows",
        "labels as images",
        "label 10",
        "no test images",
    ],
)
def test_idx_files_that_do_not_fit_each_other_are_passed_over(
    small: Dataset, tmp_path: Path, wrong: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine" / small.folder
    write_set(folder)
    for name, array in wrong.items():
        (folder / name).write_bytes(gzip.compress(idx(array)))
    original = tree(tmp_path / "mine")
    splits = load("small", full=True, root=tmp_path / "mine")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2, lines
    assert "Traceback" not in lines[0]
    assert splits.source in ("Small, full 110/10/20", "Small, embedded 3,500/500/1,000")
    assert tree(tmp_path / "mine") == original


def test_damaged_file_in_the_root_is_passed_over_for_the_cache_and_left_alone(
    small: Dataset, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Server
) -> None:
    folder = tmp_path / "mine" / small.folder
    content = write_set(folder)[IDX[0]]
    (folder / IDX[0]).write_bytes(content[: len(content) // 2])
    original = tree(tmp_path / "mine")
    write_set(cache / small.folder)
    assert load("small", full=True, root=tmp_path / "mine").source == "Small, full 110/10/20"
    line, _ = capsys.readouterr().out.splitlines()
    says(CourseError(line), str(tmp_path / "mine"), "cut short")
    assert tree(tmp_path / "mine") == original
    assert server.asked == []


def test_unreadable_file_is_a_sentence(
    small: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(cache / small.folder)

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(gzip, "open", denied)
    with pytest.raises(CourseError) as error:
        readers.read_idx(cache / small.folder / IDX[0])
    says(error, "Permission denied")


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "harm",
    [
        half,
        lambda content: b"",
        lambda content: gzip.compress(b"something else"),
    ],
)
def test_wrong_md5_in_the_cache_is_set_aside_and_fetched_again(
    small: Dataset, cache: Path, server: Server, harm: Callable[[bytes], bytes]
) -> None:
    content = write_set(cache / small.folder)[IDX[2]]
    path = cache / small.folder / IDX[2]
    harmed = harm(content)
    path.write_bytes(harmed)
    assert load("small", full=True).source == "Small, full 110/10/20"
    assert path.read_bytes() == content
    assert path.with_name(path.name + ".damaged").read_bytes() == harmed
    assert server.asked == [IDX[2]], "the three good files are not fetched again"


# ---------------------------------------------------------------- downloads


def test_fetch_downloads_checks_and_is_quiet_where_nobody_watches(
    small: Dataset, cache: Path, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fetch("small") == cache / small.folder
    for name, content in server.files.items():
        assert (cache / small.folder / name).read_bytes() == content
    assert fetch("small") == cache / small.folder
    assert sorted(server.asked) == sorted(IDX), "asked once for each file"
    assert capfd.readouterr() == ("", "")
    assert load("small", full=True).source == "Small, full 110/10/20"


def test_fetch_into_another_folder_can_be_read_from_there(
    small: Dataset, tmp_path: Path, cache: Path
) -> None:
    root = tmp_path / "elsewhere"
    assert fetch("small", root) == root / small.folder
    assert load("small", full=True, root=root).source == "Small, full 110/10/20"
    assert not cache.exists()


@pytest.mark.parametrize(
    ("manner", "tries", "word"),
    [
        ("half", 3, "127.0.0.1"),
        ("half, no length", 3, "hash"),
        ("wrong", 3, "hash"),
        ("404", 3, "404"),
        ("stall", 3, "timed out"),
    ],
)
def test_failing_download_is_one_sentence_and_leaves_nothing_under_the_final_name(
    small: Dataset,
    cache: Path,
    server: Server,
    manner: str,
    tries: int,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaetl_helpers.data.files.TIMEOUT", 0.1)
    server.answers[IDX[0]] = [manner]
    with pytest.raises(CourseError) as error:
        fetch("small")
    says(error, "Small could not be fetched", word, "check the network", small.folder, "VAETL_DATA")
    assert len(server.asked) == tries, "a limit to the tries"
    assert list((cache / small.folder).iterdir()) == []


def test_download_that_fails_once_is_tried_again(
    small: Dataset, cache: Path, server: Server
) -> None:
    server.answers[IDX[0]] = ["half", "404", "good"]
    fetch("small")
    assert (cache / small.folder / IDX[0]).read_bytes() == server.files[IDX[0]]


def test_second_mirror_is_asked_where_the_first_is_dead_or_wrong(
    small: Dataset, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/"
    missing = server.url + "not-here/"
    monkeypatch.setitem(DATASETS, "small", replace(small, mirrors=(dead, missing, server.url)))
    fetch("small")
    assert sorted(tree(cache / small.folder)) == sorted(IDX)


def test_probe_of_the_network_gives_up_where_the_name_server_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = threading.Event()
    waited = []

    def silent(*_: object, **__: object) -> SimpleNamespace:
        waited.append(answer.wait(30))
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(socket, "create_connection", silent)
    assert not files.is_reachable("http://example.org/", seconds=0.05)
    assert waited == [], "it did not wait for the answer"
    answer.set()


def test_a_proxy_is_left_to_answer_for_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not files.is_reachable("http://example.org/")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert files.is_reachable("http://example.org/")


@pytest.mark.parametrize(
    "ask", [fetch, lambda name: files.unpacked_folder(DATASETS[name].system_folders[0])]
)
def test_cache_that_cannot_be_made_is_one_sentence(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "file" / "cache"))
    archive = tmp_path / "photos.zip"
    photo_zip(archive)
    monkeypatch.setitem(DATASETS, "small", replace(small, system_folders=(archive,)))
    with pytest.raises(CourseError) as error:
        ask("small")
    says(error, str(tmp_path / "file" / "cache"), "cannot be written", "VAETL_CACHE")
    assert (tmp_path / "file").read_text() == "mine"


def test_unwritable_cache_falls_back_to_the_embedded_set(
    small: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "file" / "cache"))
    assert sizes(load("small", full=True)) == (3500, 500, 1000)
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 2
    assert "cannot be written" in out
    assert err == ""


def test_full_disk_during_a_download_is_one_sentence(
    small: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pooch.core.shutil", SimpleNamespace(move=full))
    with pytest.raises(CourseError) as error:
        fetch("small")
    says(error, "No space left", "free some space")
    assert list((cache / small.folder).iterdir()) == []


# ---------------------------------------------------------------- archives


def add(
    archive: tarfile.TarFile, name: str, content: bytes = b"evil", link: str | None = None
) -> None:
    info = tarfile.TarInfo(name)
    if link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, link
    else:
        info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("attack", ["parent", "absolute", "link", "through link", "hard link"])
def test_unsafe_tar_writes_nothing_outside(tmp_path: Path, attack: str) -> None:
    outside = tmp_path / "outside"
    into = tmp_path / "cache" / "into"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        if attack == "parent":
            add(archive, "../../outside/evil")
        elif attack == "absolute":
            add(archive, str(outside / "evil"))
        elif attack == "hard link":
            info = tarfile.TarInfo("mine")
            info.type, info.linkname = tarfile.LNKTYPE, "../../outside/mine"
            archive.addfile(info)
        else:
            add(archive, "way", link="../../outside")
            if attack == "through link":
                add(archive, "way/evil")
    original = tree(outside)
    if attack == "absolute":  # unpacked inside, without the leading slash
        files.unpack(tmp_path / "bad.tar", into)
        assert (into / str(outside / "evil").lstrip("/")).is_file()
    else:
        with pytest.raises(CourseError) as error:
            files.unpack(tmp_path / "bad.tar", into)
        says(error, "bad.tar", "unsafe")
    assert tree(outside) == original
    assert not any(path.is_symlink() for path in into.rglob("*"))


@pytest.mark.parametrize(
    "name", ["../../outside/evil", "/{outside}/evil", "a/../../../outside/evil"]
)
def test_unsafe_zip_writes_nothing_outside(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name.format(outside=str(outside).lstrip("/")), b"evil")
    files.unpack(tmp_path / "bad.zip", tmp_path / "cache" / "into")
    assert tree(outside) == {}
    assert len(list(tmp_path.rglob("evil"))) == 1, "it is inside"


def corrupt(content: bytes) -> bytes:
    changed = bytearray(content)
    at = content.index(b"\xff\xd8") + 200  # in the first photo
    changed[at] ^= 0xFF
    return bytes(changed)


ZIP_HARM = {
    "cut short": half,
    "empty": lambda content: b"",
    "a page": lambda content: b"<html>log in</html>",
    "flipped byte": corrupt,
}


@pytest.mark.parametrize("harm", ZIP_HARM.values(), ids=ZIP_HARM)
def test_damaged_zip_in_the_root_is_no_stack_trace_and_leaves_nothing_in_the_cache(
    photos: Dataset, tmp_path: Path, cache: Path, harm: Callable[[bytes], bytes], server: Server
) -> None:
    path = tmp_path / "mine" / "photos.zip"
    content = harm(photo_zip(path))
    path.write_bytes(content)
    server.answers["photos.zip"] = ["404"]
    with pytest.raises(CourseError) as error:
        load("photos", root=tmp_path / "mine")
    says(error, "Photos could not be fetched")
    assert path.read_bytes() == content
    assert not any(path.is_file() for path in cache.rglob("*"))


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_damaged_compressed_tar_is_a_sentence(tmp_path: Path, cut: float) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        add(archive, "a", np.random.default_rng(0).bytes(50_000))
    packed = stream.getvalue()
    flipped = bytearray(packed)
    flipped[int(len(packed) * cut)] ^= 0xFF
    damaged = {
        "cut.tar.gz": packed[: int(len(packed) * cut)],
        "flipped.tar.gz": bytes(flipped),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CourseError) as error:
            files.unpack(tmp_path / name, tmp_path / "into")
        says(error, name, "damaged")


def test_undecodable_zip_is_a_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"0" * 1000)
    content = (tmp_path / "bad.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(undecodable(content, 30 + len("a.jpg")))
    assert not readers.is_photo_archive(tmp_path / "bad.zip")
    with pytest.raises(CourseError) as error:
        files.unpack(tmp_path / "bad.zip", tmp_path / "into")
    says(error, "bad.zip", "damaged")


def test_encrypted_zip_is_a_sentence(tmp_path: Path) -> None:
    content = bytearray(photo_zip(tmp_path / "locked.zip", train=1, val=0))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark) + offset
        content[at] |= 1  # "this member needs a password"
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(CourseError) as error:
        files.unpack(tmp_path / "locked.zip", tmp_path / "into")
    says(error, "password")


def test_tar_is_not_unpacked_by_a_python_that_cannot_do_it_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(CourseError) as error:
        files.unpack(tmp_path / "a.tar", tmp_path / "into")
    says(error, "3.11.4")


UNPACK = "vaetl_helpers.data.files.unpack"


def test_archive_in_the_root_is_unpacked_into_the_cache_once(
    photos: Dataset, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo_zip(tmp_path / "mine" / "photos.zip")
    original = tree(tmp_path / "mine")
    assert load("photos", root=tmp_path / "mine").source == "Photos, full 22/2/6"
    (only,) = (cache / "unpacked").iterdir()
    assert (only / "hymenoptera_data" / "val" / "ants" / "0.jpg").is_file()
    assert tree(tmp_path / "mine") == original
    monkeypatch.setattr(UNPACK, lambda *_: pytest.fail("unpacked again"))
    load("photos", root=tmp_path / "mine")


def unpack_in_a_process(archive: str, cache: str, barrier: multiprocessing.Barrier) -> None:
    os.environ["VAETL_CACHE"] = cache
    unpack = files.unpack

    def both_at_once(*paths: Path) -> None:
        unpack(*paths)
        barrier.wait(30)  # both have unpacked, neither has named its folder

    files.unpack = both_at_once
    folder = files.unpacked_folder(Path(archive))
    assert len(list(folder.rglob("*.jpg"))) == 30


@pytest.mark.slow
def test_two_processes_that_unpack_the_same_archive_both_succeed(
    tmp_path: Path, cache: Path
) -> None:
    photo_zip(tmp_path / "photos.zip")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["vaetl_helpers.training", "accelerate", "torch._dynamo"]
    )  # slow to import
    barrier = context.Barrier(2)
    arguments = (str(tmp_path / "photos.zip"), str(cache), barrier)
    processes = [context.Process(target=unpack_in_a_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(list((cache / "unpacked").iterdir())) == 1, "nothing is left over"


@pytest.mark.parametrize(
    "bad", [*ZIP_HARM.values(), lambda content: None], ids=[*ZIP_HARM, "photos missing"]
)
def test_photos_without_a_published_hash_are_checked_by_crc_and_count(
    photos: Dataset,
    server: Server,
    cache: Path,
    tmp_path: Path,
    bad: Callable[[bytes], bytes | None],
) -> None:
    good = server.files["photos.zip"]
    wrong = bad(good)
    if wrong is None:
        wrong = photo_zip(tmp_path / "few.zip", train=11)
    server.files["photos.zip"] = wrong
    with pytest.raises(CourseError) as error:
        fetch("photos")
    says(error, "Photos could not be fetched")
    assert not (cache / "photos.zip").exists()
    server.files["photos.zip"] = good
    assert fetch("photos") == cache
    server.asked.clear()
    fetch("photos")
    assert server.asked == [], "a whole archive is kept"
    (cache / "photos.zip").write_bytes(wrong)
    fetch("photos")
    assert (cache / "photos.zip").read_bytes() == good
    assert (cache / "photos.zip.damaged").read_bytes() == wrong
    assert load("photos").source == "Photos, full 22/2/6"


def test_folder_of_photos_with_some_missing_is_refused(
    photos: Dataset, tmp_path: Path, cache: Path
) -> None:
    with zipfile.ZipFile(io.BytesIO(photo_zip(tmp_path / "photos.zip"))) as opened:
        opened.extractall(tmp_path / "mine")
    (tmp_path / "mine" / "hymenoptera_data" / "train" / "bees" / "3.jpg").unlink()
    with pytest.raises(CourseError) as error:
        files.read_from(photos, tmp_path / "mine")
    says(error, "23 of 24 photos")


# ---------------------------------------------------------------- image sets


def test_images_are_kept_as_uint8_and_floats_are_rounded() -> None:
    images = torch.tensor([0.0, 0.5, 1.0, 0.9999]).view(1, 2, 2)
    grey = ImageSet(images, torch.tensor([0]), ("only",))
    assert grey.images.shape == (1, 1, 2, 2)
    assert grey.images.flatten().tolist() == [0, 128, 255, 255]
    levels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    colour = ImageSet(levels, np.arange(5), tuple("abcde"))
    assert np.array_equal(colour.images.numpy(), levels)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.tensor([[[0.0, 1.001]]]), ("[0, 1] was expected", "255")),
        (torch.tensor([[[-0.001, 0.5]]]), ("[0, 1] was expected",)),
        (torch.tensor([[[float("nan"), 0.5]]]), ("nan", "[0, 1] was expected")),
        (torch.tensor([[[0.5, float("inf")]]]), ("inf",)),
        (torch.ones(2, 4, 4, dtype=torch.int64), ("torch.int64", "uint8 or floats")),
        (torch.zeros(8, 8), ("[8, 8]", "[n, channels, height, width]")),
        (torch.zeros(2, 28, 28, 3), ("[2, 28, 28, 3]", "permute")),
        (torch.zeros(2, 2, 8, 8), ("1 or 3 channels",)),
        (torch.zeros(1, 1, 1, 8, 8), ("[1, 1, 1, 8, 8]",)),
        (torch.zeros(0, 1, 8, 8), ("n ≥ 1",)),
        (torch.zeros(2, 1, 0, 8), ("[2, 1, 0, 8]",)),
    ],
)
def test_images_of_another_range_type_or_shape_are_refused(
    images: torch.Tensor, words: tuple[str, ...]
) -> None:
    with pytest.raises(CourseError) as error:
        ImageSet(images, torch.zeros(len(images), dtype=torch.long), ("a", "b"))
    says(error, *words)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.zeros(2), ("3 images", "[2]")),
        (torch.zeros(3, 1), ("[3, 1]",)),
        (torch.zeros(3, 2), ("[3, 2]", "one class number")),
        (torch.tensor([0.0, 0.5, 1.0]), ("whole numbers", "float32")),
        (torch.tensor([0.0, float("nan"), 1.0]), ("whole numbers",)),
        (torch.tensor([0, 1, 2]), ("0 … 1", "classes")),
        (torch.tensor([0, -1, 1]), ("0 … 1",)),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor, words: tuple[str, ...]) -> None:
    with pytest.raises(CourseError) as error:
        ImageSet(torch.zeros(3, 1, 2, 2), labels, ("a", "b"))
    says(error, *words)


def numbered(count: int) -> ImageSet:
    """Image k holds k / 255 and has the label k."""
    levels = torch.arange(count, dtype=torch.uint8)
    images = levels.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ImageSet(images, torch.arange(count), tuple(map(str, range(count))))


def order(images: ImageSet, *arguments: int, **options: int) -> list[int]:
    labels = [labels for _, labels in images.batches(*arguments, **options)]
    return torch.cat(labels).tolist()


def test_batches_hold_every_image_once_with_its_label_and_a_short_last_one() -> None:
    for seed in (None, 0):
        batches = list(numbered(103).batches(10, seed))
        counts = [len(labels) for _, labels in batches]
        assert counts == [10] * 10 + [3]
        for images, labels in batches:
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64
            level = (labels / 255).view(-1, 1, 1, 1)
            assert torch.equal(images, level.expand_as(images))
        assert sorted(order(numbered(103), 10, seed=seed)) == list(range(103))
    assert len(list(numbered(3).batches(10))) == 1


def test_batches_are_shuffled_by_seed_and_epoch_alone() -> None:
    images = numbered(200)
    assert order(images, 10) == list(range(200))
    expected = order(images, 10, seed=1, epoch=2)
    torch.manual_seed(99)
    torch.rand(7)
    assert order(images, 10, seed=1, epoch=2) == expected
    assert order(images, 64, seed=1, epoch=2) == expected, "whatever the batch size"
    orders = {tuple(range(200))}
    for seed, epoch in product((0, 1), (0, 1, 2)):
        orders.add(tuple(order(images, 10, seed=seed, epoch=epoch)))
    assert len(orders) == 7
    state = torch.get_rng_state()
    order(images, 10, seed=1)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is not touched"


def test_batches_do_not_change_the_images() -> None:
    images = numbered(5)
    for batch, _ in images.batches(2):
        batch.fill_(7)
    assert torch.equal(images.images, numbered(5).images)


@pytest.mark.parametrize("size", [0, -3])
def test_batch_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(CourseError) as error:
        next(numbered(3).batches(size))
    says(error, "batch_size", str(size))


def test_subset_and_to_keep_images_and_labels_together() -> None:
    images = numbered(9).subset(torch.tensor([7, 2, 2]))
    assert images.labels.tolist() == [7, 2, 2]
    assert images.images[:, 0, 0, 0].tolist() == [7, 2, 2]
    four = numbered(9).subset(slice(0, 4))
    assert len(four.to("cpu")) == 4


# ---------------------------------------------------------------- own pictures


def own_pictures(folder: Path) -> Path:
    for split, count in (("train", 3), ("validation", 2), ("test", 1)):
        for kind, colour in (("cat", "red"), ("dog", "blue")):
            for number in range(count):
                photo(folder / split / kind / f"{number}.png", colour)
    return folder


def test_load_folder_reads_scales_and_labels(tmp_path: Path) -> None:
    splits = load_folder(own_pictures(tmp_path / "pets"), size=16)
    assert sizes(splits) == (6, 4, 2)
    assert splits.source == "pets, folder 6/4/2"
    assert splits.train.classes == ("cat", "dog")
    assert splits.test.images.shape == (2, 3, 16, 16)
    colours = splits.test.images.float().mean((2, 3)).tolist()
    assert colours == [[255, 0, 0], [0, 0, 255]]
    assert splits.test.labels.tolist() == [0, 1]


def test_load_folder_turns_photos_of_phones_upright(tmp_path: Path) -> None:
    folder = own_pictures(tmp_path / "pets")
    picture = Image.new("RGB", (16, 16), "red")
    picture.paste("blue", (0, 0, 16, 8))  # blue above, stored turned by 180 degrees
    turned = picture.rotate(180)
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(folder / "test" / "cat" / "0.png", exif=exif)
    image = load_folder(folder, size=16).test.images[0]
    assert image[:, 0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda pets: shutil.rmtree(pets / "validation"), ("validation", "one folder a class")),
        (lambda pets: replace_by_a_file(pets / "test"), ("test", "one folder a class")),
        (lambda pets: empty(pets / "train/cat"), ("cat", "one folder a class")),
        (lambda pets: (pets / PICTURE).write_bytes(b"no picture"), ("1.png", "cannot be read")),
        (lambda pets: (pets / PICTURE).write_bytes(b""), ("1.png", "cannot be read")),
        (lambda pets: truncate(pets / PICTURE), ("1.png", "cannot be read")),
        (lambda pets: (pets / "test/dog").rename(pets / "test/fox"), ("the same class folders",)),
        (lambda pets: shutil.rmtree(pets), ("train", "one folder a class")),
    ],
    ids=[
        "no split",
        "split is a file",
        "empty class",
        "no picture",
        "empty file",
        "cut short",
        "classes",
        "nothing",
    ],
)
def test_load_folder_names_what_is_wrong(
    tmp_path: Path, break_it: Callable[[Path], object], words: tuple[str, ...]
) -> None:
    break_it(own_pictures(tmp_path / "pets"))
    with pytest.raises(CourseError) as error:
        load_folder(tmp_path / "pets")
    says(error, *words)


PICTURE = "train/cat/1.png"


def replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def truncate(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:3000])
