"""The best of several methods, chosen on validation draw by draw, as a method of its own."""

from __future__ import annotations

from collections.abc import Sequence

from vaetl_helpers.study.table import SHARED, Table

CHOSEN_BY = "validation accuracy"
KEPT = ("test accuracy", CHOSEN_BY)  # the metrics of the method that is made


def add_best(table: Table, name: str, methods: Sequence[str]) -> None:
    """Adds to a table the method `name`: in each draw the one of `methods` that is best.

    The best is that with the highest validation accuracy, the first of equals; the test images
    choose nothing.
    """
    for labels in table.known("labels"):
        scores = {method: table.values(method, CHOSEN_BY, labels) for method in methods}
        draws = set.intersection(*(set(by_draw) for by_draw in scores.values()))
        rows = []
        for draw in sorted(draws):
            chosen = max(methods, key=lambda method: scores[method][draw])
            rows += _as(name, chosen, table, labels, draw)
        table.add(rows)


def _as(name: str, chosen: str, table: Table, labels: int, draw: int) -> list[dict[str, object]]:
    """The rows of the chosen run under the new name; its values by image go to the table."""
    frame = table.frame
    is_run = (frame["method"] == chosen) & (frame["labels"] == labels) & (frame["draw"] == draw)
    rows: list[dict[str, object]] = []
    for row in frame[is_run].to_dict("records"):
        is_kept = row["metric"] in KEPT or row["metric"] == SHARED
        if is_kept:
            rows.append(row | {"method": name})
    for metric in KEPT:
        values = table.images.get((chosen, labels, draw, metric))
        if values is not None:
            table.images[name, labels, draw, metric] = values
    return rows
