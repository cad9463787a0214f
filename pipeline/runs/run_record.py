"""The provenance of a run as `run.json` holds it: how it is read, and what it must look like."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from knowledge.common.files import parse_json, read_text
from knowledge.common.models import checked

INIT_FROM, EXTENSIONS = "init_from", "extensions"  # keys


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)  # later versions may write more


class _Git(_Part):
    commit: str | None = None
    changed: bool = False


class _Session(_Part):
    seconds: float | None = None
    energy_kwh: float | None = None
    command: str | None = None
    versions: dict[str, str] | None = None
    platform: str | None = None
    device: str | None = None
    threads: int | None = None
    plugins: dict[str, str] = {}
    git: _Git | None = None


class _Extension(_Part):
    to: int


class _Source(_Part):
    source: str
    file: str
    sha256: str


class _Record(_Part):
    data: str | None = None
    bank_digest: str | None = None
    data_digest: str | None = None
    init_from: _Source | None = None
    extensions: list[_Extension] = []
    sessions: list[_Session] = []


def read_run_record(path: Path) -> dict[str, Any] | None:
    """The content of a `run.json`, with every key checked that is read; None without the file.

    Raises:
        ValueError: a damaged file.
    """
    if not path.is_file():
        return None
    try:
        content = parse_json(read_text(path), path)
        checked(content, _Record, path)
    except ValueError as fault:
        raise ValueError(
            f"{fault}; without this file a run can be resumed and reported, but not repeated"
        ) from fault
    return dict(content)
