"""Limits on tokens and cost, which stop before they are exceeded."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from knowledge.providers.base.usage import EstimatedUsage, Price, Usage


class BudgetSpent(ValueError):
    """The next call might exceed a limit."""


class Stopped(Exception):
    """The run has ended in another thread; this call was not made."""


@dataclass
class Attempt:
    """A call in progress. `spent` is its maximum until the actual usage is known."""

    spent: Usage


class Budget:
    """Counts usage over threads and refuses a call that might exceed a limit.

    Every call to a service is an `attempt`: it reserves its maximum and settles its actual cost. A
    call that does not fit together with those in progress waits for them; one that does not fit
    alone is refused. The total of the budget `after` which this one comes, perhaps at another
    price, counts against these limits too.
    """

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        max_cost_usd: float | None = None,
        price: Price | None = None,
        after: "Budget | None" = None,
    ) -> None:
        if max_cost_usd is not None and price is None:
            raise ValueError(
                "a limit on the cost needs the model's price: add it to the price table (--prices)"
            )
        self.max_tokens = max_tokens
        self.max_cost_usd = max_cost_usd
        self.price = price
        self.spent = Usage()
        self.stopped = threading.Event()
        self._tokens: int = after._tokens if after else 0
        self._usd: float = after._usd if after else 0.0
        self._reserved: list[Usage] = []
        self._excess = {"input_tokens": 1.0, "output_tokens": 1.0}
        self._changed = threading.Condition()

    @property
    def cost_usd(self) -> float | None:
        """The cost so far in US dollars; None if the price is unknown."""
        return None if self.price is None else self.price.of(self.spent)

    def stop(self) -> None:
        """Refuse every further attempt, and wake those that wait for one."""
        self.stopped.set()
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def attempt(self, worst: Usage) -> Iterator[Attempt]:
        """One call: reserved on entry, settled on exit with the attempt's `spent`.

        Raises:
            BudgetSpent: the call does not fit.
            Stopped: after `stop`.
        """
        reserved = self._reserve(worst)
        attempt = Attempt(reserved)
        try:
            yield attempt
        finally:
            self._settle(worst, reserved, attempt.spent)

    def _reserve(self, worst: Usage) -> Usage:
        with self._changed:
            while True:
                if self.stopped.is_set():
                    raise Stopped
                reserved = self._corrected(worst)
                if not self._passes(reserved, self._reserved):
                    self._reserved.append(reserved)
                    return reserved
                if not self._reserved or self._passes(reserved, []):
                    raise BudgetSpent(self._refusal(reserved))
                self._changed.wait()

    def _settle(self, worst: Usage, reserved: Usage, spent: Usage) -> None:
        counted = reserved if isinstance(spent, EstimatedUsage) else spent
        with self._changed:
            self._reserved.remove(reserved)
            self.spent = self.spent + spent
            self._tokens += counted.tokens
            self._usd += 0.0 if self.price is None else self.price.of(counted)
            for key, excess in self._excess.items():
                if most := getattr(worst, key):
                    self._excess[key] = max(excess, getattr(counted, key) / most)
            self._changed.notify_all()

    def _corrected(self, worst: Usage) -> Usage:
        """The maximum of a call, enlarged by the largest excess of earlier calls.

        Services exceed it that add long texts, or ignore the limit of the answer.
        """
        enlarged = {key: ceil(getattr(worst, key) * by) for key, by in self._excess.items()}
        return worst.model_copy(update=enlarged)

    def _passes(self, worst: Usage, reserved: list[Usage]) -> bool:
        usage = worst
        for other in reserved:
            usage = usage + other
        if self.max_tokens is not None and self._tokens + usage.tokens > self.max_tokens:
            return True
        if self.max_cost_usd is None or self.price is None:
            return False
        return self._usd + self.price.of(usage) > self.max_cost_usd

    def _refusal(self, worst: Usage) -> str:
        cost = "" if self.price is None else f" (${self._usd:.4f})"
        limits = []
        if self.max_tokens is not None:
            limits.append(f"{self.max_tokens} tokens")
        if self.max_cost_usd is not None:
            limits.append(f"${self.max_cost_usd}")
        return (
            f"stopped before the limit of {' and '.join(limits)}: {self._tokens} tokens{cost} "
            f"count as spent and the next call may take {worst.tokens}; what was answered is kept, "
            "a second run asks only for the rest"
        )
