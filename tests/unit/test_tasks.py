"""The running example: disjoint sets, source models that have seen no target image, and what transfer gains on it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaetl_helpers import data, nets, transfer
from vaetl_helpers.data import ImageSet, Splits, image_hashes, tasks
from vaetl_helpers.errors import CourseError
from vaetl_helpers.study import Draw, Method, paired, run_study
from vaetl_helpers.training import evaluate, loop

PARTS = ("rehearsal", "source_test", "pool", "validation", "test")
needs_data = pytest.mark.skipif(
    not os.environ.get("VAETL_DATA"), reason="needs CIFAR's animals under VAETL_DATA"
)


def hashes(images: ImageSet) -> set[bytes]:
    return set(image_hashes(images.images.numpy()))


def disjoint(task: tasks.Task) -> bool:
    """Target sets share nothing with each other, and nothing that is trained on is tested on."""
    seen = {part: hashes(getattr(task, part)) for part in PARTS}
    pairs = [
        ("pool", "validation"),
        ("pool", "test"),
        ("validation", "test"),
        ("pool", "source_test"),
    ]
    pairs += [("rehearsal", "source_test"), ("rehearsal", "test"), ("validation", "source_test")]
    return not any(seen[a] & seen[b] for a, b in pairs)


@pytest.mark.parametrize("name", ["tops", "dresses"])
def test_an_embedded_task_has_disjoint_balanced_sets(name: str) -> None:
    task = tasks.load_task(name)
    assert disjoint(task)
    assert (
        task.pool.classes == tasks.CLASSES[name][1]
        and task.rehearsal.classes == tasks.CLASSES[name][0]
    )
    for part, sizes in (("pool", [900, 900]), ("validation", [50, 50]), ("test", [200, 200])):
        assert getattr(task, part).labels.bincount().tolist() == sizes
    assert task.keep == {0: 0}


def test_labels_follow_their_images() -> None:
    whole, task = data.load("fashion-mnist"), tasks.load_task("tops")
    shirts = whole.test.images[whole.test.labels == whole.test.classes.index("shirt")]
    assert hashes(task.test.subset(task.test.labels == 1)) == set(image_hashes(shirts.numpy()))


def test_auto_is_animals_only_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAETL_DATA", raising=False)
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    assert tasks.available() == "tops"
    (tmp_path / "cifar10").mkdir()
    assert tasks.available(tmp_path) == "animals"
    only_half = tmp_path / "half"
    (only_half / "cifar-10-batches-py").mkdir(parents=True)
    assert tasks.available(only_half) == "tops", "foxes are in CIFAR-100"
    (only_half / "cifar-100-python").mkdir()
    assert tasks.available(only_half) == "animals"


def test_an_unknown_task_names_the_near_one() -> None:
    with pytest.raises(CourseError, match="did you mean 'tops'"):
        tasks.load_task("top")
    with pytest.raises(CourseError, match="did you mean 'dresses'"):
        tasks.source_model("dress")


@pytest.mark.parametrize("name", ["tops", "dresses"])
def test_a_source_model_is_as_good_as_its_file_says(name: str) -> None:
    model, facts = tasks.source_model(name)
    assert not model.training
    assert evaluate(model, tasks.load_task(name).source_test)["accuracy"] == pytest.approx(
        facts["test_accuracy"], abs=0.003
    )
    assert facts["test_accuracy"] > 0.9 and tuple(facts["classes"]) == tasks.CLASSES[name][0]
    assert facts["command"].endswith("--epochs 20") and facts["flops"] > 0 and facts["seconds"] > 0


def fingerprint(images: ImageSet) -> str:
    return sha256(b"".join(sorted(image_hashes(images.images.squeeze(1).numpy())))).hexdigest()


@pytest.mark.debian("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist")
@pytest.mark.parametrize("name", ["tops", "dresses"])
def test_a_source_model_has_seen_no_image_of_a_target_task(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAETL_DATA", raising=False)
    trained_on, facts = tasks.source_data(name), tasks.source_model(name)[1]
    assert fingerprint(trained_on.train) == facts["fingerprint"]
    whole = data.load("fashion-mnist")
    learned = hashes(trained_on.train) | hashes(trained_on.validation)
    assert not learned & (hashes(whole.train) | hashes(whole.validation) | hashes(whole.test))


@needs_data
@pytest.mark.slow
def test_the_source_of_the_animals_has_seen_no_dog_of_the_target() -> None:
    trained_on, (model, facts) = tasks.source_data("animals"), tasks.source_model("animals")
    assert fingerprint(trained_on.train) == facts["fingerprint"]
    learned = hashes(trained_on.train) | hashes(trained_on.validation)
    for name in ("animals", "wolves"):
        task = tasks.load_task(name)
        assert disjoint(task)
        assert not learned & set.union(*(hashes(getattr(task, part)) for part in PARTS))
        assert task.test.labels.bincount().tolist() == [200, 200], (
            "more than the 100 official test foxes"
        )
    assert task.keep == {}
    assert evaluate(model, task.source_test)["accuracy"] == pytest.approx(
        facts["test_accuracy"], abs=0.002
    )


def pictures(root: Path, names: dict[str, tuple[str, ...]], count: int = 2) -> Path:
    """A data root with `count` noise pictures in each class folder."""
    random = np.random.default_rng(0)
    for collection, classes in names.items():
        for split in ("train", "test"):
            for name in classes:
                folder = root / collection / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    noise = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                    Image.fromarray(noise).save(folder / f"{number}.png")
    return root


def test_class_folders_are_read_and_wrong_names_are_said(tmp_path: Path) -> None:
    right = pictures(tmp_path / "right", {"cifar10": ("cat", "dog"), "cifar100": ("fox", "wolf")})
    images = tasks._animal_images(right)
    assert {name: tuple(part.shape) for name, part in images.items()} == {
        f"{name} {split}": (2, 3, 32, 32) for split in ("train", "test") for name in tasks.ANIMALS
    }
    picture = np.asarray(Image.open(right / "cifar100/train/wolf/1.png")).transpose(2, 0, 1)
    assert any(np.array_equal(picture, wolf) for wolf in images["wolf train"].numpy())
    wrong = pictures(tmp_path / "wrong", {"cifar10": ("cat", "hound"), "cifar100": ("fox", "wolf")})
    with pytest.raises(CourseError, match="hound.*name the class folders so"):
        tasks._read_folders(wrong / "cifar10")


def test_torchvisions_cifar_gives_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = pictures(
        tmp_path / "folders", {"cifar10": ("cat", "dog"), "cifar100": ("fox", "wolf")}, count=4
    )
    expected = tasks._animal_images(folders)
    numbers = {"cifar10": {"cat": 3, "dog": 5}, "cifar100": {"fox": 34, "wolf": 97}}

    def load(name: str, full: bool, root: Any) -> Splits:
        def part(split: str, rows: slice) -> ImageSet:
            sets = [
                (expected[f"{animal} {split}"][rows], number)
                for animal, number in numbers[name].items()
            ]
            other = torch.zeros(3, 3, 32, 32, dtype=torch.uint8), 0
            images, labels = zip(
                *((x, torch.full((len(x),), n)) for x, n in [*sets, other]), strict=True
            )
            return ImageSet(torch.cat(images), torch.cat(labels), tuple(map(str, range(100))))

        return Splits(
            part("train", slice(1, None)),
            part("train", slice(0, 1)),
            part("test", slice(None)),
            name,
        )

    monkeypatch.setattr(tasks, "load", load)
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    found = tasks._animal_images(tmp_path)  # where no folders are
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected), (
        "the order of a download does not matter"
    )


def test_pick_renumbers_in_the_given_order() -> None:
    images = ImageSet(
        torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1),
        torch.tensor([0, 1, 2, 1]),
        ("a", "b", "c"),
    )
    picked = tasks.pick(images, ("c", "b"))
    assert picked.classes == ("c", "b") and picked.labels.tolist() == [1, 0, 1]
    assert picked.images.flatten().tolist() == [1, 2, 3]


def probe_and_scratch(task: tasks.Task, source: torch.nn.Sequential) -> list[Method]:
    """The linear probe and the same network from scratch, as in the chapter."""

    def probe(draw: Draw) -> dict[str, Any]:
        images = task.pool.subset(draw.indices)
        see = [
            transfer.features(source[:-1], part, 200)
            for part in (images, task.validation, task.test)
        ]
        fitted = transfer.linear_probe(see[0], images.labels, see[1], task.validation.labels)
        return {"test accuracy": fitted.predict(see[2]) == task.test.labels}

    def scratch(draw: Draw) -> dict[str, Any]:
        model = nets.transfer_cnn(**tasks.source_model(task.name)[1]["architecture"])
        adam = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
        how = {"epochs": 60, "batch_size": 5, "patience": 20, "seed": draw.seed, "optimizer": adam}
        loop.fit_best(model, task.pool.subset(draw.indices), task.validation, **how)
        right = [model(images).argmax(1) == labels for images, labels in task.test.batches(200)]
        return {"test accuracy": torch.cat(right)}

    return [Method("probe", probe), Method("scratch", scratch)]


@pytest.mark.slow
def test_on_tops_ten_labels_a_class_a_probe_beats_scratch() -> None:
    task = tasks.load_task("tops")
    source = tasks.source_model("tops")[0]
    table = run_study(
        "tops", probe_and_scratch(task, source), [20], 10, labels=task.pool.labels, quiet=True
    )
    effect = paired(table, "probe", "scratch", "test accuracy", 20)
    print(
        f"probe − scratch: {effect.effect:.1f} points [{effect.low:.1f}, {effect.high:.1f}], n = {effect.n}"
    )
    assert effect.low > 0 and effect.n == 10
