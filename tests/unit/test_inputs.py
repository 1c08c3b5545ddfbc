"""What learners hand to fit and its neighbours by mistake: a sentence, before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from vaetl_helpers import vae
from vaetl_helpers.data import ImageSet, Splits
from vaetl_helpers.errors import CourseError
from vaetl_helpers.nets import mlp_classifier
from vaetl_helpers.study import Method, run_study
from vaetl_helpers.training import (
    classification_loss,
    evaluate,
    fit,
    fit_best,
    fit_together,
)
from vaetl_helpers.transfer import features, fine_tune, freeze, linear_probe


def images(count: int = 40, classes: int = 4) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % classes, tuple(map(str, range(classes))))


def network(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return mlp_classifier(8, pixels=64, classes=classes)


def with_norm(spatial: int = 0) -> nn.Module:
    """A network with BatchNorm, on vectors or on maps of `spatial` × `spatial`."""
    torch.manual_seed(0)
    if not spatial:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(spatial), nn.BatchNorm2d(1), nn.Flatten())
    return nn.Sequential(pooled, nn.Linear(spatial**2, 4))


def fit_quietly(model: Any, train: Any, *rest: Any, **options: Any) -> Any:
    return fit(model, train, *rest, **{"epochs": 1, "quiet": True} | options)


TABLE = images()
TENSORS = TensorDataset(TABLE.images / 255, TABLE.labels)
NO_IMAGES = {
    "DataLoader": (DataLoader(TENSORS, 8), "batches are made here.*ImageSet"),
    "TensorDataset": (TENSORS, "hand over its tensors: ImageSet"),
    "tuple": ((TABLE.images, TABLE.labels), "ImageSet.images, labels, classes"),
    "tensor": (TABLE.images, "ImageSet.images, labels, classes"),
    "array": (TABLE.images.numpy(), "ImageSet.images, labels, classes"),
    "Splits": (Splits(TABLE, TABLE, TABLE, "toy"), "data.train"),
    "network": (network(), "the network comes first"),
    "None": (None, "NoneType"),
}


@pytest.mark.parametrize("kind", NO_IMAGES)
@pytest.mark.parametrize(
    "call",
    [
        fit_quietly,
        evaluate,
        lambda model, data: fit_best(model, data, images(), epochs=1),
        lambda model, data: fit_best(model, images(), data, epochs=1),
        lambda model, data: fine_tune(model, data, images(), parts=list(model), epochs=1),
        lambda model, data: fit_together(
            [model], [data], images(), [0], rate=0.1, epochs=1, batch_size=8, patience=1
        ),
    ],
    ids=["fit", "evaluate", "fit_best", "validation", "fine_tune", "fit_together"],
)
def test_what_is_no_image_set_is_named_with_how_to_make_one(
    call: Callable[..., Any], kind: str
) -> None:
    data, words = NO_IMAGES[kind]
    with pytest.raises(CourseError, match=f"must be an ImageSet, not.*{words}"):
        call(network(), data)


def test_what_is_no_image_set_for_validation_is_named() -> None:
    with pytest.raises(CourseError, match="validation must be an ImageSet, not Splits"):
        fit_quietly(network(), images(), validation=NO_IMAGES["Splits"][0])


@pytest.mark.parametrize(
    "loss, words",
    [
        (nn.CrossEntropyLoss(), "CrossEntropyLoss takes logits and labels"),
        (nn.CrossEntropyLoss, "CrossEntropyLoss takes logits and labels"),
        (nn.CosineEmbeddingLoss(), "CosineEmbeddingLoss takes logits and labels"),
        (F.cross_entropy, "cross_entropy takes logits and labels"),
        (F.nll_loss, "nll_loss takes logits and labels"),
        (lambda logits, labels: F.cross_entropy(logits, labels), "does not take three arguments"),
        ("cross_entropy", "str is no function"),
        (None, "NoneType is no function"),
    ],
)
def test_a_loss_of_logits_and_labels_is_answered_with_the_line_to_write(
    loss: Any, words: str
) -> None:
    line = r"`lambda model, images, labels: F.cross_entropy\(model\(images\), labels\)`"
    for call in (fit_quietly, evaluate):
        with pytest.raises(CourseError, match=f"{words}: write {line}"):
            call(network(), images(), loss)


def test_a_function_that_makes_a_loss_is_to_be_called_first() -> None:
    torch.manual_seed(0)
    model = vae.mlp_vae(2, (4,), (1, 8, 8))
    with pytest.raises(CourseError, match="returned a function, not a number: call what makes"):
        fit_quietly(model, images(), vae.vae_loss)


def test_losses_that_take_more_or_other_names_are_taken() -> None:
    def more(network: nn.Module, x: Tensor, y: Tensor, softness: float = 0.1) -> Tensor:
        return F.cross_entropy(network(x), y, label_smoothing=softness)

    class Module(nn.Module):
        def forward(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(network(x), y)

    for loss in (more, Module(), lambda *everything: more(*everything)):
        assert len(fit_quietly(network(), images(), loss)) == 1


OTHER = network()


@pytest.mark.parametrize(
    "optimizer, words",
    [
        (lambda model: torch.optim.Adam(OTHER.parameters()), "belongs to another network"),
        (
            lambda model: torch.optim.Adam([*model.parameters(), *OTHER.parameters()]),
            "has 4 parameters that are not this network's",
        ),
        (
            lambda model: torch.optim.SGD(model[3].parameters(), lr=0.1),
            "lacks 2 trainable parameters, 1.weight among them.*SGD.*freeze",
        ),
        (lambda model: "adam", "not adam: write torch.optim.Adam"),
        (lambda model: torch.optim.Adam, "not <class"),
        (
            lambda model: torch.optim.lr_scheduler.StepLR(
                torch.optim.Adam(model.parameters()), step_size=1
            ),
            "not StepLR",
        ),
    ],
)
def test_an_optimiser_that_does_not_fit_the_network_is_refused_before_the_first_step(
    optimizer: Callable[[nn.Module], Any], words: str
) -> None:
    for call in (fit_quietly, lambda *a, **o: fit_best(*a, images(), epochs=1, **o)):
        model = network()
        before = model[1].weight.clone()
        with pytest.raises(CourseError, match=words):
            call(model, images(), optimizer=optimizer(model))
        assert torch.equal(model[1].weight, before)


def test_a_cell_that_builds_the_network_again_but_not_the_optimiser_is_told() -> None:
    model = network()
    adam = torch.optim.Adam(model.parameters())
    fit_quietly(model, images(), optimizer=adam)
    model = network()
    with pytest.raises(CourseError, match="make a new one after the network"):
        fit_quietly(model, images(), optimizer=adam)


def test_frozen_parameters_may_be_in_the_optimiser_or_not() -> None:
    for of in (lambda model: model.parameters(), lambda model: model[3].parameters()):
        model = network()
        freeze(model[1])
        assert len(fit_quietly(model, images(), optimizer=torch.optim.SGD(of(model), 0.1))) == 1


def test_a_network_with_nothing_to_train_is_refused() -> None:
    frozen = freeze(network())
    for call in (fit_quietly, lambda *a: fit_best(*a, images(), epochs=1)):
        with pytest.raises(CourseError, match="Every parameter is frozen: unfreeze a part"):
            call(frozen, images())
        with pytest.raises(CourseError, match="It has no parameters"):
            call(nn.Flatten(), images())


@pytest.mark.parametrize(
    "model, words",
    [
        (mlp_classifier, "must be a network.*not function"),
        (nn.Linear, "not the class Linear"),
        (None, "not NoneType"),
        (images(), "not ImageSet"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "lazy layers.*call it once"),
    ],
)
def test_what_is_no_network_is_named(model: Any, words: str) -> None:
    for call in (fit_quietly, evaluate, features):
        with pytest.raises(CourseError, match=words):
            call(model, images())


def test_too_few_outputs_for_the_labels_are_counted() -> None:
    def own_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y)

    for loss in (classification_loss, own_loss):
        for call in (fit_quietly, evaluate):
            with pytest.raises(
                CourseError, match="too few outputs: labels go up to 3, so that 4 are needed"
            ):
                call(network(classes=2), images(), loss)


def test_outputs_that_are_no_table_of_logits_are_named() -> None:
    conv = nn.Conv2d(1, 4, 3)
    with pytest.raises(CourseError, match=r"\[40, 4, 6, 6\], but logits \[40, classes\]"):
        fit_quietly(conv, images())
    with pytest.raises(CourseError, match="returns tuple, but logits"):
        fit_quietly(vae.mlp_vae(2, (4,), (1, 8, 8)), images())


@pytest.mark.parametrize("model", [network().double(), mlp_classifier(8), nn.Conv2d(3, 4, 3)])
def test_images_and_networks_that_do_not_fit_are_both_described(model: nn.Module) -> None:
    for call in (fit_quietly, evaluate):
        with pytest.raises(RuntimeError) as error:
            call(model, images())
        (note,) = error.value.__notes__
        assert "torch.float32 of shape [batch, 1, 8, 8]" in note
        assert str(next(model.parameters()).dtype) in note


@pytest.mark.parametrize(
    "options, words",
    [
        ({"epochs": 1.5}, "epochs must be a whole number of at least 0, not 1.5"),
        ({"epochs": -1}, "epochs must be a whole number of at least 0"),
        ({"batch_size": 16.0}, "batch_size must be a whole number"),
        ({"micro_batch": 0}, "micro_batch must be a whole number of at least 1"),
        ({"checkpoint": True}, "checkpoint must be a path, not True"),
        ({"schedule": 0.5}, "A schedule must be a function.*not float"),
        ({"schedule": torch.optim.lr_scheduler.OneCycleLR}, "not OneCycleLR"),
    ],
)
def test_settings_of_another_kind_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CourseError, match=words):
        fit_quietly(network(), images(), **options)


def test_whole_numbers_of_numpy_are_taken() -> None:
    history = fit_quietly(network(), images(), epochs=np.int64(2), batch_size=np.int32(16))
    assert history["steps"] == [3, 3]


def test_an_unknown_argument_of_fit_best_names_the_near_one() -> None:
    with pytest.raises(CourseError, match="Unknown argument of fit 'microbatch': did you mean"):
        fit_best(network(), images(), images(), epochs=1, microbatch=4)


@pytest.mark.parametrize("name", ["loss", "epoch", "lr", "seconds", "validation_loss"])
def test_a_monitored_value_cannot_take_a_column_of_the_history(name: str) -> None:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Any:
        mean = F.cross_entropy(model(x), y)
        return mean, {name: mean}

    for call in (fit_quietly, evaluate):
        with pytest.raises(CourseError, match=f"cannot be called '{name}'.*another name"):
            call(network(), images(), loss)


# ---------------------------------------------------------------- BatchNorm


@pytest.mark.parametrize("model", [with_norm(), with_norm(1)], ids=["vectors", "maps 1 × 1"])
@pytest.mark.parametrize(
    "count, options, words",
    [
        (33, {"batch_size": 32}, "33 images in batches of 32 leave one alone: take batch_size=31"),
        (40, {"batch_size": 40, "micro_batch": 1}, "micro-batches of 1 .*larger micro-batches"),
        (40, {"batch_size": 20, "micro_batch": 19}, "micro-batches of 19 "),
        (40, {"batch_size": 1}, "take more images"),
        (1, {"batch_size": 32}, "1 images in batches of 32 .*more images"),
    ],
)
def test_batch_norm_and_one_image_alone_is_said_before_the_work(
    model: nn.Module, count: int, options: dict[str, int], words: str
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = images(count)
    for call in (
        fit_quietly,
        lambda m, d, **o: fit_best(m, d, images(), epochs=1, **o),
        lambda m, d, **o: fine_tune(m, d, images(), parts=list(m), epochs=1, **o),
    ):
        with pytest.raises(CourseError, match=f"BatchNorm needs two images.*{words}"):
            call(model, data, **options)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_one_image_is_enough_where_maps_are_larger_or_batch_norm_is_frozen() -> None:
    assert len(fit_quietly(with_norm(2), images(33), batch_size=32)) == 1
    frozen = with_norm()
    freeze(frozen[2])
    assert len(fit_quietly(frozen, images(33), batch_size=32)) == 1
    assert len(fit_quietly(with_norm(), images(33), batch_size=31)) == 1


def test_micro_batches_say_that_batch_norm_differs(capsys: pytest.CaptureFixture[str]) -> None:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if len(x) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return F.cross_entropy(model(x), y)

    limit = 8
    for model, says in ((with_norm(), True), (network(), False)):
        fit_quietly(model, images(), loss, batch_size=20)
        assert ("BatchNorm sees only a micro-batch" in capsys.readouterr().out) == says
    limit = 1
    with pytest.raises(CourseError, match="BatchNorm needs two images"):
        fit_quietly(with_norm(), images(), loss, batch_size=4)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(8), nn.Dropout(0.5)])
def test_networks_that_cannot_be_stacked_are_refused(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), layer, nn.Linear(8, 4))
    options = {"rate": 0.1, "epochs": 1, "batch_size": 8, "patience": 1}
    with pytest.raises(CourseError, match=r"\(layer 2\) cannot be trained together.*fit_best"):
        fit_together([model], [images()], images(), [0], **options)


# ---------------------------------------------------------------- studies and probes


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"methods": lambda draw: {}}, "methods must be a list such as.*not a function"),
        ({"methods": {"m": lambda draw: {}}}, "not a dict"),
        ({"methods": [lambda draw: {}]}, "methods must hold Method"),
        ({"counts": 20}, "counts must be a list such as.*not the int '20'"),
        ({"counts": [20.5]}, "counts must be a whole number"),
        ({"draws": 2.5}, "draws must be a whole number"),
        ({"labels": images()}, "labels must be a list such as.*not a ImageSet"),
        ({"labels": torch.rand(40)}, "labels of the pool must be class numbers"),
    ],
)
def test_what_learners_hand_to_a_study_is_named(changes: dict[str, Any], words: str) -> None:
    method = Method("m", lambda draw: {"value": 1.0})
    options = {"methods": [method], "counts": [4], "draws": 2, "labels": images().labels}
    with pytest.raises(CourseError, match=words):
        run_study("toy", quiet=True, **options | changes)


def test_a_study_takes_labels_as_a_list_or_an_array() -> None:
    method = Method("m", lambda draw: {"value": float(draw.indices.sum())})
    tables = [
        run_study("toy", [method], np.array([4, 8]), 2, labels=labels, quiet=True).frame["value"]
        for labels in (images().labels, images().labels.tolist(), images().labels.numpy())
    ]
    assert tables[0].tolist() == tables[1].tolist() == tables[2].tolist()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("m", {"loss": 1.0}), "a function of a draw, not 'm' and dict"),
        ((lambda draw: {}, "m"), "A method is a name and a function"),
        (("m", lambda draw: {}, 0.1), "settings of 'm' must be a dictionary, not float"),
    ],
)
def test_a_method_is_a_name_and_a_function(arguments: Any, words: str) -> None:
    with pytest.raises(CourseError, match=words):
        Method(*arguments)


def test_a_probe_wants_features_and_labels() -> None:
    x, y = torch.rand(40, 3), images().labels
    with pytest.raises(CourseError, match="Features must be a tensor.*not ImageSet"):
        linear_probe(images(), y)
    with pytest.raises(CourseError, match="Labels must be a tensor.*not list"):
        linear_probe(x, list("abcd" * 10))
    with pytest.raises(CourseError, match="images must be an ImageSet, not DataLoader"):
        features(network(), NO_IMAGES["DataLoader"][0])


def test_features_take_arrays() -> None:
    data = images()
    assert torch.equal(features(network(), data.images.numpy()), features(network(), data))
