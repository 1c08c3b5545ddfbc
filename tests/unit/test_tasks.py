"""The running example: disjoint sets, source models new to the target, and what transfer gains."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vaetl_helpers import data, nets, transfer
from vaetl_helpers.data import ImageSet, Splits, image_hashes, tasks
from vaetl_helpers.errors import CourseError
from vaetl_helpers.study import Draw, Method, paired, run_study
from vaetl_helpers.training import evaluate, loop

SETS = ("rehearsal", "source_test", "pool", "validation", "test")
needs_data = pytest.mark.skipif(
    not os.environ.get("VAETL_DATA"), reason="needs CIFAR's animals under VAETL_DATA"
)


def hashes(*sets: ImageSet) -> set[bytes]:
    digests: set[bytes] = set()
    for images in sets:
        digests.update(image_hashes(images.images.numpy()))
    return digests


DISJOINT = (
    ("pool", "validation"),
    ("pool", "test"),
    ("validation", "test"),
    ("pool", "source_test"),
    ("rehearsal", "source_test"),
    ("rehearsal", "test"),
    ("validation", "source_test"),
)


def is_disjoint(task: tasks.Task) -> bool:
    """Target sets share nothing with each other, and nothing that is trained on is tested on."""
    digests = {name: hashes(getattr(task, name)) for name in SETS}
    return all(digests[left].isdisjoint(digests[right]) for left, right in DISJOINT)


@pytest.mark.parametrize("name", ["tops", "dresses"])
def test_an_embedded_task_has_disjoint_balanced_sets(name: str) -> None:
    task = tasks.load_task(name)
    source_classes, target_classes = tasks.CLASSES[name]
    assert is_disjoint(task)
    assert task.pool.classes == target_classes
    assert task.rehearsal.classes == source_classes
    assert task.pool.labels.bincount().tolist() == [900, 900]
    assert task.validation.labels.bincount().tolist() == [50, 50]
    assert task.test.labels.bincount().tolist() == [200, 200]
    assert task.keep == {0: 0}


def test_labels_follow_their_images() -> None:
    clothes = data.load("fashion-mnist").test
    task = tasks.load_task("tops")
    shirts = clothes.subset(clothes.labels == clothes.classes.index("shirt"))
    assert hashes(task.test.subset(task.test.labels == 1)) == hashes(shirts)


def test_auto_is_animals_only_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAETL_DATA", raising=False)
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    assert tasks.available() == "tops"
    assert tasks.available(write_pictures(tmp_path / "animals")) == "animals"
    root = tmp_path / "torchvision"
    touch(root / "cifar-10-batches-py", *TEN)
    assert tasks.available(root) == "tops", "foxes are in CIFAR-100"
    touch(root / "cifar-100-python", *HUNDRED)
    assert tasks.available(root) == "animals"


TEN = ("batches.meta", "test_batch", *(f"data_batch_{number}" for number in range(1, 6)))
HUNDRED = ("meta", "train", "test")


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def other_cifar10(root: Path, kind: str) -> None:
    """A folder called cifar10 that does not hold the animals as the course reads them."""
    folder = root / "cifar10"
    if kind == "empty":
        folder.mkdir()
    elif kind == "torchvision's root":
        touch(folder / "cifar-10-batches-py", *TEN)
    elif kind == "ten classes":
        write_pictures(root, pets=("airplane", "cat", "dog", "frog"))
    elif kind == "no foxes":
        write_pictures(root)
        shutil.rmtree(root / "cifar100")
    else:
        write_pictures(root, count=0)


@pytest.mark.parametrize(
    "kind", ["empty", "torchvision's root", "ten classes", "no foxes", "no pictures"]
)
def test_a_folder_called_cifar10_does_not_make_auto_the_animals(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(FETCH, lambda name: pytest.fail("nobody asked for a download"))
    (tmp_path / "mine").mkdir()
    other_cifar10(tmp_path / "mine", kind)
    assert tasks.available(tmp_path / "mine") == "tops"
    assert tasks.load_task("auto", tmp_path / "mine").name == "tops"


FETCH = "vaetl_helpers.data.registry.fetch"


@pytest.mark.parametrize("kind", ["pictures", "batches", "archives"])
def test_animals_that_cannot_be_read_are_said_and_not_downloaded_by_auto(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(FETCH, lambda name: pytest.fail("nobody asked for a download"))
    root = tmp_path / "mine"
    if kind == "pictures":
        write_pictures(root)
    elif kind == "batches":
        touch(root / "cifar-10-batches-py", *TEN)
        touch(root / "cifar-100-python", *HUNDRED)
    else:
        touch(root, "cifar-10-python.tar.gz", "cifar-100-python.tar.gz")
    assert tasks.available(root) == "animals"
    assert tasks.load_task("auto", root).name == "tops"
    *problems, _, _ = capsys.readouterr().out.splitlines()
    assert str(root) in problems[0]
    assert problems[-1].endswith("Until then clothes are used.")


def test_an_unknown_task_names_the_near_one() -> None:
    with pytest.raises(CourseError, match="did you mean 'tops'"):
        tasks.load_task("top")
    with pytest.raises(CourseError, match="did you mean 'dresses'"):
        tasks.source_model("dress")


@pytest.mark.parametrize("name", ["tops", "dresses"])
def test_a_source_model_is_as_good_as_its_file_says(name: str) -> None:
    model, facts = tasks.source_model(name)
    assert not model.training
    accuracy = evaluate(model, tasks.load_task(name).source_test)["accuracy"]
    assert accuracy == pytest.approx(facts["test_accuracy"], abs=0.003)
    assert accuracy > 0.9
    source_classes, _ = tasks.CLASSES[name]
    assert tuple(facts["classes"]) == source_classes
    assert facts["command"].endswith("--epochs 20")
    assert facts["flops"] > 0
    assert facts["seconds"] > 0


def fingerprint(images: ImageSet) -> str:
    digests = sorted(image_hashes(images.images.squeeze(1).numpy()))
    return sha256(b"".join(digests)).hexdigest()


@pytest.mark.debian("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist")
@pytest.mark.parametrize("name", ["tops", "dresses"])
def test_a_source_model_has_seen_no_image_of_a_target_task(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAETL_DATA", raising=False)
    source = tasks.source_data(name)
    _, facts = tasks.source_model(name)
    assert fingerprint(source.train) == facts["fingerprint"]
    clothes = data.load("fashion-mnist")
    embedded = hashes(clothes.train, clothes.validation, clothes.test)
    assert embedded.isdisjoint(hashes(source.train, source.validation))


@needs_data
@pytest.mark.slow
def test_the_source_of_the_animals_has_seen_no_dog_of_the_target() -> None:
    source = tasks.source_data("animals")
    model, facts = tasks.source_model("animals")
    assert fingerprint(source.train) == facts["fingerprint"]
    learned = hashes(source.train, source.validation)
    for name in ("animals", "wolves"):
        task = tasks.load_task(name)
        assert is_disjoint(task)
        sets = [getattr(task, attribute) for attribute in SETS]
        assert learned.isdisjoint(hashes(*sets))
        # More than the 100 official test foxes.
        assert task.test.labels.bincount().tolist() == [200, 200]
    assert task.keep == {}
    accuracy = evaluate(model, task.source_test)["accuracy"]
    assert accuracy == pytest.approx(facts["test_accuracy"], abs=0.002)


def write_pictures(root: Path, pets: tuple[str, ...] = ("cat", "dog"), count: int = 2) -> Path:
    """A data root with `count` noise pictures in each class folder."""
    random = np.random.default_rng(0)
    folders = [f"cifar10/{split}/{name}" for split in ("train", "test") for name in pets]
    folders += [f"cifar100/{split}/{name}" for split in ("train", "test") for name in WILD]
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for number in range(count):
            noise = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / folder / f"{number}.png")
    return root


WILD = ("fox", "wolf")


def publish(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the pictures below `root` count as CIFAR's."""
    digests = []
    for path in root.rglob("*.png"):
        pixels = np.asarray(Image.open(path)).transpose(2, 0, 1)
        digests += image_hashes(pixels[None])
    fingerprint = sha256(b"".join(sorted(digests))).hexdigest()
    monkeypatch.setattr(tasks, "ANIMALS_FINGERPRINT", fingerprint)


