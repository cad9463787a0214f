"""Strict pydantic models, and their errors in one line that names file and key."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from knowledge.common.suggest import did_you_mean
from knowledge.common.text import one_line

Model = TypeVar("Model", bound=BaseModel)
_LONGEST = 450  # characters of a message, its file aside


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def readable(raw: Any, version: int, what: str) -> Any:
    """The content of a file, checked for a `format_version` that this version of tak-seg reads.

    Call it before unknown keys are checked: a newer format may have more keys.

    Raises:
        ValueError: it is newer than `version`.
    """
    stored = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(stored, int) and stored > version:
        raise ValueError(
            f"{what} of format {stored}; this version reads up to {version}: update tak-seg"
        )
    return raw


def checked(raw: Any, model: type[Model], where: object) -> Model:
    """`raw` as a model; ValueError names the place, the key and the fault."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{where}: {problems(error, model)}") from error


def problems(
    error: ValidationError, model: type[BaseModel] | None = None, *, suggest: bool = True
) -> str:
    """The first validation errors as `key: message`, on one line.

    Args:
        model: what was validated; with it, unknown keys are answered with a similar one.
        suggest: also answer unknown values with a similar one.
    """
    lines = []
    for item in error.errors()[:5]:
        key = one_line(".".join(str(part) for part in item["loc"]), 80) or "the whole"
        if item["type"] == "extra_forbidden":
            known = keys_at(model, item["loc"][:-1])
            lines.append(f"unknown key {key!r}{did_you_mean(str(item['loc'][-1]), known)}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            meant = meant_choice(item) if suggest else ""
            lines.append(one_line(f"{key}: {message[0].lower()}{message[1:]}{meant}", _LONGEST))
    while len(lines) > 1 and sum(map(len, lines)) > _LONGEST:
        lines.pop()
    more = error.error_count() - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def meant_choice(error: ErrorDetails) -> str:
    """`; did you mean CHOICE?` for pydantic's error of a value that is not one of a few strings."""
    if error["type"] != "literal_error":
        return ""
    choices = re.findall(r"'([^']*)'", error.get("ctx", {}).get("expected", ""))
    return did_you_mean(str(error["input"]), choices)


def keys_at(model: type[BaseModel] | None, table: Sequence[str | int]) -> tuple[str, ...]:
    """The keys of a table within a model; empty if the path leads to no model."""
    for part in table:
        field = model.model_fields.get(str(part)) if model else None
        inner = field.annotation if field else None
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
    return tuple(model.model_fields) if model else ()
