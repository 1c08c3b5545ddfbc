"""Training steps and whole passes, as they are timed on a machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms.functional import to_tensor

from vaetl_helpers.data.images import ImageSet
from vaetl_helpers.device import synchronise
from vaetl_helpers.nets import mlp_classifier, small_cnn
from vaetl_helpers.training import fit
from vaetl_helpers.training.evaluation import classification_loss, loss_and_monitored
from vaetl_helpers.vae import mlp_vae, vae_loss

WARM_UPS = 3  # steps on a stream of their own before a graph is captured, as PyTorch asks for


WARM_UP_PART = 10  # a pass warms up on one tenth of its images
Source = ImageSet | Iterable[Any]


@dataclass(frozen=True)
class Network:
    """What is trained: a function that builds the network, and the loss for `fit`."""

    build: Callable[[], nn.Module]
    loss_fn: Callable[..., Any]


NETWORKS = {
    "MLP": Network(mlp_classifier, classification_loss),
    "CNN": Network(small_cnn, classification_loss),
    "VAE": Network(mlp_vae, vae_loss()),
}


class Pictures(Dataset[tuple[Tensor, int]]):
    """One image at a time, as a picture that becomes a tensor: the usual way."""

    def __init__(self, images: ImageSet) -> None:
        on_cpu = images.to("cpu")
        self.images = on_cpu.images[:, 0]
        self.labels = on_cpu.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.images[index].numpy())
        return to_tensor(picture), int(self.labels[index])


class Step:
    """A training step with Adam on one batch [batch, 1, 28, 28] that stays on the device.

    The images are random, the labels 0. `capturable` keeps Adam's count of steps on the device, as
    a CUDA graph needs it.
    """

    def __init__(
        self, network: Network, batch_size: int, device: torch.device, capturable: bool = False
    ) -> None:
        self.model = network.build().to(device)
        self.loss_fn = network.loss_fn
        self.images = torch.rand(batch_size, 1, 28, 28, device=device)
        self.labels = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.adam = torch.optim.Adam(self.model.parameters(), fused=True, capturable=capturable)

    def __call__(self) -> None:
        self.adam.zero_grad()
        loss, _ = loss_and_monitored(self.loss_fn(self.model, self.images, self.labels))
        loss.backward()
        self.adam.step()


def captured(step: Step) -> Callable[[], None]:
    """The step as a CUDA graph: all its operations are handed over at once.

    It needs a step that is `capturable` on a CUDA device. Follows "Whole-network capture" of
    PyTorch's notes on CUDA semantics.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    step.adam.zero_grad(set_to_none=True)  # so that the gradients lie in the graph's own memory
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@dataclass(frozen=True)
class Levers:
    """Which levers of chapter 2b are pulled."""

    batch_size: int = 128
    resident: bool = True
    fused: bool = True
    channels_last: bool = False
    bf16: bool = False
    fp16: bool = False  # with a scaled loss, on a GPU
    pieces: int = 1
    ready: bool = False  # the DataLoader takes float tensors that lie ready, and makes no pictures
    workers: int = 0  # processes of the DataLoader's own
    waits: bool = False  # reads the loss at each step, as the classical loop does


CLASSICAL = Levers(resident=False, fused=False)
VAE_LEVERS: Mapping[str, Levers] = {
    "DataLoader": CLASSICAL,
    "resident, not fused": Levers(fused=False),
    "resident": Levers(),
    "resident, batch 512": Levers(batch_size=512),
    "resident, bf16": Levers(bf16=True),
    "resident, accumulated": Levers(pieces=4),
    "resident, batch 512, bf16": Levers(batch_size=512, bf16=True),
}
CNN_LEVERS: Mapping[str, Levers] = {
    "DataLoader": CLASSICAL,
    "resident, not fused": Levers(fused=False),
    "resident": Levers(),
    "resident, channels last": Levers(channels_last=True),
    "resident, bf16": Levers(bf16=True),
}


