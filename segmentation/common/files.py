"""Atomic writes: a file is complete or absent."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden temporary file in the folder of `path`, renamed to `path` on success.

    Raises:
        OSError: as raised inside, with `path` as its file name where it had none, as errors of
            write calls on a full disk.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as fault:
        if fault.errno is None or fault.filename is not None:
            raise
        raise OSError(fault.errno, fault.strerror, str(path)) from fault
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def make_writable(folder: Path) -> None:
    """Create a folder and check that a file can be written there.

    Raises:
        OSError: it cannot; gives the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(4096))
            trial.flush()
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise OSError(f"{folder}: nothing can be written there ({reason})") from None
