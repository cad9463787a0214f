"""Strict files: TOML and JSON read into frozen models; files written whole or not at all."""

import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge.common.suggest import meant

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and numbers that are infinite or none at all."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def readable(raw: Any, version: int, what: str) -> Any:
    """What a file holds, if its `format_version` is one that this version of tak-seg reads.

    To be asked before unknown keys are: a newer format may have keys that this one has not.

    Raises:
        ValueError: it is newer than `version`.
    """
    found = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(found, int) and found > version:
        raise ValueError(
            f"{what} of format {found}; this version reads up to {version}: update tak-seg"
        )
    return raw


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
    return checked(raw, model, path)


def read_json(path: Path, model: type[Model]) -> Model:
    """The JSON file as a checked model; errors as in `read_toml`."""
    try:
        raw = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON (truncated?): {error}") from error
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


def checked(raw: Any, model: type[Model], where: object) -> Model:
    """`raw` as a model, or a ValueError that says where, which key and what is wrong."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{where}: {problems(error, model)}") from error


def problems(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """The first few complaints of pydantic as `key: what is wrong`, on one line.

    With the model, an unknown key is answered with the key that it resembles.
    """
    lines = []
    for item in error.errors()[:5]:
        key = ".".join(str(part) for part in item["loc"]) or "the whole"
        if item["type"] == "extra_forbidden":
            known = keys_at(model, item["loc"][:-1])
            lines.append(f"unknown key {key!r}{meant(str(item['loc'][-1]), known)}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{key}: {message[0].lower()}{message[1:]}")
    more = error.error_count() - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def keys_at(model: type[BaseModel] | None, table: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that a table of a model has; none where the path leads to no table of known keys."""
    for part in table:
        field = model.model_fields.get(str(part)) if model else None
        inner = field.annotation if field else None
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
    return tuple(model.model_fields) if model else ()


def canonical_json(value: Any) -> str:
    """JSON text that is the same for equal values: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest_of(value: Any) -> str:
    """The sha256 (hex) of a JSON-able value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


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
