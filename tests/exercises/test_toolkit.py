"""What exercises are made of: blocks, edits of a reference, judges that remember."""

import importlib
import sys
from pathlib import Path

import cloudpickle
import pytest
import torch

from vaetl_helpers import exercises
from vaetl_helpers.exercises import Values, evaluate, toolkit
from vaetl_helpers.exercises.toolkit import edited, exercise


def triple(x):
    """Three times x."""
    y = 3 * x  # a number
    return y  # noqa: RET504  (an edit exchanges its last line)


@pytest.fixture
def block(monkeypatch):
    """An exercise whose outputs may be numbers or tensors; the package does not know it."""
    monkeypatch.setattr(toolkit, "register", lambda id, block: None)
    block = exercise(id="demo.triple", minutes=1, points=1, hints=("Multiply.",))(triple)

    @block.draw
    def _(seed: int) -> Values:
        return {"x": torch.tensor([1.0, 2.0]) + seed}

    block.compare("the result", says="that is not three times x")
    return block


# Edits.


def test_an_edit_exchanges_whole_lines():
    assert edited(triple, {"y = 3 * x": "y = 2 * x\ny += 5"})(1) == 7
    assert edited(triple, {"y = 3 * x  # a number": "y = x", "return y": "return -y"})(1) == -1
    assert edited(triple, {}, last_line="return y + 1")(1) == 4
    assert triple(1) == 3


@pytest.mark.parametrize("old", ["3 * x", "y = 3 * x  # number", "return x", ""])
def test_an_edit_of_what_is_not_a_line_is_refused(old):
    with pytest.raises(ValueError, match="triple has 0 lines"):
        edited(triple, {old: "pass"})


def test_an_edit_of_a_line_that_comes_twice_is_refused():
    def twice(x):
        x += 1
        x += 1
        return x

    def anew():
        return edited(module_level_twice, {"x += 1": "pass"})

    assert twice(0) == 2
    with pytest.raises(ValueError, match="module_level_twice has 2 lines 'x \\+= 1'"):
        anew()


def module_level_twice(x):
    x += 1
    x += 1
    return x


# Blocks.


def test_a_block_is_called_like_its_reference_and_knows_its_exercise(block):
    assert block(2) == 6
    assert block.exercise.reference is triple and block.exercise.hints == ("Multiply.",)
    assert evaluate(block.exercise, triple).status == "correct"


def test_the_function_gets_copies_of_the_inputs(block):
    def in_place(x):
        return x.mul_(3)

    assert evaluate(block.exercise, in_place).status == "correct"


def test_wrong_answers_are_named_in_their_order(block):
    block.wrong("double", says="that is twice x", edit={"y = 3 * x": "y = 2 * x"})
    block.wrong("sum", says="that is x + x", function=lambda x: x + x)

    @block.broken("as found", says="that is x alone")
    def nothing(x):
        return x

    found = block.exercise
    assert [wrong.name for wrong in found.wrong] == ["double", "sum", "as found"]
    assert found.broken is nothing
    assert evaluate(found, lambda x: 2 * x).message == "that is twice x"
    assert evaluate(found, nothing).message == "that is x alone"
    assert evaluate(found, lambda x: 5 * x).message == "that is not three times x"


def test_a_judge_of_its_own_may_ask_the_comparison_first(block):
    @block.judge
    def _(inputs: Values, outputs: Values) -> str | None:
        refusal = block.compared(inputs, outputs)
        return refusal and f"{refusal}, is it?"

    assert evaluate(block.exercise, triple).status == "correct"
    message = evaluate(block.exercise, lambda x: x).message
    assert message == "that is not three times x, is it?"


def test_what_is_missing_in_a_block_is_told(monkeypatch):
    monkeypatch.setattr(toolkit, "register", lambda id, block: None)
    block = exercise(id="demo.triple", minutes=1, points=1, hints=("Multiply.",))(triple)
    with pytest.raises(TypeError, match="demo.triple has no draw"):
        _ = block.exercise
    block.draw(lambda seed: {"x": seed})
    with pytest.raises(TypeError, match="demo.triple has no judge"):
        _ = block.exercise


def test_known_answers_are_driven_once_for_the_same_inputs(block):
    calls = []

    def counted(x):
        calls.append(1)
        return -x

    block.wrong("counted", says="that is minus x", function=counted)
    for _ in range(3):
        assert evaluate(block.exercise, lambda x: 7 * x, [0]).status == "incorrect"
    assert len(calls) == 1
    assert evaluate(block.exercise, lambda x: 7 * x, [1]).status == "incorrect"
    assert len(calls) == 2


def test_memory_is_bounded(block):
    for seed in range(3 * toolkit.INPUTS_REMEMBERED):
        assert evaluate(block.exercise, triple, [seed]).status == "correct"
    assert len(block.memory.by_inputs) == toolkit.INPUTS_REMEMBERED


# The way into a sandbox.


def test_no_block_goes_where_a_learner_could_read_its_judge(block):
    with pytest.raises(TypeError, match="its judge would go along"):
        cloudpickle.dumps(block)


def test_what_is_sent_into_a_sandbox_holds_no_judge_and_no_message():
    every = [exercises.get(id) for id in exercises.all_ids()]
    modules = [
        module for name, module in sys.modules.items() if name.startswith("vaetl_helpers.exercises")
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        sent = cloudpickle.dumps([(one.drive, one.reference) for one in every])
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
    for one in every:
        assert one.hints[0].encode() not in sent
    assert b"answers_alike" not in sent and b"Stage" not in sent


def test_the_example_for_contributors_works(tmp_path, monkeypatch):
    guide = Path(__file__).parents[2].joinpath("CONTRIBUTING.md").read_text("utf-8")
    section = guide.partition("## Adding an exercise")[2]
    example = section.split("```python\n")[1].split("```")[0]
    imports = (
        "import torch\n"
        "from vaetl_helpers.exercises.engine import Values\n"
        "from vaetl_helpers.exercises.toolkit import exercise, whole_number\n"
    )
    tmp_path.joinpath("example.py").write_text(imports + example, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(toolkit, "register", lambda id, block: None)
    example = importlib.import_module("example").error_rate.exercise
    assert evaluate(example, example.reference).status == "correct"
    for wrong in example.wrong:
        assert evaluate(example, wrong.function, [0]).message == wrong.says