def test_class_folders_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_pictures(tmp_path)
    publish(root, monkeypatch)
    images = tasks.animal_images(root)
    shapes = {name: tuple(of_class.shape) for name, of_class in images.items()}
    names = [f"{name} {split}" for name, split in product(tasks.ANIMALS, ("train", "test"))]
    assert shapes == dict.fromkeys(names, (2, 3, 32, 32))
    pixels = np.asarray(Image.open(root / "cifar100/train/wolf/1.png"))
    picture = torch.as_tensor(pixels.copy()).permute(2, 0, 1)
    is_picture = (images["wolf train"] == picture).flatten(1).all(1)
    assert is_picture.any()


def test_wrong_names_of_class_folders_are_said(tmp_path: Path) -> None:
    root = write_pictures(tmp_path, pets=("cat", "hound"))
    with pytest.raises(CourseError, match="hound.*name the class folders so"):
        tasks.read_animal_folders(root / "cifar10")


@pytest.mark.parametrize("change", ["missing", "another pixel"])
def test_other_pictures_than_the_published_ones_are_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_pictures(tmp_path)
    publish(root, monkeypatch)
    path = root / "cifar10" / "train" / "cat" / "0.png"
    if change == "missing":
        path.unlink()
    else:
        Image.new("RGB", (32, 32)).save(path)
    with pytest.raises(CourseError, match="pixel by pixel"):
        tasks.read_animal_folders(root / "cifar10")


