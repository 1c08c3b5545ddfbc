"""Building notebooks from their sources, and what `vaetl build --check` finds."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import nbformat
import pytest
from nbformat import NotebookNode

from vaetl_helpers import exercises, figures
from vaetl_helpers.authoring import build as builder
from vaetl_helpers.authoring.address import PLACEHOLDER
from vaetl_helpers.authoring.build import build, check, generate
from vaetl_helpers.authoring.lint import lint
from vaetl_helpers.errors import CourseError
from vaetl_helpers.figures.catalogue import PICTURES

ROOT = Path(__file__).parents[2]
SOURCE = """\
# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   vaetl:
#     chapter: "01"
#     title: Small
#     minutes: {reading: 1, exercises: 2, cpu: 3, gpu: 4}
#     requires: []
# ---

# %% [markdown]
# # Small
#
# {badges}
#
# ## What you will be able to do
#
# Double a number.
#
# ### Double it · 5 minutes

# %% tags=["bootstrap"]
pass

# %% tags=["parameters"]
profile: str = "auto"  # smoke, cpu, gpu, paper or auto
seed: int = 0
epochs: int | None = None  # passes over the data

# %%
import os
def setup(chapter, profile, seed, epochs):
    return f"{chapter} {profile} {seed} {epochs}"
def check(id, function):
    return function
P = setup("01", profile, seed=seed, epochs=epochs)
P

# %% exercise="demo.double"

# %% check="demo.double"
double_checked = check("demo.double", double)

# %% tags=["nbval-check-output"]
print(double_checked(1))

# %% tags=["nbval-check-output"]
print(double_checked(2))

# %% tags=["nbval-check-output"]
print(double_checked(3))

# %%
print("in", os.getcwd())

# %% [markdown]
# <details><summary>A quiz</summary>An explanation.</details>
#
# ## Take-away
# Doubling is easy.
#
# ## Further reading
# None.
"""
DRAWING = '# %%\nplt.plot(x, alt="A line")\nplt.show()\n'


def double(x):
    """Twice x."""
    return 2 * x


def double_by_adding(x):
    """Twice x."""
    return x + x


def halved(x):
    """Twice x, with a bug."""
    return x / 2


DEMO = SimpleNamespace(
    id="demo.double",
    points=3,
    minutes=5,
    stars="●●○",
    reference=double,
    broken=halved,
    steps=(),
)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of one small chapter with one exercise, worth 3 points."""
    monkeypatch.setattr(exercises, "get", lambda id: DEMO)
    monkeypatch.setattr(exercises, "all_ids", lambda: [DEMO.id])
    folder = tmp_path / "course"
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "01_small.py").write_text(SOURCE, "utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.vaetl]\nrepository = "some/where"\ntag = "v9"\n'
    )
    return folder


