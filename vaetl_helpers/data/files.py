"""Finding, unpacking and fetching the files of a data set; what is read is whole or refused."""

from __future__ import annotations

import gzip
import os
import socket
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

from vaetl_helpers.data.readers import PHOTOS, Arrays, read_idx, read_mnist
from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import is_interactive

TIMEOUT = 30.0  # seconds without a byte before a download counts as failed
ATTACHED = Path(
    "/kaggle/input"
)  # the data sets that are attached to a Kaggle notebook, in any layout; only read


@dataclass(frozen=True)
class Dataset:
    """An entry of the registry: how to recognise, read, check and fetch one data set.

    `files` maps each archive to its published hash, or None where the publisher gives none; `read` turns a
    folder into arrays and raises FileNotFoundError (not there) or CourseError (damaged).
    """

    title: str
    licence: str
    files: dict[str, str | None]
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    folder: str
    read: Callable[[Path], Arrays]
    also: tuple[Path, ...] = field(default=())  # folders where a system package puts it
    embedded: str | None = None
    begins: tuple[
        int, ...
    ] = ()  # the first labels, where another data set has files of the same names


def cache_dir() -> Path:
    """Where downloads are kept: VAETL_CACHE, or the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("VAETL_CACHE") or home / "vaetl").absolute()


def data_root(root: Path | str | None = None) -> Path | None:
    """The folder of the user's own copies, `root` or VAETL_DATA, made absolute; it is only ever read."""
    chosen = root or os.environ.get("VAETL_DATA")
    folder = Path(chosen).expanduser().absolute() if chosen else None
    if folder and not folder.is_dir():
        raise CourseError(
            f"The data root {folder} is not a folder: correct VAETL_DATA or data_root, or leave it out."
        )
    return folder


def unpack(archive: Path, into: Path) -> None:
    """Unpacks a tar or zip archive into a folder; refuses paths that lead outside it."""
    into.mkdir(parents=True, exist_ok=True)
    if not hasattr(tarfile, "data_filter"):
        raise CourseError(f"Python before 3.11.4 cannot unpack {archive} safely: take a newer one.")
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:  # extractall drops '..' and absolute paths
                opened.extractall(into)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(into, filter="data")
                while opened.fileobj.read(
                    2**20
                ):  # gzip checks its sum at the end, which tar leaves unread
                    pass
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        RuntimeError,
    ) as error:
        raise CourseError(
            f"{archive} is damaged or unsafe ({error}): remove it, or fetch it again."
        ) from error


def is_idx(item: Dataset) -> bool:
    return item.read is read_mnist  # these archives are read as they are, never unpacked


def read_from(item: Dataset, place: Path) -> Arrays:
    """Reads `item` below `place`, unpacking an archive found there into the cache; FileNotFoundError if absent."""
    if place in item.also or (is_idx(item) and ATTACHED in place.parents):
        return item.read(place)
    archive = next((place / name for name in item.files if (place / name).is_file()), None)
    if archive is None or is_idx(item) or (place / item.folder).is_dir():
        return item.read(place / item.folder)
    return item.read(unpacked_folder(archive) / item.folder)


def unpacked_folder(archive: Path) -> Path:
    """The folder in the cache that holds an archive's content, whole: it gets its name when it is complete."""
    stamp = sha256(f"{archive}{archive.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    unpacked = cache_dir() / "unpacked" / stamp
    if unpacked.is_dir():
        return unpacked
    try:
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=unpacked.parent) as partial:
            unpack(archive, Path(partial, "all"))
            Path(partial, "all").rename(unpacked)
    except OSError as error:
        if not unpacked.is_dir():  # otherwise another process was first
            raise unwritable_error(unpacked.parent, error) from error
    return unpacked


def unwritable_error(folder: Path, error: OSError) -> CourseError:
    return CourseError(
        f"{folder} cannot be written ({error.strerror or error}): free some space, or set VAETL_CACHE to a folder "
        "where you may write."
    )


def search_places(item: Dataset, root: Path | str | None) -> list[Path]:
    """The search order: the data root, what is attached on Kaggle, the system's folders, the cache."""
    return [
        place
        for place in (data_root(root), *attached_folders(item), *item.also, cache_dir())
        if place and place.is_dir()
    ]


