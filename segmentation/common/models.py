"""The strict pydantic model of descriptors and splits, and its errors in words."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def explain(fault: ValidationError, path: Path) -> str:
    """What pydantic found wrong, and under which keys of the file `path`, in one line."""
    told = []
    for error in fault.errors():
        key = ".".join(map(str, error["loc"]))
        reason = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            reason = "unknown key"
        elif error["type"] == "missing":
            reason = "missing key"
        elif not isinstance(error["input"], dict | BaseModel):
            reason += f", not {error['input']!r}"
        told.append(f"{key}: {reason}" if key else reason)
    return f"{path}: {'; '.join(told)}"