@pytest.fixture
def built(course: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small course, built without a kernel: every cell is said to have printed one line."""
    monkeypatch.setattr("vaetl_helpers.authoring.build.execute_solution", pretend)
    build(None, course)
    return course


def pretend(solution: NotebookNode, course: Path, profile: str) -> None:
    code = [cell for cell in solution.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("stream", text=f"{count}\n")]
    solution.metadata.vaetl |= {"executed": builder.fingerprint(solution), "profile": profile}


def edit(course: Path, old: str, new: str) -> Path:
    """Replaces a text of the source, which must hold it, and returns the source."""
    source = course / "source" / "01_small.py"
    text = source.read_text("utf-8")
    assert old in text
    source.write_text(text.replace(old, new), "utf-8")
    return source


def read(course: Path, name: str = "01_small.ipynb") -> NotebookNode:
    return nbformat.read(course / name, 4)


def find(notebook: NotebookNode, id: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == id)


# Generating.


def test_stub_is_valid_python_and_returns_ellipsis(course: Path) -> None:
    learner, solution = generate(course / "source" / "01_small.py")
    stub = find(learner, "c01-demo-double").source
    assert stub.startswith('def double(x):\n    """Twice x."""\n    # ')
    assert stub.endswith("\n    return ...  # your code")
    answers = []
    for source in (stub, find(solution, "c01-demo-double").source):
        scope: dict = {}
        exec(source, scope)
        answers.append(scope["double"](4))
    assert answers == [..., 8]


def test_the_code_to_be_repaired_stands_in_the_stub_as_comments(course: Path) -> None:
    learner, solution = generate(course / "source" / "01_small.py")
    lines = find(learner, "c01-demo-double").source.splitlines()
    assert lines[-2:] == ["    # return x / 2", "    return ...  # your code"]
    assert "x / 2" not in find(solution, "c01-demo-double").source


def test_a_long_function_s_stub_has_its_steps(course: Path, monkeypatch) -> None:
    steps = ("think", "a step whose description is so long that it does not fit on a line " * 2)
    monkeypatch.setattr(DEMO, "broken", None)
    monkeypatch.setattr(DEMO, "steps", steps)
    learner, _ = generate(course / "source" / "01_small.py")
    lines = find(learner, "c01-demo-double").source.splitlines()
    assert lines[2] == "    # 1. think" and lines[3].startswith("    # 2. a step whose")
    assert lines[4].startswith("    #    ") and max(map(len, lines)) <= 88


def test_a_cell_for_hints_follows_each_check_of_the_learner_s_notebook(course: Path) -> None:
    learner, solution = generate(course / "source" / "01_small.py")
    ids = [cell.id for cell in learner.cells]
    assert ids[ids.index("c01-demo-double-check") + 1] == "c01-demo-double-hint"
    hint = find(learner, "c01-demo-double-hint").source
    assert '# hint("demo.double")' in hint.splitlines()
    exec(hint, {})  # it does nothing before it is asked
    assert "c01-demo-double-hint" not in [cell.id for cell in solution.cells]


def test_a_title_says_how_hard_its_exercise_is(course: Path) -> None:
    for notebook in generate(course / "source" / "01_small.py"):
        text = "\n".join(cell.source for cell in notebook.cells)
        assert "### Double it · 5 minutes · ●●○\n" in text


@pytest.mark.parametrize(
    ("title", "fault"), [("· 7 minutes", "says 7 minutes where demo.double has 5"), ("", "title")]
)
def test_a_title_with_other_minutes_than_its_exercise_is_refused(
    course: Path, title: str, fault: str
) -> None:
    source = edit(course, "· 5 minutes", title)
    with pytest.raises(CourseError, match=fault):
        generate(source)


def test_solution_stands_between_its_marks(course: Path) -> None:
    _, solution = generate(course / "source" / "01_small.py")
    lines = find(solution, "c01-demo-double").source.splitlines()
    assert lines[2:] == ["    ### BEGIN SOLUTION", "    return 2 * x", "    ### END SOLUTION"]


def test_lines_of_the_author_stay_above_the_function(course: Path) -> None:
    source = edit(course, 'exercise="demo.double"\n', 'exercise="demo.double"\nfactor = 2\n')
    learner, solution = generate(source)
    for notebook in (learner, solution):
        text = find(notebook, "c01-demo-double").source
        assert text.startswith("factor = 2\n\n\ndef double(x):\n")
    assert "return 2" not in find(learner, "c01-demo-double").source


def test_broken_function_is_shown_to_learners(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = edit(course, '# %%\nprint("in"', '# %% broken="demo.double"\n\n# %%\nprint("in"')
    for notebook in generate(source):
        cell = find(notebook, "c01-009")
        assert cell.source == 'def halved(x):\n    """Twice x, with a bug."""\n    return x / 2'
        assert cell.metadata == {}
    change_demo(monkeypatch, broken=None)
    with pytest.raises(CourseError, match="c01-009 asks for what is broken in demo.double"):
        generate(source)


def test_reference_without_docstring_is_refused(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_demo(monkeypatch, reference=pretend)
    with pytest.raises(CourseError, match="c01-demo-double needs a docstring in pretend"):
        generate(course / "source" / "01_small.py")


def test_nbgrader_metadata_are_schema_3(course: Path) -> None:
    for notebook in generate(course / "source" / "01_small.py"):
        common = {"schema_version": 3, "task": False}
        solution = common | {
            "grade_id": "demo-double",
            "grade": False,
            "solution": True,
            "locked": False,
        }
        grade = {"grade_id": "demo-double-check", "grade": True, "solution": False, "locked": True}
        assert find(notebook, "c01-demo-double").metadata.nbgrader == solution
        assert find(notebook, "c01-demo-double-check").metadata.nbgrader == common | grade | {
            "points": 3
        }
        assert sum("nbgrader" in cell.metadata for cell in notebook.cells) == 2


def test_nbgrader_itself_accepts_the_metadata(course: Path) -> None:
    validator = pytest.importorskip("nbgrader.nbgraderformat").MetadataValidator()
    for notebook in generate(course / "source" / "01_small.py"):
        validator.validate_nb(notebook)


def test_launchers_find_their_metadata_and_a_kernel(course: Path) -> None:
    learner, _ = generate(course / "source" / "01_small.py")
    assert learner.metadata.accelerator == "GPU"
    assert learner.metadata.colab == {"provenance": [], "gpuType": "T4", "toc_visible": True}
    assert learner.metadata.kaggle.isGpuEnabled and learner.metadata.kaggle.isInternetEnabled
    assert learner.metadata.kernelspec.name == "python3"
    assert learner.metadata.vaetl.minutes == {"reading": 1, "exercises": 2, "cpu": 3, "gpu": 4}


def test_badges_lead_to_the_notebook(built: Path) -> None:
    text = read(built).cells[0].source
    badges = re.findall(r"\[((?:Open|Launch)[^]]+)\]\((https://[^)]+)\)", text)
    assert [name for name, _ in badges] == ["Open in Colab", "Open in Kaggle", "Launch Binder"]
    for _, link in badges:
        assert "some/where" in link and "v9" in link
        path = re.search(r"(?:v9/|labpath=)(course.+)$", unquote(link))
        assert path and (built.parent / path[1]).is_file()
    assert "reading 1 · exercises 2 · run on CPU 3 · run on GPU 4" in text


def test_bootstrap_is_short_lines_with_the_address_and_the_extras_of_the_chapter(
    course: Path,
) -> None:
    learner, _ = generate(edit(course, "requires: []", "requires: [text]"))
    cell = find(learner, "c01-001")
    assert max(map(len, cell.source.splitlines())) <= 92 and cell.metadata.jupyter.source_hidden
    assert '"https://github.com/some/where/archive/refs/tags/v9.tar.gz"' in cell.source
    assert '\nensure_installed("text")  #' in cell.source


def test_learner_has_no_trace_of_solutions_or_comparisons(course: Path) -> None:
    learner, solution = generate(course / "source" / "01_small.py")
    assert "SOLUTION" not in nbformat.writes(learner) and "2 * x" not in nbformat.writes(learner)
    assert "nbval" not in nbformat.writes(learner)
    assert nbformat.writes(solution).count("nbval-check-output") == 3


def test_ids_are_stable_valid_and_shared(built: Path) -> None:
    first = (built / "01_small.ipynb").read_bytes()
    build(["01"], built)
    assert (built / "01_small.ipynb").read_bytes() == first
    ids = [cell.id for cell in read(built).cells]
    solved = [cell.id for cell in read(built, "solutions/01_small.ipynb").cells]
    assert [id for id in ids if not id.endswith("-hint")] == solved
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id) for id in ids) and len({*ids}) == len(ids)


def test_diagram_stands_in_the_cell_itself(course: Path) -> None:
    source = edit(course, "# {badges}\n", "# {badges}\n#\n# {diagram: elbo}\n")
    for notebook in generate(source):
        text = notebook.cells[0].source
        image = re.search(r'alt="([^"]+)" .* src="data:image/png;base64,([^"]+)">\n\n', text)
        alt, picture = image.groups()
        assert unescape(alt) == figures.diagram("elbo").alt
        assert base64.b64decode(picture) == (PICTURES / "elbo.png").read_bytes()
        assert text[image.end() :].startswith(f"*{figures.diagram('elbo').caption}*\n")
        assert not [message for message in lint(notebook, False) if "image" in message]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '"demo.double"\n\n',
            '"demo.double"\ndef double(x): pass\n\n',
            "double defines a function",
        ),
        ("# %%\nprint(", "# %%\n### BEGIN SOLUTION\nprint(", "c01-009 marks a solution"),
        ("# {badges}\n", "#\n", "badges"),
        ("\npass\n", "\nimport os\n", "must be pass"),
        ("# {badges}\n", "# {badges}\n#\n# {diagram: elbow}\n", "did you mean 'elbo'"),
        ("exercise=", "exercice=", "exercice"),
        ('chapter: "01"', 'chapter: "02"', "header needs chapter"),
        ("cpu: 3, ", "", "minutes"),
        ("# %%\nprint(", '# %% check="demo.double"\nprint(', "twice"),
    ],
)
def test_faulty_source_is_refused(course: Path, old: str, new: str, words: str) -> None:
    source = edit(course, old, new)
    with pytest.raises(CourseError, match=words) as error:
        generate(source)
    assert "01_small.py" in str(error.value) and "vaetl build 01" in str(error.value)


def test_unknown_chapter_is_refused_with_the_near_one(course: Path) -> None:
    with pytest.raises(CourseError, match="did you mean '01'"):
        build(["11"], course)


@pytest.mark.parametrize("name", ["1", "01", "01_small", "small"])
def test_a_chapter_is_named_as_for_every_other_command(name: str, course: Path) -> None:
    assert builder.sources(course, [name]) == [course / "source" / "01_small.py"]


def test_missing_jupytext_is_named(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jupytext", None)
    with pytest.raises(CourseError, match="pip install 'jupytext'"):
        build(None, course)


def test_folder_without_sources_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="checkout"):
        check(tmp_path)


# Checking.


def test_what_was_just_built_passes(built: Path) -> None:
    assert check(built) == []


def change(course: Path, name: str, how: Callable[[NotebookNode], object]) -> None:
    """Changes a stored notebook behind the build's back."""
    notebook = read(course, name)
    how(notebook)
    nbformat.write(notebook, course / name)


LEARNER, SOLUTION = "01_small.ipynb", "solutions/01_small.ipynb"
ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
WIDGET = nbformat.v4.new_output(
    "display_data", data={"application/vnd.jupyter.widget-view+json": {}}
)
PICTURE = nbformat.v4.new_output("display_data", data={"image/png": "AAAA"})
HOME = nbformat.v4.new_output("stream", text="saved in /home/ada/x\n")


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        (LEARNER, lambda nb: nb.cells[4].outputs.append(HOME), "cell 4 .*must have no outputs"),
        (LEARNER, lambda nb: nb.cells[4].update(execution_count=1), "cell 4 .*no count"),
        (
            LEARNER,
            lambda nb: nb.cells[0].update(source="# Other"),
            "cell 0 .c01-000.: source differ",
        ),
        (
            LEARNER,
            lambda nb: nb.cells[5].metadata.nbgrader.update(points=30),
            "cell 5 .*: metadata differ",
        ),
        (LEARNER, lambda nb: nb.cells[5].update(id="other"), "cell 5 .*id differ"),
        (LEARNER, lambda nb: nb.cells.pop(2), "it has 11 cells where the source gives 12"),
        (LEARNER, lambda nb: nb.cells.pop(2), "must carry the tag 'parameters', not 0"),
        (LEARNER, lambda nb: nb.metadata.pop("kaggle"), "metadata differ"),
        (
            SOLUTION,
            lambda nb: nb.cells[4].update(source="double = 2"),
            "not those that were executed",
        ),
        (
            SOLUTION,
            lambda nb: nb.metadata.vaetl.update(executed="0" * 64),
            "not those that were executed",
        ),
        (
            SOLUTION,
            lambda nb: nb.metadata.vaetl.update(profile="smoke"),
            "not from the profile cpu",
        ),
        (SOLUTION, lambda nb: nb.metadata.update(widgets={}), "widget state"),
        (SOLUTION, lambda nb: nb.cells[6].outputs.clear(), "at least three cells"),
        (SOLUTION, lambda nb: nb.cells[6].update(execution_count=None), "cell 6 .*not executed"),
        (SOLUTION, lambda nb: nb.cells[6].outputs.append(ERROR), "cell 6 .*stores ValueError"),
        (SOLUTION, lambda nb: nb.cells[6].outputs.append(WIDGET), "cell 6 .*stores a widget"),
        (SOLUTION, lambda nb: nb.cells[6].outputs.append(PICTURE), "cell 6 .*no alternative text"),
        (SOLUTION, lambda nb: nb.cells[6].outputs.append(HOME), "cell 6 .*path of the machine"),
    ],
)
def test_change_behind_the_build_is_found(
    built: Path, name: str, how: Callable[[NotebookNode], object], words: str
) -> None:
    change(built, name, how)
    messages = check(built)
    found = [message for message in messages if re.search(words, message)]
    assert found, messages
    folder = "solutions" if name == SOLUTION else "course"
    assert all(message.startswith(f"{folder}/01_small.ipynb: ") for message in messages)
    assert all(message.endswith("run vaetl build 01") for message in messages)


