"""What asking may cost: prices, limits that stop before they are passed, totals."""

import threading
from pathlib import Path

from pydantic import Field

from knowledge.files import Strict, read_toml
from knowledge.provider import Usage


class Price(Strict):
    """US dollars per million tokens."""

    input_usd: float = Field(ge=0)
    output_usd: float = Field(ge=0)

    def of(self, usage: Usage) -> float:
        """The cost of a usage in US dollars."""
        spent = usage.input_tokens * self.input_usd + usage.output_tokens * self.output_usd
        return spent / 1e6


class PriceTable(Strict):
    """The file of prices: `[models."name"]` with `input_usd` and `output_usd`."""

    note: str = ""
    models: dict[str, Price]

    @classmethod
    def read(cls, path: Path) -> "PriceTable":
        """The table of a TOML file."""
        return read_toml(path, cls)

    def get(self, model: str) -> Price | None:
        """The price of a model, or None when the table does not list it."""
        return self.models.get(model)


class BudgetSpent(ValueError):
    """The next call might pass a limit."""


class Budget:
    """Counts usage over threads and refuses a call that might pass a limit.

    A call reserves the most that it may cost and settles what it did cost. A call that does not
    fit beside those under way waits for them; one that does not fit alone is refused.
    """

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        max_cost_usd: float | None = None,
        price: Price | None = None,
    ) -> None:
        if max_cost_usd is not None and price is None:
            raise ValueError(
                "a limit on the cost needs the model's price: add it to the price table (--prices)"
            )
        self.max_tokens = max_tokens
        self.max_cost_usd = max_cost_usd
        self.price = price
        self.spent = Usage()
        self._reserved: list[Usage] = []
        self._changed = threading.Condition()

    @property
    def cost_usd(self) -> float | None:
        """What was spent, in US dollars, where the price is known."""
        return None if self.price is None else self.price.of(self.spent)

    def reserve(self, worst: Usage) -> None:
        """Set aside the most that a call may cost; BudgetSpent when that does not fit."""
        with self._changed:
            while self._passes(worst, self._reserved):
                if not self._reserved or self._passes(worst, []):
                    raise BudgetSpent(self._refusal(worst))
                self._changed.wait()
            self._reserved.append(worst)

    def settle(self, worst: Usage, spent: Usage) -> None:
        """Give back what was set aside and count what was spent."""
        with self._changed:
            self._reserved.remove(worst)
            self.spent = self.spent + spent
            self._changed.notify_all()

    def _passes(self, worst: Usage, reserved: list[Usage]) -> bool:
        usage = self.spent + worst
        for other in reserved:
            usage = usage + other
        if self.max_tokens is not None and usage.tokens > self.max_tokens:
            return True
        if self.max_cost_usd is None or self.price is None:
            return False
        return self.price.of(usage) > self.max_cost_usd

    def _refusal(self, worst: Usage) -> str:
        cost = "" if self.price is None else f" (${self.price.of(self.spent):.4f})"
        limits = []
        if self.max_tokens is not None:
            limits.append(f"{self.max_tokens} tokens")
        if self.max_cost_usd is not None:
            limits.append(f"${self.max_cost_usd}")
        return (
            f"stopped before the limit of {' and '.join(limits)}: {self.spent.tokens} tokens{cost} "
            f"are spent and the next call may take {worst.tokens}; what was answered is kept, "
            "a second run asks only for the rest"
        )
