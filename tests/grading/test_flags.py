"""Flags: what is copied, called or reached for is named; honest work has none, nothing crashes."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from vaetl_helpers.grading.flags import COPIED, MOST_CHARACTERS, flags

COURSE = Path(__file__).parents[2] / "course"
SETUP = """import torch
from vaetl_helpers import vae
from vaetl_helpers.exercises import check, hint, solution"""
KL = '''def kl(mu, log_var):
    """KL of each image in nats."""
    ### BEGIN SOLUTION
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)
    ### END SOLUTION'''
STUB = 'def kl(mu, log_var):\n    """KL of each image in nats."""\n    return ...  # your code'
ANSWER = "def kl(mu, log_var):\n    return "


def flags_of_kl(code: str, other_cells: Sequence[str] = ()) -> list[str]:
    """The flags of an answer to the exercise whose solution is KL."""
    return flags(code, KL, STUB, other_cells)


def sources(path: Path) -> tuple[list[str], dict[str, str]]:
    """The setup cells and the exercise cells of a notebook."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    start = next(
        i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", ())
    )
    text = next(i for i, cell in enumerate(cells) if i > start and cell["cell_type"] == "markdown")
    exercises = {
        cell["metadata"].get("vaetl", {}).get("exercise"): "".join(cell["source"]) for cell in cells
    }
    exercises.pop(None)
    return ["".join(cell["source"]) for cell in cells[start:text]], exercises


@pytest.mark.parametrize("path", sorted(COURSE.glob("*.ipynb")), ids=lambda path: path.stem)
def test_stubs_have_no_flags_and_solutions_only_the_first(path: Path) -> None:
    setup, stubs = sources(path)
    solutions = sources(COURSE / "solutions" / path.name)[1]
    for id in stubs:
        course = (solutions[id], stubs[id])
        other_stubs = [stub for other, stub in stubs.items() if other != id]
        assert flags(stubs[id], *course, [*setup, *other_stubs]) == []
        other_solutions = [solutions[other] for other in stubs if other != id]
        assert flags(solutions[id], *course, [*setup, *other_solutions]) == [COPIED], id


def test_a_copied_solution_is_found_under_other_names() -> None:
    copied = """
def divergence(m: "Tensor", s, *, unused=None) -> float:
    "Mine."
    half: float = 0.5  # a comment
    return half * (m - s)
"""
    published = (
        "def kl(mu, log_var, *, unused=None):\n    part = 0.5\n    return part * (mu - log_var)"
    )
    assert flags(copied, published, STUB) == [COPIED]
    assert flags(copied.replace("m - s", "s - m"), published, STUB) == []
    assert flags(copied.replace("0.5", "0.25"), published, STUB) == []


def test_constants_and_keywords_are_no_names() -> None:
    published = "def f(x):\n    dim = 1\n    if x:\n        return 'a'\n    return x.sum(dim=dim)"
    stub = "def f(x):\n    return ..."
    renamed = published.replace("dim = 1", "axis = 1").replace("=dim)", "=axis)")
    assert flags(renamed, published, stub) == [COPIED]
    assert flags(published.replace("'a'", "'b'"), published, stub) == []
    assert flags(published.replace("(dim=", "(axis="), published, stub) == []


@pytest.mark.parametrize(
    "code",
    [
        "vae.kl(mu, log_var)",
        "k(mu, log_var)",
        "wrapped(mu, log_var)",
        "helper(mu, log_var)",
        "lambda_(mu, log_var).sum()",
        "(lambda f=vae.kl: f(mu, log_var))()",
    ],
)
def test_the_counterpart_is_named_through_aliases_and_helpers(code: str) -> None:
    own = """k = vae.kl
wrapped = partial(k)
lambda_ = lambda a, b: k(a, b)
def helper(a, b):
    return vae.kl(a, b)"""
    assert flags_of_kl(ANSWER + code, [SETUP, own]) == ["uses vaetl_helpers.vae.kl"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import vaetl_helpers.vae as v\nv.kl", "vaetl_helpers.vae.kl"),
        ("import vaetl_helpers.vae\nvaetl_helpers.vae.kl", "vaetl_helpers.vae.kl"),
        ("from vaetl_helpers.vae import kl as mine", "vaetl_helpers.vae.kl"),
        ("from vaetl_helpers.vae import *", "vaetl_helpers.vae.*"),
        ("check('vae.kl', kl)", "vaetl_helpers.exercises.check"),
        ("solution('vae.kl')", "vaetl_helpers.exercises.solution"),
        ("name = 'vaetl_helpers.vae'", "vaetl_helpers (in a string)"),
        ("path = '/exercises/vae.kl'", "vaetl_helpers (in a string)"),
    ],
)
def test_imports_and_the_engine_are_named(line: str, named: str) -> None:
    assert flags_of_kl(f"{line}\n{ANSWER}1", [SETUP]) == [f"uses {named}"]


def test_a_star_import_elsewhere_is_named() -> None:
    assert flags_of_kl(f"{ANSWER}1", ["from vaetl_helpers.vae import *"]) == [
        "uses vaetl_helpers.vae.*"
    ]