def test_stale_notebooks_are_found(built: Path) -> None:
    edit(built, "Double a number.", "Double any number.")
    assert len(check(built)) == 2


def test_a_changed_reference_is_found(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_demo(monkeypatch, reference=double_by_adding)
    assert any("solutions/01_small.ipynb: cell 4" in message for message in check(built))


def change_demo(monkeypatch: pytest.MonkeyPatch, **facts: object) -> None:
    """Another exercise in the place of the demo."""
    demo = SimpleNamespace(**(vars(DEMO) | facts))
    monkeypatch.setattr(exercises, "get", lambda id: demo)


def test_changed_points_are_found(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_demo(monkeypatch, points=5)
    assert len(check(built)) == 2 and "c01-demo-double-check" in check(built)[0]


def test_missing_damaged_and_orphaned_notebooks_are_found(built: Path) -> None:
    (built / SOLUTION).rename(built / "solutions" / "02_gone.ipynb")
    (built / LEARNER).write_text('{"cells": ')
    messages = "\n".join(check(built))
    assert "course/01_small.ipynb: it cannot be read" in messages
    assert "solutions/01_small.ipynb: it is missing" in messages
    assert "solutions/02_gone.ipynb: it has no source" in messages


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('# %% tags=["parameters"]', "# %%", "must carry the tag 'parameters', not 0"),
        ("# %%\nimport os", '# %% tags=["parameters"]\nimport os', "not 2"),
        ("  # passes over the data", "", "name: type | None = None  # help"),
        ("epochs: int | None = None", "epochs: int = 3", "name: type | None = None  # help"),
        ("seed: int = 0\n", "seed: int = 0\n" + "k: int | None = None  # k\n" * 6, "at most six"),
        (
            ", epochs=epochs)\nP\n",
            ")\nP\n",
            "must call P = setup('01', profile, seed=seed, epochs=epochs)",
        ),
        (
            "# ## What you will be able to do\n",
            "# ## Aims\n",
            "'What you will be able to do' is missing",
        ),
        ("# <details>", "# <p>", "a quiz with <details> blocks is missing"),
        ("# ## Take-away", "# ## End", "a heading 'Take-away' is missing"),
        ("# ## Further reading", "# ## More", "a heading 'Further reading' is missing"),
        (
            "# # Small\n#\n# {badges}\n",
            "# {badges}\n#\n# # Small\n",
            "badges must come after a title",
        ),
        ("# None.", "# ![](figure.png)", "an image has no alternative text"),
        ("# None.", '# <img src="figure.png" alt="">', "an image has no alternative text"),
        ('print("in", os.getcwd())', "os.getcwd();", "ends in ';'"),
        ('print("in"', '# NBVAL_SKIP\nprint("in"', "'nbval-skip' hides failures"),
        ('["nbval-check-output"]', '["raises-exception"]', "'raises-exception' hides failures"),
        (
            '# %% tags=["nbval-check-output"]\nprint(double_checked(3)',
            "# %%\nprint(3",
            "three cells",
        ),
        (
            "# %%\nprint(",
            DRAWING.replace("plt.show()\n", "") + "\n# %%\nprint(",
            "must end in plt.show()",
        ),
        ("# %%\nprint(", DRAWING.replace("A line", "") + "\n# %%\nprint(", "no alternative text"),
        ("# %%\nprint(", DRAWING + "\n# %%\nprint(", None),
        ("# %%\nprint(", DRAWING.replace("plt.plot", "plots.curve") + "\n# %%\nprint(", None),
        ("# %%\nprint(", "# %%\ndef draw():\n    plt.plot(1)\n\n# %%\nprint(", None),
        ("double_checked = check(", "double = check(", "its check must read NAME_checked"),
        ('# %% check="demo.double"', "# %%", "must follow each other"),
        ('# %% check="demo', '# %%\n1 + 1\n\n# %% check="demo', "must follow each other"),
    ],
)
def test_contract_is_enforced(built: Path, old: str, new: str, words: str | None) -> None:
    _, solution = generate(edit(built, old, new))
    pretend(solution, built, "cpu")
    messages = lint(solution, solution=True)
    if words is None:
        assert messages == []
    else:
        assert any(words in message for message in messages), messages


