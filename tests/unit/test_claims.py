"""The claims ledger: every row from a record, verdicts by hand, words and figure that follow the
verdict.
"""

import json
import re
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import yaml
from matplotlib.colors import to_hex

from vaetl_helpers import claims, plots, recorded
from vaetl_helpers.app import cli, ledger_text
from vaetl_helpers.app.ledger_text import sentence, shown, text
from vaetl_helpers.chapters import collect
from vaetl_helpers.claims import CONTRACT, Row, comparisons, ledger
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import record, value_text

VERDICTS = ("supported", "contradicted", "no gain", "undecided")
SOURCE, OTHER, M1 = (
    "digits 0–4 → 5–9, embedded",
    "MNIST → Fashion-MNIST, embedded",
    "MNIST, embedded",
)
ACCURACY = "05/accuracy/fine_tuned-scratch/100"
PROBE = "05/accuracy/probe_mu-raw_pixels/100"
EXCESS = "05/overfitting/scratch-fine_tuned/100"
LABELS = "05/labels/scratch-fine_tuned/100"
STEPS = "05/steps/scratch-fine_tuned/100"
T9 = 2.2621571628540993  # Student's t at 0.975 with 9 degrees of freedom


def made(
    id: str,
    value: Any,
    low: Any,
    high: Any,
    unit: str = "points",
    data: str | None = SOURCE,
    n: Any = 10,
    **more: Any,
) -> dict:
    """A record with a small standard error, so that its interval alone decides."""
    record = {"id": id, "name": "a name that nobody reads", "value": value, "unit": unit}
    record |= {"low": low, "high": high, "n": n, "data": data, "se": 1e-9, "df": 9.0}
    return record | more


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose recorded runs are in a folder of the test, at first none."""
    (tmp_path / "recorded").mkdir()
    monkeypatch.setattr(recorded, "__file__", str(tmp_path / "recorded.py"))
    return tmp_path / "recorded"


def keep(folder: Path, name: str, *records: dict) -> None:
    (folder / name).write_text(
        json.dumps({"machine": "m", "date": "2026-01-01", "records": records}), "utf-8"
    )


def run_of(folder: Path, *records: dict, **more: Any) -> Path:
    """A folder as `vaetl run` leaves it."""
    folder.mkdir(exist_ok=True)
    content = {"run": {}, "chapters": {}, "records": records, "receipts": []} | more
    (folder / "metrics.json").write_text(json.dumps(content), "utf-8")
    return folder


def recorded_ledger(folder: Path, records: list[dict]) -> list[Row]:
    """The ledger of a package that has recorded just these."""
    keep(folder, "05_all.json", *records)
    return ledger()


def only(rows: list[Row], measure: str = "") -> Row:
    (row,) = [r for r in rows if measure in r.measure]
    return row


# ---------------------------------------------------------------- claims.yaml


def test_margins_and_claims_are_those_of_the_contract() -> None:
    assert claims.CONTRACT["margins"] == {"points": 1, "nats": 0.05, "times": 1.1, "tasks": 1.1}
    of_second_article = ["overfitting", "efficiency", "fewer_labels", "performance"]
    of_first_article = ["transfer", "cost", "acceleration"]
    known = [*of_second_article, "invention", "strangers", *of_first_article]
    assert list(claims.CONTRACT["claims"]) == known


@pytest.mark.parametrize("claim", claims.CONTRACT["claims"])
def test_every_claim_and_row_is_well_formed(claim: str) -> None:
    entry = claims.CONTRACT["claims"][claim]
    assert entry["article"] in ("first", "second", "neither")
    assert entry["sentence"] and entry["text"].endswith(".")
    assert "original" not in entry or entry["original"] != entry["sentence"]
    required = {"id", "data", "measure", "primary"}
    for spec in entry["rows"]:
        assert required <= set(spec) <= required | {"labels"}, spec
        assert ("{n}" in spec["measure"]) == ("labels" in spec), spec
        if spec["primary"] not in (True, False):
            assert set(spec["primary"]) <= set(spec["data"]), (
                "a primary data set that the row does not have"
            )
    own = [each for each in comparisons() if each.claim == claim]
    for of_row in ("measure", "id"):
        answers = {(each.data_name, getattr(each, of_row)) for each in own}
        assert len(own) == len(answers), "two rows that cannot be told apart"
    for each in own:
        assert len(each.measure) <= 80 and "{" not in each.measure
        assert re.fullmatch(r"\d\db?(/[a-z0-9_.]+(-[a-z0-9_.]+)?)+", each.id)


@pytest.mark.parametrize("chapter", ["01c", "02", "03a", "04a", "05", "05a"])
def test_the_sentences_are_those_that_the_chapters_quote(chapter: str) -> None:
    (source,) = (Path(__file__).parents[2] / "course" / "source").glob(f"{chapter}_*.py")
    told = " ".join(source.read_text("utf-8").replace("\n#", " ").split())
    quoted = {
        "01c": ["cost"],
        "02": ["acceleration"],
        "03a": ["invention"],
        "03c": ["strangers"],
        "04a": ["transfer"],
        "05": ["performance"],
    }
    of_vaes = ["overfitting", "efficiency", "fewer_labels", "performance"]
    for claim in quoted.get(chapter, of_vaes):
        assert claims.CONTRACT["claims"][claim]["sentence"] in told


def test_one_primary_comparison_a_claim_and_data_set() -> None:
    counts = Counter((each.claim, each.data_name) for each in comparisons() if each.primary)
    assert set(counts.values()) == {1}
    sources = {data for group in ("source", "pairs") for data in claims.CONTRACT["data"][group]}
    for claim in ("overfitting", "efficiency", "fewer_labels", "performance"):
        assert {data for name, data in counts if name == claim} == sources, (
            "source → target, and nothing else"
        )
    chapter_4 = {"pullover/coat → pullover/shirt", "dog/cat → dog/fox"}
    assert {data for name, data in counts if name == "transfer"} == chapter_4
    of_mnist = [each for each in comparisons() if each.primary and "→ MNIST" in each.data_name]
    assert {each.id for each in of_mnist} == {ACCURACY, EXCESS, STEPS, LABELS}, "at 100 labels"


def test_every_data_set_has_its_four_rows() -> None:
    for group, n in (("source", 100), ("m1", 100), ("pairs", 20)):
        for data in claims.CONTRACT["data"][group]:
            there = {each.id for each in comparisons() if each.data == data}
            asked = {id.replace("100", str(n)) for id in (EXCESS, STEPS, ACCURACY)}
            assert asked | {LABELS} <= there
    for counts, groups in (((50, 100, 500), ("source", "m1")), ((20, 200), ("pairs",))):
        names = {data for group in groups for data in claims.CONTRACT["data"][group]}
        for id in (id.replace("100", str(n)) for id in (EXCESS, ACCURACY) for n in counts):
            assert names == {each.data for each in comparisons() if each.id == id}, id


@pytest.mark.parametrize("chapter", ["01", "02", "03", "04", "05"])
def test_what_the_ledger_names_is_recorded(chapter: str) -> None:
    asked = [
        (each.id, each.data)
        for each in comparisons()
        if each.id.startswith(f"{chapter}/")
        and "cuda" not in each.id
        and "embedded" not in each.data
    ]
    known = {(r["id"], r["data"] or "") for r in recorded.recorded_records()}
    # The small network's supervised pretraining was recorded for the first source of a target only.
    assert asked and not [key for key in asked if key not in known]


def test_recorded_ids_are_plain_and_tell_records_apart() -> None:
    for path in sorted((Path(claims.__file__).parent / "recorded").glob("*.json")):
        run = json.loads(path.read_text("utf-8"))
        keys = [(record["id"], record["data"]) for record in run["records"]]
        assert len(set(keys)) == len(keys), path.name
        for id, _ in keys:
            # A part of a chapter that once was one, such as 01b, keeps the ids of the chapter.
            number = path.name.split("_")[0]
            assert re.fullmatch(r"[a-z0-9_./-]+", id)
            assert id.partition("/")[0] in (number, number[:2])


def test_the_numbers_of_the_text_are_recorded_by_the_same_ids() -> None:
    bands = yaml.safe_load(Path(claims.__file__).with_name("expected.yaml").read_text("utf-8"))
    known = {record["id"] for record in recorded.recorded_records()}
    # 4d's bands are of a simulation that `cpu` runs as a whole, and 5b runs its bars in `cpu`.
    only_live = re.compile(r"04d/|05b/bars/")
    quoted = {id for by_id in bands.values() for id in by_id if not only_live.match(id)}
    assert quoted <= known
    for chapter, by_id in bands.items():
        for id in by_id:
            assert id[:2] == chapter[:2], "a sitting keeps the ids of the chapter it was part of"


def test_the_package_has_rows_of_every_earlier_chapter_and_of_no_run() -> None:
    rows = ledger()
    assert {"transfer", "cost", "acceleration"} <= {row.claim for row in rows}
    assert {row.source for row in rows} == {"recorded"}
    kept = recorded.recorded_value("04", "04/flops/scratch-fine_tuned/10_a_class", "animals")
    row = only(
        [r for r in rows if r.data == "dog/cat → dog/fox"],
        "FLOPs of fine-tuning to an accuracy that both reach, 10 ",
    )
    numbers = [kept[key] for key in ("value", "low", "high", "n")]
    assert [row.effect, row.low, row.high, row.n] == numbers


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    "unit, value, low, high, n, verdict",
    [
        ("points", 2.1, 0.4, 3.8, 10, "supported"),
        ("points", 0.3, 0.1, 0.5, 10, "no gain"),  # above 0, and not worth having
        ("points", -2.1, -3.8, -0.4, 10, "contradicted"),
        ("points", 0.2, -0.6, 0.9, 10, "no gain"),
        ("points", 0.2, -0.6, 1.0, 10, "undecided"),  # ends on the margin
        ("points", 0.6, -0.9, 2.0, 10, "undecided"),
        ("points", 1.0, 0.0, 2.0, 10, "undecided"),  # ends on 0
        ("points", 2.1, 0.4, 3.8, 5, "supported"),
        ("points", 2.1, 0.4, 3.8, 4, "undecided"),
        ("points", 0.0, -0.5, 0.5, 4, "undecided"),
        ("points", 2.1, 0.4, 3.8, None, "undecided"),
        ("points", 2.1, None, None, 10, "undecided"),
        ("points", 2.1, 0.4, None, 10, "supported"),
        ("points", 2.1, None, 3.8, 10, "undecided"),
        ("points", -2.1, None, -0.4, 10, "contradicted"),
        (
            "points",
            5.0,
            0.4,
            3.8,
            10,
            "undecided",
        ),  # an interval that its effect is not in says nothing
        ("nats", 0.3, 0.1, 0.5, 10, "supported"),
        ("nats", 0.01, -0.02, 0.04, 10, "no gain"),
        ("nats", 0.01, -0.02, 0.06, 10, "undecided"),
        ("times", 2.3, 1.2, 4.4, 10, "supported"),
        ("times", 0.4, 0.2, 0.8, 10, "contradicted"),
        ("times", 1.01, 0.95, 1.07, 10, "no gain"),
        ("times", 1.01, 0.90, 1.07, 10, "undecided"),  # 1/1.1 = 0.909
        ("times", 1.01, 0.95, 1.11, 10, "undecided"),
        ("times", 2.0, 0.5, 8.0, 10, "undecided"),
        ("times", 2.0, 1.5, None, 10, "supported"),
        ("times", 2.0, None, 3.0, 10, "undecided"),
        ("times", 2.0, 0.0, 3.0, 10, "undecided"),  # chapter 4 wrote an open end as 0
        ("times", 0.5, None, 0.8, 10, "contradicted"),
        ("times", 0.5, 0.0, 0.8, 10, "contradicted"),
        ("times", 0.5, 0.3, None, 10, "undecided"),
        ("times", 0.0, 0.0, 3.0, 10, "undecided"),
        ("times", 2.0, None, None, 10, "undecided"),
        ("tasks", 300.0, 180.0, 640.0, 10, "contradicted"),
        ("tasks", 300.0, 180.0, None, 10, "contradicted"),
        ("tasks", 0.5, 0.2, 0.8, 10, "supported"),
        ("tasks", 0.5, 0.2, None, 10, "undecided"),
        ("tasks", 3.0, 0.2, 8.0, 10, "undecided"),
    ],
)
def test_verdicts_by_hand(
    kept: Path, unit: str, value: Any, low: Any, high: Any, n: Any, verdict: str
) -> None:
    row = only(recorded_ledger(kept, [made(PROBE, value, low, high, unit, n=n)]))
    assert (row.verdict, row.primary, row.unit, row.n) == (verdict, False, unit, n or 0)
    assert str(row.verdict if verdict != "undecided" else "not decided") in sentence(row)
    alone = only(recorded_ledger(kept, [made(ACCURACY, value, low, high, unit, n=n)]))
    assert (alone.verdict, alone.primary) == (verdict, True), (
        "alone, a primary comparison has nothing to adjust"
    )
    live, _ = ledger(records=[made(ACCURACY, value, low, high, unit, n=n)])
    assert (live.source, live.verdict, live.primary) == ("live", "in this run", False)


@pytest.mark.parametrize(
    "value, low, high",
    [
        (float("nan"), 1.0, 2.0),
        (None, 1.0, 2.0),
        ("NaN", 1.0, 2.0),
        (1.0, float("nan"), float("inf")),
    ],
)
def test_what_is_not_a_number_is_null_and_decides_nothing(
    kept: Path, value: Any, low: Any, high: Any
) -> None:
    row = only(recorded_ledger(kept, [made(ACCURACY, value, low, high)]))
    assert row.verdict == "undecided"
    json.dumps(asdict(row), allow_nan=False)


def test_p_is_the_records_own(kept: Path) -> None:
    """The same interval, from a standard error with other degrees of freedom."""
    certain = made(ACCURACY, 2.1, 0.4, 3.8, se=0.75, df=9.0)
    assert only(recorded_ledger(kept, [certain])).verdict == "supported"
    for unsure in ({"se": 1.2}, {"se": None}, {"df": None}, {"df": 1.0}):
        row = only(recorded_ledger(kept, [certain | unsure]))
        assert (row.verdict, row.low) == ("undecided", 0.4), unsure
    exploratory = certain | {"id": PROBE, "se": None}
    assert only(recorded_ledger(kept, [exploratory])).verdict == "supported", "needs no p value"


def test_holm_is_over_the_primary_rows_alone(kept: Path) -> None:
    def at(t: float, id: str = ACCURACY, data: str = SOURCE) -> dict:
        return made(id, t, t - T9, t + T9, data=data, se=1.0)

    # Of t values at 9 degrees of freedom: p = 0.030 for 2.57, 0.020 for 2.82; each below 0.05.
    weak, strong = at(2.57), at(2.82, data=OTHER)
    assert only(recorded_ledger(kept, [weak])).verdict == "supported"
    pair = [weak, strong]
    assert [row.verdict for row in recorded_ledger(kept, pair)] == [
        "supported"
    ] * 2  # 0.040 and 0.030
    with_m1 = recorded_ledger(kept, [*pair, at(2.82, data=M1)])
    assert [row.verdict for row in with_m1] == ["supported"] * 3
    third = at(2.57, data="Fashion-MNIST → MNIST, embedded")
    rows = recorded_ledger(kept, [*pair, third])  # 0.060 for the smallest p, and so for all
    assert [row.verdict for row in rows] == ["undecided"] * 3 and all(row.primary for row in rows)
    assert "not enough among the comparisons of this claim (Holm)" in sentence(rows[0])
    of_another_claim = made(EXCESS, 2.0, None, None, "nats")
    verdicts = {row.verdict for row in recorded_ledger(kept, [*pair, of_another_claim])}
    assert verdicts == {"supported", "undecided"}, "each claim is a family of its own"
    empty = made(ACCURACY, 2.0, None, None, data="Fashion-MNIST → MNIST, embedded")
    assert [row.verdict for row in recorded_ledger(kept, [*pair, empty])] == ["undecided"] * 3, (
        "it counts as p = 1"
    )
    more = [at(2.57, PROBE), at(2.82, PROBE, OTHER), at(2.57, PROBE, M1)]
    assert [row.verdict for row in recorded_ledger(kept, more)] == ["supported"] * 3, (
        "exploratory rows are not adjusted"
    )
    assert not any(row.primary for row in recorded_ledger(kept, more))


# ---------------------------------------------------------------- where the rows come from


def test_a_row_is_its_record(kept: Path, tmp_path: Path) -> None:
    something = made("05/something/else", 1.0, 0.5, 1.5)
    run = run_of(tmp_path / "run", made(ACCURACY, 2.1, 0.4, 3.8), something)
    row = only(ledger(run))
    measure = "test accuracy of the fine-tuned VAE against scratch, 100 labels"
    assert asdict(row) == {
        "claim": "performance",
        "data": SOURCE,
        "unit": "points",
        "effect": 2.1,
        "low": 0.4,
        "high": 3.8,
        "n": 10,
        "measure": measure,
        "question": measure,
        "conditional": (),
        "id": ACCURACY,
        "verdict": "in this run",
        "source": "live",
        "primary": False,
        "se": 1e-09,
        "df": 9.0,
    }
    run_of(run, made(ACCURACY, -2.1, -3.8, -0.4, n=12))
    row = only(ledger(run))
    assert (row.effect, row.low, row.high, row.n) == (-2.1, -3.8, -0.4, 12)
    assert "in this run: −2.1 points [−3.8, −0.4] (n = 12, live)" in sentence(row)


def test_a_notebooks_own_records_are_live(kept: Path) -> None:
    collected = record("any name", 2.1, "points", id=ACCURACY, low=0.4, high=3.8, n=10, data=SOURCE)
    assert only(ledger(records=[collected])).source == "live"
    other_chapter = collected | {"id": ACCURACY.replace("05/", "04/")}
    without_id = {key: collected[key] for key in collected if key != "id"}
    for unknown in (other_chapter, without_id, collected | {"id": None}):
        assert ledger(records=[unknown]) == []
    for data in (SOURCE[:-3], f"{SOURCE} differently", f"{SOURCE}, some censored", "", None):
        assert ledger(records=[collected | {"data": data}]) == [], "of other data"


def test_of_live_and_recorded_the_recorded_row_is_primary(kept: Path) -> None:
    live, older = made(ACCURACY, 2.1, 0.4, 3.8), made(ACCURACY, 1.0, -0.5, 2.5)
    assert not only(ledger(records=[live])).primary
    keep(kept, "05_vae_transfer_learning.json", older, made(ACCURACY, 1.0, -0.5, 2.5, data=OTHER))
    rows = ledger(records=[live])
    assert [(r.data, r.source, r.primary, r.effect, r.verdict) for r in rows] == [
        (SOURCE, "live", False, 2.1, "in this run"),
        (SOURCE, "recorded", True, 1.0, "undecided"),
        (OTHER, "recorded", True, 1.0, "undecided"),
    ]


def test_all_recorded_files_are_read_and_tables_are_not(kept: Path) -> None:
    flops = "04/flops/scratch-fine_tuned/10_a_class"
    keep(kept, "04_x_tops.json", made(flops, 9.0, 3.0, 27.0, "times", "tops"))
    keep(kept, "04_x_animals.json", made(flops, 2.0, None, 8.0, "times", "animals"))
    (kept / "04_x.csv").write_text("not,json\n")
    assert [(r.data, r.effect, r.low, r.verdict) for r in ledger()] == [
        ("pullover/coat → pullover/shirt", 9.0, 3.0, "supported"),
        ("dog/cat → dog/fox", 2.0, None, "undecided"),
    ]


def test_a_conditional_interval_says_so(kept: Path) -> None:
    noted = made(ACCURACY, 2.1, 0.4, 3.8, conditional=["these 3 pretrained models"])
    row = only(ledger(records=[noted]))
    question = "test accuracy of the fine-tuned VAE against scratch, 100 labels"
    assert row.data == SOURCE and row.question == question
    assert row.measure == f"{question}, conditional on these 3 pretrained models"
    assert f"  {row.measure}" not in text([row]).split("not measured")[-1]
    missing = ledger_text.unmeasured([row], "performance")
    at = [number for number, line in enumerate(missing) if line == f"  {question}"]
    assert at, "it lacks on other data"
    for number in at:
        assert not missing[number - 1].startswith(f"not measured: {SOURCE}")


def test_a_record_that_came_twice_counts_once_with_its_last_value(kept: Path) -> None:
    row = only(ledger(records=[made(ACCURACY, 9.0, 8.0, 10.0), made(ACCURACY, 2.1, 0.4, 3.8)]))
    assert row.effect == 2.1


def test_without_any_record_there_is_no_row(kept: Path, tmp_path: Path) -> None:
    assert ledger() == ledger(run_of(tmp_path / "run")) == ledger(records=[]) == []
    said = text([])
    assert said.count("not measured: ") >= len(claims.CONTRACT["claims"])
    for each in comparisons():
        assert f"  {each.measure}" in said.splitlines() and each.data_name in said


def test_a_run_without_chapter_5_still_gives_the_others(kept: Path, tmp_path: Path) -> None:
    lever = made("02/levers/vae/resident", 2.3, 2.0, 2.6, "times", None, 5)
    gpu = made("02/speedup/cuda/width_1024/batch_4096", 40.0, None, None, "times", None, None)
    slope = made("01/proportion/images", 0.96, 0.9, 1.1, "times", "this machine", 5)
    failed = {"05": {"status": "failed"}}
    rows = ledger(run_of(tmp_path / "run", lever, gpu, slope, chapters=failed))
    assert [(r.claim, r.data, r.verdict, r.n, r.primary) for r in rows] == [
        ("cost", "machine of the run", "in this run", 5, False),
        ("acceleration", "machine of the run", "in this run", 0, False),
        ("acceleration", "machine of the run", "in this run", 5, False),
    ]


def bad_runs() -> dict[str, Any]:
    return {
        "nothing": None,
        "not json": "{",
        "no records": "{}",
        "a list": "[]",
        "records of text": '{"records": ["a"]}',
    }


@pytest.mark.parametrize("content", bad_runs().values(), ids=list(bad_runs()))
def test_a_folder_that_is_no_run_is_refused(
    kept: Path, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(
        CourseError, match="holds no readable metrics.json: name a folder that `vaetl run` wrote"
    ):
        ledger(tmp_path)


def test_a_cpu_run_on_embedded_data_has_at_least_twelve_rows(kept: Path) -> None:
    records = [
        made(ACCURACY.replace("100", str(n)), 2.0, 1.0, 3.0, data=data)
        for data in (SOURCE, M1, "Fashion-MNIST, embedded")
        for n in (50, 100, 500)
    ]
    records += [
        made(EXCESS, 0.3, 0.1, 0.5, "nats", data)
        for data in (SOURCE, M1, "Fashion-MNIST, embedded")
    ]
    rows = ledger(records=records)
    assert len(rows) == 12 and {row.data for row in rows} == {
        SOURCE,
        M1,
        "Fashion-MNIST, embedded",
    }


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    "name, unit, effect, low, high, n, told",
    [
        (
            PROBE,
            "points",
            2.1,
            0.4,
            3.8,
            10,
            "supported: better by 2.1 points [0.4, 3.8] (n = 10, recorded).",
        ),
        (
            PROBE,
            "points",
            -2.1,
            -3.8,
            -0.4,
            10,
            "contradicted: worse by 2.1 points [0.4, 3.8] (n = 10, recorded).",
        ),
        (
            PROBE,
            "points",
            0.2,
            -0.6,
            0.9,
            10,
            "no gain worth a point: 0.2 points [−0.6, 0.9] (n = 10, recorded).",
        ),
        (
            PROBE,
            "points",
            0.6,
            -0.9,
            2.0,
            10,
            "not decided: 0.6 points [−0.9, 2.0], and the interval holds 0 (n = 10,",
        ),
        (
            PROBE,
            "points",
            2.1,
            0.4,
            3.8,
            4,
            "not decided: 2.1 points [0.4, 3.8], from fewer than 5 repeats (n = 4, recorded).",
        ),
        (
            PROBE,
            "points",
            1.0,
            0.0,
            2.0,
            10,
            "not decided: 1 points [0, 2], and the interval holds 0",
        ),
        (
            PROBE,
            "points",
            -1.0,
            -2.0,
            0.0,
            10,
            "not decided: −1 points [−2, 0], and the interval holds 0",
        ),
        (
            PROBE,
            "points",
            2.1,
            None,
            None,
            9,
            "not decided: 2.1 points, without an interval (n = 9, recorded).",
        ),
        (PROBE, "points", None, 0.4, 3.8, 9, "not decided: no number, "),
        (PROBE, "nats", 0.01, -0.02, 0.04, 10, "no gain worth 0.05 nats: 0.01 nats [−0.02, 0.04]"),
        (STEPS, "times", 2.3, 1.2, 4.4, 10, "supported: 2.3 times less [1.2, 4.4]"),
        (STEPS, "times", 0.4, 0.2, 0.8, 10, "contradicted: 2.50 times more [1.25, 5.00]"),
        (
            STEPS,
            "times",
            1.01,
            0.95,
            1.07,
            10,
            "no gain worth 1.1 times: 1.01 times [0.95, 1.07]",
        ),
        (
            STEPS,
            "times",
            2.0,
            0.5,
            8.0,
            10,
            "not decided: 2.0 times [0.5, 8.0], and the interval holds 1",
        ),
        (LABELS, "times", 2.0, 1.5, None, 10, "supported: at least 2.0 times less [1.5, open]"),
        (
            LABELS,
            "times",
            0.5,
            None,
            0.8,
            10,
            "contradicted: at least 2.00 times more [1.25, open]",
        ),
        (
            LABELS,
            "times",
            2.0,
            None,
            3.0,
            10,
            "not decided: at most 2 times [open, 3], and the interval holds 1",
        ),
    ],
)
def test_sentences(
    kept: Path, name: str, unit: str, effect: Any, low: Any, high: Any, n: int, told: str
) -> None:
    row = only(recorded_ledger(kept, [made(name, effect, low, high, unit, M1, n)]))
    assert sentence(row).startswith(f"{M1}, {row.measure}: ") and told in sentence(row)
    assert sentence(row).endswith(").") and "None" not in sentence(row)


def test_an_effect_that_is_open_at_both_ends_is_unknown(kept: Path) -> None:
    """Some runs are bounds from below and some from above, so that the mean says nothing."""
    unknown = made(LABELS, 1.35, None, None, "times", M1, se=0.1)
    row = only(recorded_ledger(kept, [unknown]))
    assert shown(row) == "unknown" and row.verdict == "undecided"
    assert "not decided: unknown, because it is open at both ends" in sentence(row)
    assert value_text(unknown) == "unknown"
    keep(kept, "05_all.json", unknown | {"se": None})
    assert shown(only(ledger())) == "1.35 times", "measured once, which is no effect"


def test_a_claim_is_told_as_our_summary_with_the_articles_own_words(kept: Path) -> None:
    told = text([])
    for entry in CONTRACT["claims"].values():
        if entry["article"] != "neither":
            assert f'in our summary: "{entry["sentence"]}"' in told
        if "original" in entry:
            assert f'(its words: "{entry["original"]}", which is "{entry["translation"]}")' in told


def test_the_words_of_ratios_are_those_of_their_claim(kept: Path) -> None:
    twice = only(ledger(records=[made(STEPS, 2.0, 1.5, 2.5, "times")]))
    told = {
        "efficiency": "2.0 times less",
        "invention": "2.0 times closer",
        "fewer_labels": "2.0 times less",
        "transfer": "2.0 times less",
        "cost": "2.0 times as long",
        "acceleration": "2.0 times as fast",
    }
    for claim, words in told.items():
        row = replace(twice, claim=claim, verdict="supported")
        assert f"supported: {words} [1.5, 2.5]" in sentence(row)
    slower = replace(twice, claim="acceleration", effect=0.5, low=0.4, high=0.8)
    slower = replace(slower, verdict="contradicted")
    assert "contradicted: 2.00 times as slow [1.25, 2.50]" in sentence(slower)
    repaid = replace(twice, claim="transfer", unit="tasks", effect=1234.5, low=180.0, high=None)
    told = sentence(replace(repaid, verdict="contradicted"))
    assert "contradicted: 1,230 tasks [180, open]" in told


def test_the_words_of_differences_are_those_of_their_claim(kept: Path) -> None:
    cheaper = only(ledger(records=[made(ACCURACY, -48.0, -49.0, -47.0, "nats")]))
    row = replace(cheaper, claim="strangers", verdict="contradicted")
    assert "contradicted: cheaper by 48 nats [47, 49]" in sentence(row)
    row = replace(row, effect=647.0, low=610.0, high=685.0, verdict="supported")
    assert "supported: dearer by 647 nats [610, 685]" in sentence(row)
    assert "worse by 48 nats" in sentence(replace(cheaper, verdict="contradicted"))


def test_strangers_are_dearer_to_one_vae_and_cheaper_to_the_other() -> None:
    rows = {row.data: row for row in ledger() if row.claim == "strangers"}
    assert rows["MNIST, embedded"].verdict == "supported"
    assert rows["Fashion-MNIST, embedded"].verdict == "contradicted"
    assert not any(row.primary for row in rows.values()), "their runs came before their rows"


def test_every_recorded_row_reads_as_a_sentence() -> None:
    for row in ledger():
        told = sentence(row)
        assert told.count(": ") >= 2 and not {"None", "nan", "{", "which  "} & set(told.split()), (
            told
        )


def test_the_table_groups_rows_by_claim_and_tells_the_rules(kept: Path) -> None:
    records = [
        made(ACCURACY, 2.1, 0.4, 3.8),
        made(STEPS, 0.1, 0.05, 0.2, "times"),
        made(EXCESS, 0.3, 0.1, None, "nats"),
    ]
    said = text(recorded_ledger(kept, records))
    parts = {
        line.partition(":")[0]: number
        for number, line in enumerate(said.splitlines())
        if line[:1].isalpha()
    }
    assert (
        parts["overfitting"]
        < parts["efficiency"]
        < parts["performance"]
        < parts["transfer"]
        < parts["cost"]
    )
    (line,) = [line for line in said.splitlines() if "2.1 points [0.4, 3.8]" in line]
    assert line.startswith(SOURCE) and line.split()[-4:] == [
        "10",
        "supported",
        "recorded",
        "primary",
    ]
    for claim in claims.CONTRACT["claims"].values():
        assert said.count(f'"{claim["sentence"]}"') == 1
    assert "points 1, nats 0.05, times 1.1" in said and "(Holm)" in said
    assert "at least 0.3 nats [0.1, open]" in said


# ---------------------------------------------------------------- figure


@pytest.fixture
def every_kind(kept: Path) -> list[Row]:
    """Rows of every verdict, unit, source and kind of interval."""
    keep(
        kept,
        "05_x.json",
        made(PROBE, -2.0, -3.0, -1.0, data=OTHER),
        made(ACCURACY, 0.1, -0.5, 0.8, data=OTHER),
        made(ACCURACY, 2.1, 0.4, 3.8),
        made(PROBE, 0.5, -1.0, 2.0),
        made(PROBE, None, None, None, data=M1),
        made(EXCESS, 0.3, 0.1, 0.5, "nats"),
        made(LABELS, 2.0, 1.5, None, "times"),
    )
    live = [
        made(ACCURACY, 1.0, 0.5, 1.5, data=M1, n=3),
        made(STEPS, 2.0, None, 3.0, "times"),
        made(LABELS, 0.1, 0.05, 0.2, "times"),
    ]
    rows = ledger(records=live)
    assert {row.verdict for row in rows} == {*VERDICTS, "in this run"}
    repaid = replace(rows[0], unit="tasks", effect=30.0, low=9.0, high=None)
    return [*rows, replace(repaid, verdict="contradicted")]


def marks(axis: Any, row: Row, y: int) -> list[Any]:
    """The mark of a row's effect."""
    marker, colour = plots.VERDICTS[row["verdict"]]
    return [
        line
        for line in axis.lines
        if list(line.get_ydata()) == [y]
        and line.get_marker() == marker
        and list(line.get_xdata()) == [row["effect"]]
        and to_hex(line.get_color()) == colour.lower()
    ]


