"""TOML and JSON files read into strict models, and files written atomically and durably."""

import hashlib
import json
import os
import platform
import threading
import tomllib
from pathlib import Path
from typing import Any

from knowledge.common.models import Model, checked
from knowledge.common.text import one_line

_HOST = hashlib.blake2b(platform.node().encode(), digest_size=2).hexdigest()


def read_toml(path: Path, model: type[Model]) -> Model:
    """The TOML file as a checked model; every error names the file and the key.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not TOML, an unknown or missing key, or a value of the wrong type.
    """
    return checked(parse_toml(read_text(path), path), model, path)


def read_json(path: Path, model: type[Model]) -> Model:
    """The JSON file as a checked model; errors as in `read_toml`."""
    return checked(parse_json(read_text(path), path), model, path)


def parse_toml(text: str, where: object) -> dict[str, Any]:
    """The tables of a TOML text; ValueError names the place, whatever the text is."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{where} is not valid TOML: nested too deeply") from None
    except ValueError as error:  # also of whole numbers with thousands of digits
        raise ValueError(f"{where} is not valid TOML: {one_line(error)}") from None


def parse_json(text: str, where: object) -> Any:
    """The content of a JSON text; ValueError names the place, whatever the text is."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{where} is not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{where} is not valid JSON (truncated?): {one_line(error)}") from None


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file, got a folder")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a UTF-8 text file: {error}") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part.

    The file is on the disk (fsync) when the function returns; what it holds may have cost money.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    _remove_leftovers(path)
    # In the same folder, since a rename is atomic within one file system alone.
    owner = f"{_HOST}-{os.getpid()}-{threading.get_native_id()}"
    partial = path.with_name(f".{path.name}.{owner}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _flush_names(path.parent)
    except OSError as fault:
        if fault.errno is None or fault.filename is not None:
            raise
        raise OSError(fault.errno, fault.strerror, str(path)) from fault
    finally:
        partial.unlink(missing_ok=True)


def _flush_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove unfinished files of `path` that killed processes of this machine left."""
    if os.name == "nt":  # cannot ask whether a process lives
        return
    start = f".{path.name}.{_HOST}-"
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(start)]
    for name in names:
        process = name.removeprefix(start).partition("-")[0]
        if name.endswith(".partial") and process.isdigit() and not _is_alive(int(process)):
            path.with_name(name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user
    return True


def without_nan(content: Any) -> Any:
    """The content with null for NaN, which JSON cannot express."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content