def attached_folders(item: Dataset) -> list[Path]:
    """The folders of attached data sets that hold `item`, unpacked or as it is published."""
    if not is_idx(item):
        names = {*item.files, Path(item.folder).name}
        return [path.parent for path in sorted(ATTACHED.rglob("*")) if path.name in names]
    found = []
    for labels in sorted(ATTACHED.rglob("train-labels-idx1-ubyte*")):
        with suppress(CourseError):  # damaged, or a folder of that name
            if tuple(read_idx(labels)[:4]) == item.begins:
                found.append(labels.parent)
    return found


def find_arrays(item: Dataset, root: Path | str | None) -> Arrays:
    """The arrays from the first place that has them whole; says what it passes over as damaged."""
    for place in search_places(item, root):
        try:
            return read_from(item, place)
        except FileNotFoundError:
            continue
        except CourseError as error:
            print(error)
    raise FileNotFoundError(item.title)


def is_reachable(url: str, seconds: float = 2.0) -> bool:
    """Whether a host answers in time; in a thread, because nothing else limits the look-up of its name."""
    parts = urlsplit(url)
    if os.environ.get("VAETL_OFFLINE") == "1":  # vaetl lab --offline
        return False
    if parts.scheme in getproxies():
        return True  # only the proxy can say
    answered: list[bool] = []

    def knock() -> None:
        with suppress(OSError):
            address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
            socket.create_connection(address, timeout=seconds).close()
            answered.append(True)

    thread = Thread(target=knock, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answered)


def is_intact(path: Path, known: str | None) -> bool:
    """Whether a file has its published hash; without one, whether a zip's photos are all there and sound."""
    import pooch

    if known:
        return pooch.hashes.hash_matches(str(path), known)
    if path.suffix == ".gz":
        return tarfile.is_tarfile(path)  # text.load_text knows the files inside
    try:
        with zipfile.ZipFile(path) as opened:
            photos = sum(name.lower().endswith(".jpg") for name in opened.namelist())
            return photos >= sum(PHOTOS.values()) and opened.testzip() is None
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError):
        return False


def fetch_file(item: Dataset, folder: Path, name: str, known: str | None) -> None:
    import pooch
    import requests

    path, damaged = folder / name, folder / f"{name}.damaged"
    if path.exists():
        if is_intact(path, known):
            return
        path.replace(damaged)
    pooch.get_logger().setLevel("ERROR")  # it announces each try on stderr
    problems = []
    for mirror in item.mirrors:
        if not is_reachable(mirror):
            off = os.environ.get("VAETL_OFFLINE") == "1"
            problems.append(
                "downloads are off" if off else f"{urlsplit(mirror).hostname} does not answer"
            )
            continue
        store = pooch.create(folder, mirror, registry={name: known}, retry_if_failed=2)
        try:
            store.fetch(
                name, downloader=pooch.HTTPDownloader(is_interactive(), 2**16, timeout=TIMEOUT)
            )
            if known or is_intact(path, None):
                return
            path.replace(damaged)
            problems.append(f"{urlsplit(mirror).hostname} sent something else than {item.title}")
        except (ValueError, requests.exceptions.RequestException) as error:
            problems.append(
                f"{urlsplit(mirror).hostname}: {(str(error) or type(error).__name__).splitlines()[0]}"
            )
    where_to = f"FOLDER/{item.folder}" if is_idx(item) else "FOLDER"
    why = "; ".join(dict.fromkeys(problems))
    raise CourseError(
        f"{item.title} could not be fetched ({why}): check the network and try again, or put "
        f"{', '.join(item.files)} into {where_to} and set VAETL_DATA=FOLDER."
    )


def evidence_of(item: Dataset, place: Path) -> Path | None:
    """What shows that a place holds a set: all its idx files, or its folder or archive."""
    if not is_idx(item):
        return next(
            (place / name for name in (item.folder, *item.files) if (place / name).exists()), None
        )
    folder = place if place in item.also else place / item.folder
    whole = all(
        (folder / name).exists() or (folder / name).with_suffix("").exists() for name in item.files
    )
    return folder if whole else None