def forest(rows: list[Row], title: str, alt: str) -> list[Any]:
    """The forest plot as chapter 5 draws it."""
    return plots.forest(rows, title, alt, claims.CONTRACT["margins"], claims.RATIOS)


def test_the_forest_has_every_row_by_unit(every_kind: list[Row]) -> None:
    axes = forest(every_kind, "The ledger", "What it shows.")
    figure = axes[0].figure
    assert (
        plots.alt_text(figure) == "What it shows." and figure._suptitle.get_text() == "The ledger"
    )
    units = list(dict.fromkeys(row["unit"] for row in every_kind))
    assert [axis.get_xlabel().split()[0].strip(",") for axis in axes] == units
    for axis, unit in zip(axes, units, strict=True):
        own = [row for row in every_kind if row["unit"] == unit]
        names = [label.get_text() for label in axis.get_yticklabels()]
        assert len(names) == len(own) and axis.get_xscale() == (
            "log" if unit in ("times", "tasks") else "linear"
        )
        for y, (row, name) in enumerate(zip(own, names, strict=True)):
            words = " ".join(name.split())
            assert words.startswith(f"{row['claim']}: {row['data']} ({row['source']}) ")
            assert words.endswith(row["measure"])
            (mark,) = marks(axis, row, y) if row["effect"] is not None else [None]
            assert not mark or (to_hex(mark.get_markerfacecolor()) == "#ffffff") == (
                not row["primary"]
            )
    plt.close(figure)