CIFAR_NUMBERS = {"cifar10": {"cat": 3, "dog": 5}, "cifar100": {"fox": 34, "wolf": 97}}


def like_torchvision(images: dict[str, Tensor], collection: str) -> Splits:
    """A CIFAR set that holds the images of "cat train", …, and three of another class."""

    def image_set(split: str, rows: slice) -> ImageSet:
        pixels = [torch.zeros(3, 3, 32, 32, dtype=torch.uint8)]
        labels = [torch.zeros(3)]
        for animal, number in CIFAR_NUMBERS[collection].items():
            of_class = images[f"{animal} {split}"][rows]
            pixels.append(of_class)
            labels.append(torch.full((len(of_class),), float(number)))
        classes = tuple(map(str, range(100)))
        return ImageSet(torch.cat(pixels), torch.cat(labels), classes)

    return Splits(
        train=image_set("train", slice(1, None)),
        validation=image_set("train", slice(0, 1)),
        test=image_set("test", slice(None)),
        source=collection,
    )


def test_torchvisions_cifar_gives_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = write_pictures(tmp_path / "folders", count=4)
    publish(folders, monkeypatch)
    expected = tasks.animal_images(folders)

    def load(name: str, full: bool, root: Any, download: bool) -> Splits:
        return like_torchvision(expected, name)

    monkeypatch.setattr(tasks, "load", load)
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    images = tasks.animal_images(tmp_path)  # where no folders are
    assert images.keys() == expected.keys()
    for name, of_class in expected.items():
        assert images[name].equal(of_class), "the order of a download does not matter"


def test_pick_renumbers_in_the_order_of_its_classes() -> None:
    pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    images = ImageSet(pixels, torch.tensor([0, 1, 2, 1]), ("a", "b", "c"))
    picked = tasks.pick(images, ("c", "b"))
    assert picked.classes == ("c", "b")
    assert picked.labels.tolist() == [1, 0, 1]
    assert picked.images.flatten().tolist() == [1, 2, 3]


def probe_and_scratch(task: tasks.Task, source: torch.nn.Sequential) -> list[Method]:
    """The linear probe and the same network from scratch, as in the chapter."""

    def probe(draw: Draw) -> dict[str, Any]:
        train = task.pool.subset(draw.indices)
        fitted = transfer.linear_probe(
            transfer.features(source[:-1], train, 200),
            train.labels,
            transfer.features(source[:-1], task.validation, 200),
            task.validation.labels,
        )
        predicted = fitted.predict(transfer.features(source[:-1], task.test, 200))
        return {"test accuracy": predicted == task.test.labels}

    def scratch(draw: Draw) -> dict[str, Any]:
        _, facts = tasks.source_model(task.name)
        model = nets.transfer_cnn(**facts["architecture"])
        loop.fit_best(
            model,
            task.pool.subset(draw.indices),
            task.validation,
            epochs=60,
            batch_size=5,
            patience=20,
            seed=draw.seed,
            optimizer=torch.optim.Adam(model.parameters(), 1e-2, fused=True),
        )
        images, labels = next(task.test.batches(len(task.test)))
        return {"test accuracy": model.eval()(images).argmax(1) == labels}

    return [Method("probe", probe), Method("scratch", scratch)]


@pytest.mark.nightly
def test_on_tops_ten_labels_a_class_a_probe_beats_scratch() -> None:
    task = tasks.load_task("tops")
    source, _ = tasks.source_model("tops")
    methods = probe_and_scratch(task, source)
    table = run_study("tops", methods, [20], 10, labels=task.pool.labels, quiet=True)
    effect = paired(table, "probe", "scratch", "test accuracy", 20)
    interval = f"[{effect.low:.1f}, {effect.high:.1f}]"
    print(f"probe − scratch: {effect.effect:.1f} points {interval}, n = {effect.n}")
    assert effect.low > 0
    assert effect.n == 10
