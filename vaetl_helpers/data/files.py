"""Finding, unpacking and fetching the files of a data set; what is read is whole or refused."""

from __future__ import annotations

import gzip
import os
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import numpy as np
from torch import Tensor, hub

from vaetl_helpers.data.readers import DAMAGED_ZIP, Arrays, Reader, read_idx, unpacked_idx
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import is_interactive, is_on, say, user_path

TIMEOUT = 30.0  # seconds without a byte before a download counts as failed
# The data sets that are attached to a Kaggle notebook, in any layout; only read.
ATTACHED = Path("/kaggle/input")
TRAINING_LABELS = "train-labels-idx1-ubyte"
DAMAGED_ARCHIVE = (
    *DAMAGED_ZIP,
    gzip.BadGzipFile,
    tarfile.TarError,
)


@dataclass(frozen=True)
class Dataset:
    """An entry of the registry: how to recognise, read, check and fetch one data set.

    `files` maps each file to its published hash, or None where the publisher gives none; `read`
    turns a folder into arrays and raises FileNotFoundError (not there) or CourseError (damaged).
    `holds` says at a glance whether a folder is one to read. `digests` are the published arrays'
    sha256, of images and labels by split, which tell sets apart whose files have the same names.
    """

    title: str
    licence: str
    files: dict[str, str | None]
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    folder: str  # where `read` finds it, below a place of the search order
    read: Reader
    packed: bool = True  # `files` are archives to unpack; idx files are read as they are
    is_text: bool = False  # sentences, which text.load_text reads
    holds: Callable[[Path], bool] = Path.exists
    is_whole: Callable[[Path], bool] = tarfile.is_tarfile  # asked where no hash is published
    system_folders: tuple[Path, ...] = field(default=())  # where a system package puts it
    embedded: str | None = None  # the file in assets/ with a subset
    # The first training labels, where another data set has files of the same names.
    first_labels: tuple[int, ...] = field(default=())
    digests: dict[str, tuple[str, str]] = field(default_factory=dict)


# ---------------------------------------------------------------- places


def cache_dir() -> Path:
    """The folder where downloads are kept: VAETL_CACHE, or the system's folder for caches.

    Raises CourseError where the user has no home directory, as in some containers.
    """
    override = os.environ.get("VAETL_CACHE")
    if override:
        return user_path(override).absolute()
    import pooch

    try:
        return Path(pooch.os_cache("vaetl")).absolute()
    except RuntimeError as error:
        raise CourseError(
            "There is no home directory here, and so no cache: set VAETL_CACHE to a folder where "
            "you may write."
        ) from error


def data_root(root: Path | str | None = None) -> Path | None:
    """The folder of the user's own copies, `root` or VAETL_DATA, made absolute; only ever read.

    Raises CourseError where it is no folder.
    """
    name = root or os.environ.get("VAETL_DATA")
    if not name:
        return None
    folder = user_path(name).absolute()
    if not folder.is_dir():
        raise CourseError(
            f"The data root {folder} is not a folder: correct VAETL_DATA or data_root, or leave "
            "it out."
        )
    return folder


def search_places(item: Dataset, root: Path | str | None) -> list[Path]:
    """The folders to search, in order: the data root, what is attached, the system's, the cache."""
    places = [*attached_folders(item), *item.system_folders]
    with suppress(CourseError):  # nothing is kept where there is no home directory
        places.append(cache_dir())
    own_copies = data_root(root)
    if own_copies:
        places.insert(0, own_copies)
    return [place for place in places if place.is_dir()]


def attached_folders(item: Dataset) -> list[Path]:
    """The folders of attached data sets that hold `item`, unpacked or as it is published."""
    if not item.packed:
        return _attached_idx_folders(item)
    names = {*item.files, Path(item.folder).name}
    return [folder for folder, content in _attached_content() if not names.isdisjoint(content)]


def _attached_content() -> Iterator[tuple[Path, list[str]]]:
    """Each folder of what is attached, and the names in it; `rglob` takes twenty times as long."""
    for folder, folders, names in os.walk(ATTACHED):
        folders.sort()
        yield Path(folder), folders + names


def _attached_idx_folders(item: Dataset) -> list[Path]:
    """MNIST and Fashion-MNIST have files of the same names: their labels tell them apart."""
    dotted = TRAINING_LABELS.replace("-idx", ".idx")
    names = {TRAINING_LABELS, f"{TRAINING_LABELS}.gz", dotted}
    folders = []
    for folder, content in _attached_content():
        if not names.isdisjoint(content) and _has_first_labels(item, folder):
            folders.append(folder)
    return folders


