"""Usage of the questions of a study: so far, and at most for the open ones."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge.common.files import read_text
from pipeline.experiments.data_stages import organs_of
from pipeline.experiments.planning import Plan
from pipeline.experiments.stages import Stage
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study


@dataclass(frozen=True)
class QuestionEstimate:
    """Maximal usage of the pending description sets of a study, each question counted once.

    Attributes:
        questions: that pending sets ask models, answered ones included.
        calls, input_tokens, output_tokens: at most, with no repeated attempt.
        cost_usd: of the models whose price is known.
        unpriced: models without a price.
    """

    questions: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The estimate in words; empty if no model is asked."""
        if not self.questions:
            return []
        cost = f"at most {self.cost_usd:.2f} USD" if self.cost_usd or not self.unpriced else ""
        unknown = f"price of {', '.join(self.unpriced)} unknown" if self.unpriced else ""
        return [
            f"{self.questions} questions to models, {self.calls} calls to make; repeated attempts "
            "are extra",
            f"  at most {self.input_tokens} input and {self.output_tokens} output tokens",
            f"  {', '.join(filter(None, (cost, unknown)))}",
        ]


def estimate_questions(plan: Plan, store: Store) -> QuestionEstimate:
    """Calls, tokens and cost of all open questions; makes no call.

    Raises:
        ValueError, LookupError, OSError: a wording, provider or price table that cannot be read.
    """
    pending = {stage.key for stage in plan.pending("describe") if "provider" in stage.facts}
    asked: dict[str, Mapping[str, Any]] = {
        cell.describe.key: cell.cell.settings
        for cell in plan.cells
        if cell.describe and cell.describe.key in pending
    }
    live = [each for each in asked.values() if each["provider"] != "recorded"]
    return _estimate(plan.study, live, store) if live else QuestionEstimate()


def _estimate(
    study: Study, settings: Iterable[Mapping[str, Any]], store: Store
) -> QuestionEstimate:
    from knowledge.providers.base.usage import total
    from pipeline.texts.asking import open_questions

    known: set[str] = set()
    unpriced: set[str] = set()
    questions, cost, usages = 0, 0.0, []
    for each in settings:
        job = _job(study, each, store)
        still_open = {k: usage for k, usage in open_questions(job).items() if k not in known}
        known |= set(still_open)
        usage = total(still_open.values())
        usages.append(usage)
        questions += len(job.classes) * len(job.template.aspects) * job.limits.samples
        if job.quote.price is not None:
            cost += job.quote.price.of(usage)
        elif usage.calls:
            unpriced.add(str(each.get("model", "")))
    spent = total(usages)
    return QuestionEstimate(
        questions, spent.calls, spent.input_tokens, spent.output_tokens, cost,
        tuple(sorted(unpriced)),
    )  # fmt: skip


def _job(study: Study, settings: Mapping[str, Any], store: Store) -> Any:
    """The questions of one description set; headers do not matter and are omitted."""
    from pipeline.datasets.organ_lists import read_organ_list
    from pipeline.texts import asking, services

    cache = store.root / "answers"
    var = settings.get("var", [])
    wording = asking.wording(
        study.resolve(str(settings["wording"])), [var] if isinstance(var, str) else var
    )
    model = str(settings.get("model", ""))
    tuned = {"temperature": "temperature", "seed": "model_seed"}
    options = services.service(
        model, settings.get("base_url"), "", None, None,
        output=str(settings.get("output", "auto")),
        max_answer_tokens=int(settings.get("max_answer_tokens", 800)),
        **{name: settings[axis] for name, axis in tuned.items() if axis in settings},
    )  # fmt: skip
    prices = settings.get("prices")
    return asking.DescribeJob(
        wording,
        read_organ_list(organs_of(study)).classes,
        services.make_provider(str(settings["provider"]), wording, options, None, cache),
        asking.Limits(samples=int(settings.get("samples", 1))),
        services.answer_cache(cache),
        services.quote_of(model, Path(study.resolve(str(prices))) if prices else None),
    )


def spent(stages: Iterable[Stage], store: Store) -> tuple[int, float]:
    """Tokens and US dollars of all finished description sets among some stages."""
    tokens, cost = 0, 0.0
    for stage in stages:
        if stage.kind == "describe" and store.state(stage) == "done":
            content = json.loads(read_text(store.product(stage)))
            totals = content.get("totals", {})
            tokens += totals.get("input_tokens", 0) + totals.get("output_tokens", 0)
            cost += content.get("cost_usd") or 0.0
    return tokens, cost