def test_unknown_exercise_is_found(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "all_ids", list)
    assert any("demo.double is not one of" in message for message in check(built))


# Building.


def test_only_the_named_chapter_is_touched(built: Path) -> None:
    other = SOURCE.replace('chapter: "01"', 'chapter: "02"').replace('setup("01"', 'setup("02"')
    (built / "source" / "02_other.py").write_text(other, "utf-8")
    before = (built / LEARNER).stat().st_mtime_ns
    assert build(["02"], built) == [
        built / "02_other.ipynb",
        built / "solutions" / "02_other.ipynb",
    ]
    assert (built / LEARNER).stat().st_mtime_ns == before
    assert check(built) == []


def test_without_execution_prose_is_renewed_and_outputs_stay(built: Path) -> None:
    edit(built, "Double a number.", "Double any number.")
    build(None, built, execute=False)
    assert check(built) == []


def test_without_execution_changed_code_leaves_the_solution_alone(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = (built / SOLUTION).read_bytes()
    change_demo(monkeypatch, reference=double_by_adding)
    build(None, built, execute=False)
    assert (built / SOLUTION).read_bytes() == stored
    assert "its code must be executed" in capsys.readouterr().out
    assert check(built)


@pytest.mark.slow
def test_executed_solution_keeps_its_own_cells_and_the_outputs_of_cpu(course: Path) -> None:
    edit(
        course, "os.getcwd())", 'os.getcwd(), os.environ["VAETL_GRADING"])'
    )  # where a failing check raises
    build(None, course)
    assert check(course) == []
    assert "VAETL_GRADING" not in os.environ
    solution = read(course, SOLUTION)
    code = [cell for cell in solution.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert code[1].source.startswith('profile: str = "auto"')
    result = code[2].outputs[0]
    assert result.data["text/plain"] == "'01 cpu 0 None'" and result.execution_count == 3
    assert code[-1].outputs[0].text == "in course 1\n"
    text = json.dumps(solution)
    assert "papermill" not in text and "injected" not in text and str(course.parent) not in text
    assert "widgets" not in solution.metadata and solution.metadata.vaetl.profile == "cpu"


@pytest.mark.slow
def test_failing_cell_stops_the_build_and_leaves_the_notebooks(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    change_demo(monkeypatch)
    stored = {path: path.read_bytes() for path in built.rglob("*.ipynb")}
    edit(built, "double_checked(3)", "double_checked(3) / 0")
    with pytest.raises(CourseError, match=r"double_checked\(3\) / 0(.|\n)*ZeroDivisionError"):
        build(None, built)
    assert {path: path.read_bytes() for path in built.rglob("*.ipynb")} == stored
    assert not [*built.rglob("*.partial")]


@pytest.mark.slow
def test_endless_cell_is_stopped(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "CELL_SECONDS", 2)
    edit(course, 'print("in", os.getcwd())', "while True: pass")
    with pytest.raises(CourseError, match="timed out"):
        build(None, course)
    assert not [*course.rglob("*.ipynb")]


def test_machine_paths_are_taken_out_but_images_are_left(course: Path) -> None:
    places = builder.machine_paths(course)
    output = {
        "text": f"{Path.home()}/a {sys.prefix}/lib/b.py {course}/c /tmp/ipykernel_12/345.py:3: "
        "UserWarning",
        "data": {
            "image/png": f"{Path.home()}/",
            "application/json": [{"path": f"{Path.home()}/x"}],
        },
    }
    clean = builder.without_machine_paths(output, places)
    assert clean["text"] == "~/a <python>/lib/b.py course/c <cell>:3: UserWarning"
    assert clean["data"] == {"image/png": f"{Path.home()}/", "application/json": [{"path": "~/x"}]}


@pytest.mark.slow
def test_building_does_not_import_nbgrader() -> None:
    code = "import sys, vaetl_helpers.authoring.build; sys.exit('nbgrader' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# The course itself.


def test_stored_notebooks_are_what_their_sources_give() -> None:
    assert check(ROOT / "course") == []


def test_badges_of_the_course_lead_to_its_notebooks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    has_address = project["tool"]["vaetl"]["repository"] != PLACEHOLDER
    for path in ROOT.glob("course/*.ipynb"):
        links = re.findall(
            r"\]\((https://[^)]+\.ipynb)\)", unquote(nbformat.read(path, 4).cells[0].source)
        )
        assert len(links) == (3 if has_address else 0)  # links that would lead nowhere are left out
        assert all((ROOT / "course" / link.rpartition("course/")[2]) == path for link in links)