def _has_first_labels(item: Dataset, folder: Path) -> bool:
    """Whether the first training labels in a folder are those of `item`, where it names them."""
    if not item.first_labels:
        return True
    for path in (unpacked_idx(folder / TRAINING_LABELS), folder / f"{TRAINING_LABELS}.gz"):
        if path and path.is_file():
            with suppress(CourseError):  # damaged
                first = read_idx(path)[: len(item.first_labels)]
                return tuple(first.tolist()) == item.first_labels
    return False


def evidence_of(item: Dataset, place: Path) -> Path | None:
    """What shows that a place holds a set: all its idx files, or its folder or archive."""
    if item.packed:
        if item.holds(place / item.folder):
            return place / item.folder
        return _archive_in(item, place)
    folder = place if _holds_files_itself(item, place) else place / item.folder
    is_complete = all(_is_there_or_unpacked(folder / name) for name in item.files)
    return folder if is_complete and _has_first_labels(item, folder) else None


def _holds_files_itself(item: Dataset, place: Path) -> bool:
    """Whether the files lie in the place, and not in a folder of the set's below it."""
    return place in item.system_folders or ATTACHED in place.parents


def _is_there_or_unpacked(path: Path) -> bool:
    return path.is_file() or unpacked_idx(path.with_suffix("")) is not None


# ---------------------------------------------------------------- reading


def find_arrays(item: Dataset, root: Path | str | None) -> Arrays:
    """The arrays from the first place that has them whole; says what it passes over as damaged."""
    for place in search_places(item, root):
        try:
            return read_from(item, place)
        except FileNotFoundError:
            continue
        except CourseError as error:
            say(error)
    raise FileNotFoundError(item.title)


def read_from(item: Dataset, place: Path) -> Arrays:
    """Reads `item` below `place`, unpacking an archive that is there into the cache.

    Raises FileNotFoundError where it is absent, and CourseError where it is damaged or another set.
    """
    folder = _folder_to_read(item, place)
    arrays = item.read(folder)
    for split, digests in item.digests.items():
        images, labels = arrays[split]
        if (_digest(images), _digest(labels)) != digests:
            first_labels = ", ".join(map(str, labels[:4]))
            raise CourseError(
                f"{folder} does not hold {item.title} as published, but another set or a changed "
                f"one (its {split} labels begin with {first_labels}): put the published files "
                "there, or set another VAETL_DATA."
            )
    return arrays


def _folder_to_read(item: Dataset, place: Path) -> Path:
    if not item.packed:
        return place if _holds_files_itself(item, place) else place / item.folder
    archive = _archive_in(item, place)
    if archive is None or item.holds(place / item.folder):
        return place / item.folder
    return unpacked_folder(archive) / item.folder


