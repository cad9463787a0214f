"""Probe results by server and model, kept in a file from run to run."""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from knowledge.common.digests import canonical_json
from knowledge.common.files import read_json, write_whole
from knowledge.common.models import Strict


class ProbeResult(Strict):
    """The best output of a server and model, and when it was probed (ISO 8601, UTC)."""

    url: str
    model: str
    output: str
    date: str


class ProbeResults(Strict):
    """The content of the file.

    Attributes:
        outputs: by address and model, of version 0.1; not read any more, since passing faults of a
            probe were remembered as well.
    """

    servers: list[ProbeResult] = Field(default_factory=list)
    outputs: dict[str, str] = Field(default_factory=dict)


class ServerMemory:
    """A file of probe results; without a path nothing is remembered."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def get(self, url: str, model: str) -> str | None:
        """The output remembered for a server and model."""
        outputs = (
            each.output for each in self._results() if (each.url, each.model) == (url, model)
        )
        return next(outputs, None)

    def put(self, url: str, model: str, output: str) -> None:
        """Remember an output with the date of now."""
        if self.path is None:
            return
        others = [each for each in self._results() if (each.url, each.model) != (url, model)]
        date = datetime.now(UTC).isoformat(timespec="seconds")
        result = ProbeResult(url=url, model=model, output=output, date=date)
        content = ProbeResults(servers=[*others, result]).model_dump(exclude={"outputs"})
        write_whole(self.path, canonical_json(content))

    def _results(self) -> list[ProbeResult]:
        """The results of the file; a damaged one counts as empty and is replaced."""
        if self.path is None or not self.path.is_file():
            return []
        try:
            return read_json(self.path, ProbeResults).servers
        except ValueError:
            return []
