"""The strict pydantic model of descriptors and splits, and its errors as one line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from segmentation.common.suggest import did_you_mean
from segmentation.common.text import one_line

_LIMIT = 400  # characters of a message, its file aside


class Strict(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def explain(
    fault: ValidationError,
    path: Path,
    model: type[BaseModel],
    examples: Mapping[str, str] | None = None,
) -> str:
    """The problems of a validation error, each with its key in the file `path`, in one line.

    Args:
        model: what was validated; unknown keys are answered with the most similar of its keys.
        examples: by key, what to write where it is missing.
    """
    problems, hints = [], []
    for error in fault.errors():
        key = ".".join(map(str, error["loc"]))
        reason, hint = error["msg"].removeprefix("Value error, "), ""
        if error["type"] == "extra_forbidden":
            reason = "unknown key"
            hint = did_you_mean(str(error["loc"][-1]), _keys_at(model, error["loc"][:-1]))
        elif error["type"] == "missing":
            reason = "missing key"
            example = (examples or {}).get(str(error["loc"][-1]))
            hint = f"; write {example}" if example else ""
        elif not isinstance(error["input"], dict | BaseModel):
            reason += f", not {one_line(repr(error['input']), 60)}"
            if error["type"] == "literal_error":
                choices = re.findall(r"'([^']*)'", error.get("ctx", {}).get("expected", ""))
                hint = did_you_mean(str(error["input"]), choices)
        problems.append(f"{one_line(key, 80)}: {reason}" if key else reason)
        hints.append(hint)
    # Every problem is named; hints are dropped from the end until the line fits.
    for place in reversed(range(len(hints))):
        if sum(map(len, problems + hints)) + 2 * len(problems) > _LIMIT:
            hints[place] = ""
    lines = [problem + hint for problem, hint in zip(problems, hints, strict=True)]
    return f"{path}: {one_line('; '.join(lines), _LIMIT)}"


def _keys_at(model: type[BaseModel], place: Sequence[str | int]) -> tuple[str, ...]:
    """The keys of the table at pydantic's location within a model."""
    for part in place:
        # Indices of lists and tags of unions are no fields: the model stays the same.
        if str(part) in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return tuple(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is one, or a list, a table or an option of one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