def _digest(array: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _archive_in(item: Dataset, place: Path) -> Path | None:
    paths = [place / name for name in item.files]
    return next((path for path in paths if path.is_file()), None)


# ---------------------------------------------------------------- unpacking


def unpacked_folder(archive: Path) -> Path:
    """The folder in the cache that holds an archive's content, whole.

    It gets its name when it is complete. Raises CourseError for a damaged archive, and where the
    cache cannot be written.
    """
    stamp = f"{archive}{archive.stat().st_mtime_ns}"
    digest = sha256(stamp.encode()).hexdigest()[:12]
    folder = cache_dir() / "unpacked" / digest
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as temporary:
            content = Path(temporary, "all")
            unpack(archive, content)
            content.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # otherwise another process was faster
            raise unwritable_error(folder.parent, error) from error
    return folder


def unpack(archive: Path, into: Path) -> None:
    """Unpacks a tar or zip archive into a folder; nothing is written outside it.

    Raises CourseError for a damaged archive and for a tar file that leads outside.
    """
    into.mkdir(parents=True, exist_ok=True)
    if not hasattr(tarfile, "data_filter"):
        raise CourseError(f"Python before 3.11.4 cannot unpack {archive} safely: take a newer one.")
    try:
        if archive.suffix == ".zip":
            _unpack_zip(archive, into)
        else:
            _unpack_tar(archive, into)
    except DAMAGED_ARCHIVE as error:
        raise CourseError(
            f"{archive} is damaged or unsafe ({error}): remove it, or fetch it again."
        ) from error


def _unpack_zip(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(into)  # drops '..' and absolute paths


def _unpack_tar(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(into, filter="data")
        # gzip checks its sum at the end, which tar leaves unread.
        while opened.fileobj and opened.fileobj.read(2**20):
            pass


def unwritable_error(folder: Path, error: OSError) -> CourseError:
    """The error for a folder that cannot be made or written to."""
    reason = error.strerror or error
    return CourseError(
        f"{folder} cannot be written ({reason}): free some space, or set VAETL_CACHE to a folder "
        "where you may write."
    )


# ---------------------------------------------------------------- fetching


def is_offline() -> bool:
    """Whether downloads are switched off, as `vaetl lab --offline` does."""
    return is_on("VAETL_OFFLINE")


def is_reachable(url: str, seconds: float = 2.0) -> bool:
    """Whether a host answers in time; in a thread, because nothing else limits a name's look-up."""
    address = urlsplit(url)
    if is_offline():
        return False
    proxies = getproxies()
    if (address.scheme in proxies or "all" in proxies) and not proxy_bypass(address.hostname or ""):
        return True  # only the proxy can say
    answers: list[bool] = []
    thread = Thread(target=_knock, args=(address, seconds, answers), daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def _knock(address: SplitResult, seconds: float, answers: list[bool]) -> None:
    default_port = 443 if address.scheme == "https" else 80
    with suppress(OSError):
        server = (address.hostname or "", address.port or default_port)
        socket.create_connection(server, timeout=seconds).close()
        answers.append(True)


def set_aside(path: Path) -> None:
    """Renames a damaged file to FILE.damaged, so that it is fetched again and nothing is lost."""
    path.replace(path.with_name(f"{path.name}.damaged"))


def is_intact(item: Dataset, path: Path) -> bool:
    """Whether a file of `item` has its published hash; without one, whether it looks whole."""
    import pooch

    published_hash = item.files[path.name]
    if published_hash is None:
        return item.is_whole(path)
    return bool(pooch.hashes.hash_matches(str(path), published_hash))


def fetch_file(item: Dataset, path: Path) -> None:
    """Downloads a file of `item` from the first mirror that has it, unless it is there and intact.

    Raises CourseError where no mirror sends it.
    """
    import pooch

    if path.exists():
        if is_intact(item, path):
            return
        set_aside(path)
    pooch.get_logger().setLevel("ERROR")  # it announces each try on stderr
    problems = []
    for mirror in item.mirrors:
        problem = _problem_of_download(item, path, mirror)
        if problem is None:
            return
        problems.append(problem)
    reasons = "; ".join(dict.fromkeys(problems))
    folder = "FOLDER" if item.packed else f"FOLDER/{item.folder}"
    raise CourseError(
        f"{item.title} could not be fetched ({reasons}): check the network and try again, or put "
        f"{', '.join(item.files)} into {folder} and set VAETL_DATA=FOLDER."
    )


def _problem_of_download(item: Dataset, path: Path, mirror: str) -> str | None:
    """Tries one mirror; what went wrong, or None where the file is there now."""
    import pooch
    import requests

    host = urlsplit(mirror).hostname
    if not is_reachable(mirror):
        return "downloads are off" if is_offline() else f"{host} does not answer"
    registry = {path.name: item.files[path.name]}
    store = pooch.create(path.parent, mirror, registry=registry, retry_if_failed=2)
    downloader = pooch.HTTPDownloader(is_interactive(), 2**16, timeout=TIMEOUT)
    try:
        store.fetch(path.name, downloader=downloader)
    except (ValueError, requests.exceptions.RequestException) as error:
        message = str(error) or type(error).__name__
        return f"{host}: {message.splitlines()[0]}"
    if is_intact(item, path):
        return None
    set_aside(path)
    return f"{host} sent something else than {item.title}"


def fetch_weights(weights: Any, title: str, advice: str) -> dict[str, Tensor]:
    """A torchvision weight file, from torchvision's cache or the network, checked.

    One that was cut off is set aside and fetched again. Raises CourseError, which names `title`
    and ends in `advice`, where it cannot be had.
    """
    name = weights.url.rsplit("/", 1)[-1]
    path = Path(hub.get_dir(), "checkpoints", name)
    timeout = socket.getdefaulttimeout()
    try:
        if path.exists() and not _has_hash_of_its_name(path):
            set_aside(path)
        if not path.exists() and not is_reachable(weights.url):
            raise OSError("its server does not answer")
        socket.setdefaulttimeout(TIMEOUT)  # torch.hub sets none, and would wait for ever
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=is_interactive(), check_hash=True, weights_only=True
        )
        return state
    except (OSError, RuntimeError, HTTPException) as error:
        raise CourseError(f"{title} could not be fetched ({error}): {advice}.") from error
    finally:
        socket.setdefaulttimeout(timeout)


def _has_hash_of_its_name(path: Path) -> bool:
    """torchvision writes the start of a file's sha256 into its name, "resnet18-f37072fd.pth"."""
    start = path.stem.rsplit("-", 1)[-1]
    return sha256(path.read_bytes()).hexdigest().startswith(start)
