"""The strict pydantic model of descriptors and splits, and its errors as one line."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from segmentation.common.text import one_line


class Strict(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def explain(fault: ValidationError, path: Path, examples: Mapping[str, str] | None = None) -> str:
    """The problems of a validation error, each with its key in the file `path`, in one line.

    Args:
        examples: by key, what to write where it is missing.
    """
    problems = []
    for error in fault.errors():
        key = ".".join(map(str, error["loc"]))
        reason = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            reason = "unknown key"
        elif error["type"] == "missing":
            example = (examples or {}).get(str(error["loc"][-1]))
            reason = f"missing key; write {example}" if example else "missing key"
        elif not isinstance(error["input"], dict | BaseModel):
            reason += f", not {one_line(repr(error['input']), 60)}"
        problems.append(f"{one_line(key, 80)}: {reason}" if key else reason)
    return f"{path}: {one_line('; '.join(problems), 1200)}"
