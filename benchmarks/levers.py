"""What each lever of training is worth on this machine, against a plain `DataLoader`.

    python benchmarks/levers.py --json --data-root FOLDER_WITH_MNIST

Two networks: the VAE 784-400-20 (`_mlp`) and the small CNN (`_cnn`). The baseline of each is the
classical loop: one PIL image at a time, `ToTensor`, batch 128, Adam as it comes. Every other number
is baseline seconds over lever seconds, the median over turns; in a turn all take their pass one
after the other, so that a slow moment hits all alike. The exception is `accelerate_overhead`:
seconds of the course's `fit` over those of the same loop by hand on resident data, minus 1. Run it
on an idle machine. With a GPU, `vae_epoch_512` is the seconds of one epoch of 60,000 images.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from vae_epoch import sixty_thousand

from vaetl_helpers import device, nets, vae
from vaetl_helpers.data import ImageSet
from vaetl_helpers.device import best_device
from vaetl_helpers.machines.steps import Pictures
from vaetl_helpers.training import classification_loss, fit

DEVICE = best_device().device
Loss = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Loss]] = {
    "mlp": (vae.mlp_vae, vae.vae_loss(binarisation=None)),
    "cnn": (nets.small_cnn, classification_loss),
}


def by_hand(
    kind: str,
    data: ImageSet,
    size: int = 128,
    resident: bool = True,
    fused: bool = True,
    bf16: bool = False,
    channels_last: bool = False,
    pieces: int = 1,
    compiled: bool = False,
) -> Callable[[], None]:
    """A pass over the images by a loop without any helper, with these levers pulled."""
    build, loss_fn = NETWORKS[kind]
    torch.manual_seed(0)
    model = build().to(DEVICE)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if compiled:
        model.compile()
    adam = torch.optim.Adam(model.parameters(), **({"fused": True} if fused else {}))
    loader = (
        None
        if resident
        else DataLoader(Pictures(data.to("cpu")), size, shuffle=True, num_workers=0)
    )

    def one_pass() -> None:
        for images, labels in loader or data.batches(size, seed=0):
            adam.zero_grad()
            images, labels = images.to(DEVICE), labels.to(DEVICE)
            for part, part_labels in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
                with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
                    loss = loss_fn(model, part, part_labels)[0]
                (loss if pieces == 1 else loss * (len(part) / len(images))).backward()
            adam.step()
        device.synchronise(DEVICE)

    return one_pass


def by_fit(kind: str, data: ImageSet) -> Callable[[], None]:
    """A pass by the course's `fit`, which runs under Accelerate, in float32."""
    build, loss_fn = NETWORKS[kind]
    torch.manual_seed(0)
    model = build().to(DEVICE)
    adam = torch.optim.Adam(model.parameters(), fused=True)
    return lambda: (
        fit(model, data, loss_fn, epochs=1, optimizer=adam, quiet=True, precision="no") and None
    )


def interleaved(passes: dict[str, Callable[[], None]], turns: int) -> dict[str, list[float]]:
    """Seconds of each pass in each turn, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(turns + 1):
        for name, one_pass in passes.items():
            began = time.perf_counter()
            one_pass()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def measure(data: ImageSet, turns: int, with_compile: bool) -> dict[str, float]:
    """The ratios of all levers of both networks."""
    result = {}
    for kind in NETWORKS:
        levers = {
            "resident_vs_dataloader": by_hand(kind, data),
            "fit_vs_dataloader": by_fit(kind, data),
            "not_fused_vs_dataloader": by_hand(kind, data, fused=False),
            "batch_512_vs_dataloader": by_hand(kind, data, size=512),
            "bf16_vs_dataloader": by_hand(kind, data, bf16=True),
            "accumulation_vs_dataloader": by_hand(kind, data, pieces=4),
        }
        if kind == "cnn":
            levers["channels_last_vs_dataloader"] = by_hand(kind, data, channels_last=True)
        if with_compile:
            levers["compile_vs_dataloader"] = by_hand(kind, data, compiled=True)
        seconds = interleaved(
            {"baseline": by_hand(kind, data, resident=False, fused=False)} | levers, turns
        )
        for name in levers:
            ratios = [
                base / lever for base, lever in zip(seconds["baseline"], seconds[name], strict=True)
            ]
            result[f"{name}_{kind}"] = statistics.median(ratios)
    return result


def accelerate_overhead(data: ImageSet, turns: int) -> float:
    """What `fit` adds to the same loop by hand; the VAE, where it weighs most."""
    seconds = interleaved({"fit": by_fit("mlp", data), "by hand": by_hand("mlp", data)}, turns)
    return (
        statistics.median(a / b for a, b in zip(seconds["fit"], seconds["by hand"], strict=True))
        - 1
    )


def epoch_512(data: ImageSet, turns: int) -> float:
    """Seconds of one epoch of the VAE with batch 512, the median over turns."""
    model = vae.mlp_vae().to(DEVICE)
    adam = torch.optim.Adam(model.parameters(), fused=True)
    loss = vae.vae_loss(binarisation=None)
    seconds = []
    for _ in range(turns + 1):
        history = fit(model, data, loss, epochs=1, batch_size=512, optimizer=adam, quiet=True)
        seconds.append(history.seconds)
    return statistics.median(seconds[1:])


def main() -> None:
    """Prints the result, as one JSON object with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", help="a folder that holds MNIST/raw (default: VAETL_DATA)")
    parser.add_argument("--images", type=int, default=12_800, help="images in one pass")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)  # as `setup` does
    load_before = os.getloadavg()[0]
    data = sixty_thousand(options.data_root).to(DEVICE)
    few = data.subset(slice(0, options.images))
    result = {
        "accelerate_overhead": accelerate_overhead(data, options.turns)
    }  # whole epochs: starting costs little
    result |= measure(few, options.turns, not options.no_compile)
    if DEVICE.type != "cpu":
        result["vae_epoch_512"] = epoch_512(data, options.turns)
    result |= {
        "images": options.images,
        "turns": options.turns,
        "threads": options.threads,
        "load_before": load_before,
    }
    result |= {
        "device": best_device().name,
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(
            f"{name:<36} {value:.3f}" if isinstance(value, float) else f"{name:<36} {value}",
            file=sys.stdout,
        )


if __name__ == "__main__":
    main()
