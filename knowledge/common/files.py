"""TOML and JSON files read into strict models, and files written atomically."""

import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from knowledge.common.models import Model, checked


def read_toml(path: Path, model: type[Model]) -> Model:
    """The TOML file as a checked model; every error names the file and the key.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not TOML, an unknown or missing key, or a value of the wrong type.
    """
    try:
        raw = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is not valid TOML: nested too deeply") from None
    return checked(raw, model, path)


def read_json(path: Path, model: type[Model]) -> Model:
    """The JSON file as a checked model; errors as in `read_toml`."""
    try:
        raw = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON (truncated?): {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is not valid JSON: nested too deeply") from None
    return checked(raw, model, path)


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
    """Write a file atomically: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    # In the same folder, since a rename is atomic within one file system alone.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def without_nan(content: Any) -> Any:
    """The content with null for NaN, which JSON cannot express."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content
