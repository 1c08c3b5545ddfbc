"""Signing certificates with a key pair (Ed25519), and looking whether one is as it was signed.

A signature is the last line of the file, a comment in HTML and in PDF, and covers every byte before
it. So nothing that is seen can be changed without being noticed, whatever the file holds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from vaetl_helpers.errors import CourseError
from vaetl_helpers.output import write_whole

MARK = b"vaetl signature: "
# How each kind of file writes a comment around the line.
COMMENTS = {".html": (b"<!-- ", b" -->"), ".pdf": (b"% ", b"")}
PRIVATE, PUBLIC = "certificate.key", "certificate.pub"


class Verified(NamedTuple):
    """The fingerprint of the key that a file was signed with, and whether it is the one asked for.

    `is_expected` is None where no key was given to compare it with.
    """

    fingerprint: str
    is_expected: bool | None


def _ed25519() -> Any:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519 as ed25519
    except ModuleNotFoundError as error:
        raise CourseError(
            "Signatures need the package cryptography: pip install 'cryptography>=42.0'"
        ) from error
    return ed25519


def key_pair(folder: Path) -> tuple[Path, Path]:
    """The private and the public key of a course's folder, made once.

    The private one can be read by its owner alone.
    """
    private, public = folder / PRIVATE, folder / PUBLIC
    if not private.exists():
        key = _ed25519().Ed25519PrivateKey.generate()
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(private, _text(key.private_bytes_raw()), mode=0o600)
    write_whole(public, _text(_private(private).public_key().public_bytes_raw()))
    return private, public


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii") + "\n"


def _private(path: Path) -> Any:
    return _ed25519().Ed25519PrivateKey.from_private_bytes(_key_in(path))


def _key_in(path: Path) -> bytes:
    """The 32 bytes of a key file; CourseError for any other file."""
    try:
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except (OSError, binascii.Error):
        key = b""
    if len(key) != 32:
        raise CourseError(f"{path} is no key of `vaetl certificate`: give a file {PUBLIC}.")
    return key


def fingerprint(public: bytes) -> str:
    """A public key in short, for people to compare: 16 signs in four groups."""
    digest = hashlib.sha256(public).hexdigest()[:16]
    return " ".join(digest[start : start + 4] for start in range(0, 16, 4))


def sign(path: Path, private: Path) -> None:
    """Adds the signature to a certificate, in place of an earlier one."""
    key = _private(private)
    content, _ = _split(path)
    public = base64.b64encode(key.public_key().public_bytes_raw())
    signature = base64.b64encode(key.sign(content))
    begin, end = COMMENTS[path.suffix]
    write_whole(path, content + begin + MARK + public + b" " + signature + end + b"\n")


def verify(path: Path, key: Path | None = None) -> Verified:
    """Whose signature a certificate has; raises CourseError where it has none, or was changed.

    `key` is the instructor's public key, to compare the signer's with.
    """
    content, line = _split(path)
    if line is None:
        raise CourseError(
            f"{path} has no signature: it is self-checked, and nobody answers for what it says."
        )
    if not _is_sound(content, line):
        raise CourseError(f"{path} is not as it was signed: something in it was changed.")
    public = base64.b64decode(line.split()[0])
    expected = None if key is None else _key_in(key) == public
    return Verified(fingerprint(public), expected)


def _is_sound(content: bytes, line: bytes) -> bool:
    library = _ed25519()
    from cryptography.exceptions import InvalidSignature

    try:
        public, signature = (base64.b64decode(part, validate=True) for part in line.split())
        library.Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):  # binascii.Error is a ValueError
        return False
    return True


def _split(path: Path) -> tuple[bytes, bytes | None]:
    """What was or will be signed, and key and signature of the last line, if there is one."""
    if path.suffix not in COMMENTS:
        kinds = " or ".join(COMMENTS)
        raise CourseError(f"{path} is no certificate: give the file that ends in {kinds}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CourseError(f"{path} cannot be read: mend the path.") from error
    if not content.endswith(b"\n"):
        content += b"\n"
    begin, end = COMMENTS[path.suffix]
    start = content.rfind(b"\n", 0, len(content) - 1) + 1
    line = content[start:-1]
    if not (line.startswith(begin + MARK) and line.endswith(end)):
        return content, None
    return content[:start], line[len(begin + MARK) : len(line) - len(end)]