def test_what_the_solution_uses_is_fair_unless_rebound() -> None:
    solution = "def f(x):\n    return study.mean_interval(check_me(x), open(x))"
    code = "def f(x):\n    return 2 * study.mean_interval(check_me(x), open(x))[0]"
    assert flags(code, solution, STUB, ["from vaetl_helpers import study"]) == []
    rebound = "from vaetl_helpers import study, vae\ncheck_me = vae.kl"
    assert flags(code, solution, STUB, [rebound]) == ["uses vaetl_helpers.vae.kl"]


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("import os\nos.system('ls')", "os.system"),
        ("eval('1')", "eval"),
        ("__import__('torch')", "__import__"),
        ("import subprocess as s\ns.run", "subprocess.run"),
        ("().__class__.__base__.__subclasses__()", "__subclasses__"),
        ("kl.__globals__", "__globals__"),
        ("import torch\ntorch.allclose = lambda *a, **k: True", "an assignment to torch.allclose"),
        ("import torch\nsetattr(torch, 'allclose', all)", "an assignment to torch"),
        ("get_ipython().kernel", "get_ipython"),
        ("!rm -rf /", "!rm -rf /"),
        ("  %time x = 1", "%time x = 1"),
        ("files = !ls", "files = !ls"),
    ],
)
def test_machinery_is_named(code: str, named: str) -> None:
    assert flags_of_kl(f"{code}\n{ANSWER}1") == [
        f"reaches for what an answer does not need: {named}"
    ]


def test_machinery_counts_in_a_helper_from_another_cell() -> None:
    helper = "import os\ndef helper(a):\n    return os.environ"
    said = ["reaches for what an answer does not need: os.environ"]
    assert flags_of_kl(f"{ANSWER}helper(mu)", [helper]) == said
    assert flags_of_kl(f"{ANSWER}mu", [helper]) == []


def test_the_rest_of_a_cell_with_magics_is_looked_at() -> None:
    said = flags_of_kl(f"%time\n{ANSWER}vae.kl(mu, log_var)\nx = !ls", [SETUP])
    assert said == [
        "uses vaetl_helpers.vae.kl",
        "reaches for what an answer does not need: %time, x = !ls",
    ]


def test_a_cell_of_another_language_is_named_by_its_first_line() -> None:
    assert flags_of_kl("%%bash\nrm -rf ((") == ["reaches for what an answer does not need: %%bash"]


@pytest.mark.parametrize(
    "code",
    [
        "def kl(mu, log_var):\n    sigma = (0.5 * log_var).exp()\n"
        "    return (mu**2 + sigma**2 - 1).sum(1) / 2",
        "import torch\n"
        + ANSWER
        + "torch.distributions.kl_divergence(N(mu, 1), N(0, 1)).sum(dim=1)",
        "def kl(vae, evaluate):\n    open = vae.exp()\n    return open.kl(evaluate)",
        "def kl(mu, model):\n    model.eval()\n    model.x = 1\n"
        "    setattr(model, 'x', 1)\n    return re.compile(1)",
        ANSWER + "reparameterise_checked(mu, kl_checked(mu, log_var), mu)",
        ANSWER + "(mu\n    % log_var)",
        ANSWER + "torch.zeros(3, device=P.device)",
        "class Mine:\n    def __init__(self, x):\n        self.x = x\n"
        + ANSWER
        + "Mine(mu).x + my(log_var)",
    ],
)
def test_honest_answers_have_no_flags(code: str) -> None:
    others = [
        SETUP,
        "from vaetl_helpers.training import evaluate, setup\nP = setup('03', seed=1)",
        "def my(x):\n    return torch.exp(x)",
    ]
    assert flags_of_kl(code, others) == []


@pytest.mark.parametrize(
    "code",
    [
        "(" * 1_000_000,
        "[" * (MOST_CHARACTERS - 1),
        "-" * (MOST_CHARACTERS - 2) + "1",
        "a" + ".b" * (MOST_CHARACTERS // 2 - 1),
        "a" + "+a" * (MOST_CHARACTERS // 2 - 1),
        "x = y\n" + "x = x.a, x.b\n" * 1000,
        "def f():\n    return\0",
        "\ud800",
        "def kl(:",
        " " * (MOST_CHARACTERS - 1),
        "'\\d'",
        "",
    ],
)
def test_hostile_text_gives_no_crash_wherever_it_stands(code: str) -> None:
    assert flags_of_kl(code, [SETUP]) in ([], ["could not be parsed"])
    assert flags_of_kl(f"{ANSWER}vae.kl(mu, log_var)", [SETUP, code]) == [
        "uses vaetl_helpers.vae.kl"
    ]


def test_what_is_too_long_or_too_deep_says_so() -> None:
    assert (
        flags_of_kl("(" * 1_000_000)
        == flags_of_kl("-" * (MOST_CHARACTERS - 2) + "1")
        == ["could not be parsed"]
    )


def test_nothing_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    line = f"open({str(mark)!r}, 'w')"
    flags_of_kl(f"{line}\n@{line}\ndef kl(mu=({line})) -> {line}:\n    return {line}", [line])
    assert not mark.exists()


def test_many_names_are_cut() -> None:
    said = flags_of_kl("\n".join(f"vae.name_{i:02}_{'x' * 200}" for i in range(30)), [SETUP])
    assert len(said) == 1
    assert said[0].startswith("uses vaetl_helpers.vae.name_00_") and said[0].endswith(" and others")
    assert len(said[0]) < 600


@pytest.mark.parametrize("attribute", ["f_back", "tb_frame", "gi_frame", "f_locals"])
def test_the_way_to_the_variables_of_a_caller_is_flagged(attribute: str) -> None:
    code = f"def kl(mu, log_var):\n    return mu.{attribute}.sum()"
    assert attribute in str(flags(code, "", ""))
