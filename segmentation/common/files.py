"""Atomic and durable writes: a file or folder is complete or absent, even after a power cut."""

import hashlib
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOST = hashlib.blake2b(platform.node().encode(), digest_size=2).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden temporary file in the folder of `path`, renamed to `path` on success.

    The file is on the disk (fsync) before it replaces the old one: after a rename alone, some file
    systems leave a file of 0 bytes where the power fails in the next half minute.

    Raises:
        OSError: as raised inside, with `path` as its file name where it had none, as errors of
            write calls on a full disk.
    """
    remove_leftovers(path)
    partial = partial_of(path)
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)
    except OSError as fault:
        if fault.errno is None or fault.filename is not None:
            raise
        raise OSError(fault.errno, fault.strerror, str(path)) from fault
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A hidden temporary folder beside `path`, which takes the place of `path` on success."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    partial = partial_of(path)
    try:
        partial.mkdir()
        yield partial
        if path.is_dir():
            shutil.rmtree(path)  # a folder can be renamed to a new name alone
        os.replace(partial, path)
        flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def partial_of(path: Path) -> Path:
    """The hidden name of an unfinished file; tells machine, process and thread that write it."""
    owner = f"{_HOST}-{os.getpid()}-{threading.get_native_id()}"
    return path.with_name(f".{path.name}.{owner}.partial")


def remove_leftovers(path: Path) -> None:
    """Remove unfinished files and folders of `path` that killed processes of this machine left."""
    if os.name == "nt" or not path.parent.is_dir():  # Windows cannot ask whether a process lives
        return
    start = f".{path.name}.{_HOST}-"
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(start)]
    for name in names:
        process = name.removeprefix(start).partition("-")[0]
        if name.endswith(".partial") and process.isdigit() and not _is_alive(int(process)):
            leftover = path.with_name(name)
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user
    return True


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
