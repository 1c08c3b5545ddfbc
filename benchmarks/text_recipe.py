"""Which rate fine-tunes chapter 4b's encoder best, by sentences that are neither its pool nor test.

    python benchmarks/text_recipe.py

The chapter's own functions fine-tune on draws of docstrings from the pool, at each rate on the same
draws, and are judged on the sentences to look at, so that the test part decides nothing.
"""

from __future__ import annotations

import ast
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from vaetl_helpers import text
from vaetl_helpers.exercises import get
from vaetl_helpers.study.draws import draw_labels

SOURCE = Path(__file__).parents[1] / "course" / "source" / "04b_text_with_bert.py"
FUNCTIONS = ("fine_tune", "first_head", "shuffled_batches", "up_and_down")
RATES = (3e-5, 1e-4, 3e-4)
LABELS, DRAWS = 10, 3  # labels of each class, and draws of them


def chapters_functions(encoder: text.Encoder) -> dict[str, Any]:
    """The chapter's imports, its constants of the recipe and its functions of fine-tuning."""
    nodes = []
    for node in ast.parse(SOURCE.read_text("utf-8")).body:
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        is_function = getattr(node, "name", None) in FUNCTIONS
        is_recipe = isinstance(node, ast.Assign) and "PASSES" in ast.unparse(node.targets[0])
        if is_import or is_function or is_recipe:
            nodes.append(node)
    names: dict[str, Any] = {
        "encoder": encoder,
        "P": SimpleNamespace(device=torch.device("cpu"), profile="cpu"),
        "train_pass_checked": get("sentences.train_pass").reference,
    }
    exec(compile(ast.Module(nodes, []), SOURCE.name, "exec"), names)
    return names


def main() -> None:
    encoder = text.encoder()
    fine_tune = chapters_functions(encoder)["fine_tune"]
    data = text.load_text("docstrings")
    look = data.validation.first(100)
    found: dict[float, list[float]] = {rate: [] for rate in RATES}
    for draw in draw_labels(data.train.labels, LABELS, DRAWS, seed=1):
        labelled = data.train.subset(draw.indices)
        features = encoder.embed(labelled.texts)
        for rate in RATES:
            network, head, _ = fine_tune(labelled, features, rate, draw.seed)
            with torch.no_grad():
                right = head(network.embed(look.texts)).argmax(dim=1) == look.labels
            found[rate].append(100 * float(right.float().mean()))
            print(f"rate {rate:g}: {found[rate][-1]:.1f} % of {len(look)}", flush=True)
    for rate, accuracies in found.items():
        print(f"rate {rate:g}: mean {statistics.fmean(accuracies):.1f} %")


if __name__ == "__main__":
    main()