class Pass:
    """One pass of a network over the images, with some levers pulled."""

    def __init__(self, network: Network, images: ImageSet, levers: Levers) -> None:
        self.levers = levers
        self.device = images.device
        self.loss_fn = network.loss_fn
        self.model = network.build().to(self.device)
        if levers.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        fused = True if levers.fused else None  # None: as PyTorch chooses
        self.adam = torch.optim.Adam(self.model.parameters(), fused=fused)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=levers.fp16)
        self.source = self._source(images, levers.workers)
        self.first = self._source(first_part(images))

    def _source(self, images: ImageSet, workers: int = 0) -> Source:
        if self.levers.resident:
            return images
        pictures: Dataset[Any] = Pictures(images)
        if self.levers.ready:
            on_cpu = images.to("cpu")
            pictures = TensorDataset(on_cpu.images.div(255), on_cpu.labels)
        return DataLoader(
            pictures,
            self.levers.batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,  # started once, and not for each pass
        )

    def batches(self, source: Source) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of each batch, on the device."""
        if isinstance(source, ImageSet):
            source = source.batches(self.levers.batch_size, seed=0)
        for images, labels in source:
            yield images.to(self.device), labels.to(self.device)

    def __call__(self) -> None:
        self._train(self.source)

    def warm_up(self) -> None:
        """The same for the first tenth of the images; the loader's processes start, too."""
        self._train(self.first)
        if isinstance(self.source, DataLoader) and self.levers.workers:
            next(iter(self.source))

    def _train(self, source: Source) -> None:
        dtype = torch.float16 if self.levers.fp16 else torch.bfloat16
        is_mixed = self.levers.bf16 or self.levers.fp16
        for images, labels in self.batches(source):
            self.adam.zero_grad()
            pieces = zip(
                images.chunk(self.levers.pieces), labels.chunk(self.levers.pieces), strict=True
            )
            for piece, piece_labels in pieces:
                with torch.autocast(self.device.type, dtype, enabled=is_mixed):
                    loss, _ = loss_and_monitored(self.loss_fn(self.model, piece, piece_labels))
                # Not enabled, the scaler hands on the loss, and steps as Adam does.
                self.scaler.scale(loss * (len(piece) / len(images))).backward()
            self.scaler.step(self.adam)
            self.scaler.update()
            if self.levers.waits:
                loss.item()
        synchronise(self.device)


def seconds_in_turns(passes: Mapping[str, Pass], turns: int) -> dict[str, list[float]]:
    """Seconds of each pass in each turn, after warm-ups."""
    for one in passes.values():
        one.warm_up()
    return timed_in_turns(passes, turns)


def timed_in_turns(runs: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each run in each turn, one after the other, so that a slow moment hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, one in runs.items():
            started = time.perf_counter()
            one()
            seconds[name].append(time.perf_counter() - started)
    return seconds


class EpochByFit:
    """An epoch of the VAE by the course's `fit`; each call goes on with the same optimiser."""

    def __init__(self, images: ImageSet, batch_size: int) -> None:
        self.images = images
        self.batch_size = batch_size
        self.model = NETWORKS["VAE"].build().to(images.device)
        self.adam = torch.optim.Adam(self.model.parameters(), fused=True)
        self.epochs = 0

    def __call__(self) -> None:
        self._train(self.images)

    def warm_up(self) -> None:
        """The same for the first tenth of the images."""
        self._train(first_part(self.images))

    def _train(self, images: ImageSet) -> None:
        self.epochs += 1
        fit(
            self.model,
            images,
            NETWORKS["VAE"].loss_fn,
            epochs=1,
            batch_size=self.batch_size,
            optimizer=self.adam,
            seed=self.epochs,
            quiet=True,
        )


def first_part(images: ImageSet) -> ImageSet:
    """The first tenth of the images, on which a pass warms up."""
    return images.subset(slice(0, max(1, len(images) // WARM_UP_PART)))
