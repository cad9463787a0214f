"""Usage of a service in calls and tokens, and its price."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from knowledge.common.files import read_toml
from knowledge.common.models import Strict

if TYPE_CHECKING:
    pass


class Usage(Strict):
    """Calls made and tokens spent."""

    calls: int = Field(default=0, ge=0)
    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class EstimatedUsage(Usage):
    """An estimated usage; against limits it counts as the maximum of the call."""


class Price(Strict):
    """US dollars per million tokens."""

    input_usd: float = Field(ge=0)
    output_usd: float = Field(ge=0)

    def of(self, usage: Usage) -> float:
        """The cost of a usage in US dollars."""
        spent = usage.input_tokens * self.input_usd + usage.output_tokens * self.output_usd
        return spent / 1e6


class PriceTable(Strict):
    """The file of prices: a `date`, and `[models."name"]` with `input_usd` and `output_usd`."""

    date: str = Field(min_length=1)
    note: str = ""
    models: dict[str, Price]

    @classmethod
    def read(cls, path: Path) -> "PriceTable":
        """The table of a TOML file."""
        return read_toml(path, cls)

    def get(self, model: str) -> Price | None:
        """The price of a model, or None when the table does not list it."""
        return self.models.get(model)


def total(usages: Iterable[Usage]) -> Usage:
    """The sum of usages."""
    result = Usage()
    for usage in usages:
        result = result + usage
    return result
