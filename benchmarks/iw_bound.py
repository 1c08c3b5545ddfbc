"""The importance-weighted bound: `iw_bound` beside one pair or one image at a time.

    python benchmarks/iw_bound.py --json

k = 500 samples for each of 1,000 images, with the VAE that comes with the course. One pair (image,
sample) at a time is the loop that a formula suggests: encode, sample, decode, log w; it is timed on
2,000 pairs and scaled. One image at a time decodes all k samples of an image together; it is timed
on 100 images and scaled. The value of `iw_bound` is compared with that of the second on the same
images, with other noise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vaetl_helpers.data import load
from vaetl_helpers.vae import VAE, binarise, iw_bound, log_weights, pretrained


def test_images(count: int, root: str | None) -> tuple[Tensor, str]:
    """Binarised test images, of the full set where it is there, otherwise of the embedded one."""
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result
        splits = load("mnist", full=bool(root or os.environ.get("VAETL_DATA")), root=root)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(splits.test), generator=generator)[:count]
    return binarise(splits.test.images[rows] / 255, "dynamic", generator), splits.source


@torch.no_grad()
def pair_at_a_time(model: VAE, x: Tensor, samples: int) -> Tensor:
    """log w [samples, images], one at a time."""
    weights = torch.empty(samples, len(x))
    for column, image in enumerate(x.split(1)):
        for row in range(samples):
            q = model.encode(image)
            weights[row, column] = log_weights(model, image, q, torch.randn(1, *q.mean.shape))
    return weights


def image_at_a_time(model: VAE, x: Tensor, k: int) -> Tensor:
    """L_k [images], with the k samples of one image decoded together."""
    return torch.cat([iw_bound(model, image, k, chunk=k) for image in x.split(1)])


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of some work."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(model: VAE, x: Tensor, k: int, repeats: int) -> dict[str, float]:
    """Seconds a million (image, sample) pairs, the ratios, and both values."""
    (
        iw_bound(model, x, 4),
        pair_at_a_time(model, x[:10], 2),
        image_at_a_time(model, x[:2], k),
    )  # warm up
    per_million = {
        "vectorised": seconds(lambda: iw_bound(model, x, k), repeats) / (len(x) * k) * 1e6,
        "pair_at_a_time": seconds(lambda: pair_at_a_time(model, x[:200], 10), repeats) / 2000 * 1e6,
        "image_at_a_time": seconds(lambda: image_at_a_time(model, x[:100], k), repeats)
        / (100 * k)
        * 1e6,
    }
    ours, other = iw_bound(model, x[:100], k), image_at_a_time(model, x[:100], k)
    difference = ours - other
    return {
        "speedup_vs_pair_at_a_time": per_million["pair_at_a_time"] / per_million["vectorised"],
        "speedup_vs_image_at_a_time": per_million["image_at_a_time"] / per_million["vectorised"],
        "bound": ours.mean().item(),
        "bound_image_at_a_time": other.mean().item(),
        "difference_standard_error": difference.std().item() / len(difference) ** 0.5,
        "bound_unit": "nats per image, 100 images",
        "seconds_per_million_pairs": per_million,
    }


def main() -> None:
    """Prints the result, as one JSON object with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-root",
        help="a folder that holds MNIST/raw (default: VAETL_DATA, or embedded digits)",
    )
    parser.add_argument("--k", type=int, default=500)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    load_before = os.getloadavg()[0]
    x, source = test_images(options.images, options.data_root)
    result = measure(pretrained()[0], x, options.k, options.repeats) | {
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / 1024,  # the whole process
        "k": options.k,
        "images": len(x),
        "data": source,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_before": load_before,
        "torch": torch.__version__,
    }
    if options.json:
        print(json.dumps(result))
        return
    by_pair = result["speedup_vs_pair_at_a_time"]
    by_image = result["speedup_vs_image_at_a_time"]
    print(
        f"iw_bound is {by_pair:.0f} times as fast as one pair at a time and "
        f"{by_image:.1f} times as fast as one image at a time, "
        f"with at most {result['peak_memory_mb']:.0f} MB."
    )


if __name__ == "__main__":
    main()