def test_the_forest_shows_open_ends_null_margin_and_key(every_kind: list[Row]) -> None:
    axes = forest(every_kind, "The ledger", "alt")
    figure, units = axes[0].figure, list(dict.fromkeys(row["unit"] for row in every_kind))
    for axis, unit in zip(axes, units, strict=True):
        own = [row for row in every_kind if row["unit"] == unit]
        left, right = axis.get_xlim()
        for y, row in enumerate(own):
            arrows = {
                line.get_marker(): line.get_xdata()[0]
                for line in axis.lines
                if list(line.get_ydata()) == [y] and line.get_marker() in "<>"
            }
            bounded = (row["low"], row["high"])
            expected = (
                {"<": left} if bounded[0] is None else {">": right} if bounded[1] is None else {}
            )
            assert arrows == ({} if bounded == (None, None) else expected), row
            drawn = [line for line in axis.lines if list(line.get_ydata()) == [y, y]]
            ends = [
                left if bounded[0] is None else bounded[0],
                right if bounded[1] is None else bounded[1],
            ]
            assert [list(line.get_xdata()) for line in drawn] == (
                [] if bounded == (None, None) else [ends]
            )
        null, margin = int(unit in claims.RATIOS), claims.CONTRACT["margins"][unit]
        assert any(list(line.get_xdata()) == [null, null] for line in axis.lines)
        (band,) = axis.patches
        edges = band.get_x(), band.get_x() + band.get_width()
        assert edges == pytest.approx((1 / margin, margin) if null else (-margin, margin))
        assert ("left" in axis.get_xlabel()) == (unit == "tasks")
    (key,) = figure.legends
    assert [entry.get_text() for entry in key.get_texts()] == [
        *VERDICTS,
        "in this run",
        "primary",
        "exploratory",
        "open end",
    ]
    assert sum(note.get_text() == "no number" for axis in axes for note in axis.texts) == 1
    plt.close(figure)


