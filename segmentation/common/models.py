"""The strict pydantic model of descriptors and splits, and its errors as one line."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from segmentation.common.text import one_line

_LIMIT = 400  # characters of a message, its file aside


class Strict(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def explain(fault: ValidationError, path: Path, examples: Mapping[str, str] | None = None) -> str:
    """The problems of a validation error, each with its key in the file `path`, in one line.

    Args:
        examples: by key, what to write where it is missing.
    """
    problems, hints = [], []
    for error in fault.errors():
        key = ".".join(map(str, error["loc"]))
        reason, hint = error["msg"].removeprefix("Value error, "), ""
        if error["type"] == "extra_forbidden":
            reason = "unknown key"
        elif error["type"] == "missing":
            reason = "missing key"
            example = (examples or {}).get(str(error["loc"][-1]))
            hint = f"; write {example}" if example else ""
        elif not isinstance(error["input"], dict | BaseModel):
            reason += f", not {one_line(repr(error['input']), 60)}"
        problems.append(f"{one_line(key, 80)}: {reason}" if key else reason)
        hints.append(hint)
    # Every problem is named; hints are given to the first ones, as far as the line goes.
    for place in reversed(range(len(hints))):
        if sum(map(len, problems + hints)) + 2 * len(problems) > _LIMIT:
            hints[place] = ""
    said = [problem + hint for problem, hint in zip(problems, hints, strict=True)]
    return f"{path}: {one_line('; '.join(said), _LIMIT)}"
