"""Strict files: TOML and JSON read into frozen models; files written whole or not at all."""

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
    """The file's text, which must be UTF-8; a byte order mark is left out."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, where a file is needed")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a UTF-8 text file: {error}") from error


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside the target, then rename: readers see the old file or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
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
    """NaN as null: JSON knows no NaN."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and content != content else content