def test_verdicts_differ_in_colour_and_in_mark() -> None:
    assert set(plots.VERDICTS) == {*VERDICTS, "in this run"}
    assert (
        len({mark for mark, _ in plots.VERDICTS.values()})
        == len({c for _, c in plots.VERDICTS.values()})
        == 5
    )


def test_forty_rows_stay_readable(every_kind: list[Row]) -> None:
    rows = (every_kind * 4)[:40]
    figure = forest(rows, "Many", "alt")[0].figure
    figure.canvas.draw()
    for axis in figure.axes:
        boxes = [label.get_window_extent() for label in axis.get_yticklabels()]
        assert all(box.x0 >= 0 for box in boxes), "a label is cut off"
        assert all(a.y0 >= b.y1 - 1 for a, b in zip(boxes, boxes[1:], strict=False)), (
            "labels overlap"
        )
        assert axis.get_window_extent().width > 0.35 * figure.bbox.width
        for label in [*axis.get_yticklabels(), *axis.texts]:
            assert label.get_fontsize() >= 9 and label.get_window_extent().x1 <= figure.bbox.x1
    plt.close(figure)


# ---------------------------------------------------------------- the command


def vaetl(*arguments: str) -> int:
    """The exit code of `vaetl ARGUMENTS`."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["vaetl", *arguments])
        cli.main()
    return ended.value.code or 0


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_the_command_prints_the_ledger(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = made(STEPS, float("nan"), float("nan"), float("inf"), "times")
    run = run_of(
        tmp_path / "run",
        made(ACCURACY, 2.1, 0.4, 3.8),
        broken,
        made(LABELS, 2.0, 1.5, None, "times"),
    )
    assert vaetl("claims", str(run), "--json") == 0
    rows = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert rows == [json_of(row) for row in ledger(run)] and len(rows) == 3
    fields = ["claim", "data", "measure", "effect", "unit", "low", "high", "n", "verdict"]
    assert all(list(row)[:9] == fields for row in rows)
    assert vaetl("claims", str(run)) == 0
    assert capsys.readouterr().out == text(ledger(run)) + "\n"


def json_of(row: Row) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(row)))


def test_the_command_without_a_run_shows_what_is_recorded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert vaetl("claims", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == [json_of(row) for row in ledger()]
    assert {row["source"] for row in rows} == {"recorded"}
    assert vaetl("claims") == 0
    said = capsys.readouterr().out
    assert "dog/cat → dog/fox" in said and "not measured: " in said


def test_a_wrong_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vaetl("claims", str(tmp_path / "nowhere"), "--json") == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("vaetl: ") and said.err.count("\n") == 1
    assert "nowhere holds no readable metrics.json" in said.err


def test_the_package_carries_the_contract() -> None:
    file = Path(claims.__file__).with_name("claims.yaml")
    assert file.parent == Path(claims.__file__).with_name("profiles.yaml").parent and file.exists()


# ---------------------------------------------------------------- the chapter's own run


def test_the_stored_run_has_its_rows_live() -> None:
    """The solved chapter 5 was executed in profile cpu on embedded data: what it measured, as the
    ledger sees it.
    """
    (solved,) = (Path(__file__).parents[2] / "course" / "solutions").glob("05_*.ipynb")
    records = collect(solved)["record"]
    live = [row for row in ledger(records=records) if row.source == "live"]
    assert len(live) >= 12 and all(row.n >= 8 for row in live)
    for data in ("digits 0–4 → 5–9, embedded",):
        said = " ".join(row.measure for row in live if row.data == data)
        for measure in (
            "loss on new images at equal training loss",
            "labels to the accuracy",
            "steps to an accuracy that both reach",
        ):
            assert measure in said, (data, measure)
        assert all(
            f"test accuracy of the fine-tuned VAE against scratch, {n} labels" in said
            for n in (50, 100)
        )
        assert "conditional on these 2 VAEs" in said
