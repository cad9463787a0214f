"""Digests of the files that a study reads, for the keys of its stages."""

import hashlib
from functools import cache
from pathlib import Path

from pipeline.files import shipped

_HEAD_BYTES = 1 << 16  # of every file of a folder; enough for the headers of scans


@cache
def digest_of_file(path: str) -> str:
    """The sha256 of a file; read once per process.

    Raises:
        FileNotFoundError: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise FileNotFoundError(f"{path}: {error.strerror}") from None


def digest_of_descriptor(name: str) -> str:
    """The digest of a descriptor, a path or a shipped name."""
    path = Path(name)
    return digest_of_file(str(path if path.is_file() else shipped.find("data", name)))


@cache
def digest_of_folder(folder: str) -> str:
    """The digest of names, sizes and first bytes of all files below a folder; fast for scans."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                digest.update(file.read(_HEAD_BYTES))
    return digest.hexdigest()
