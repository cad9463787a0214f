"""Compare wordings and models: descriptions and a bank for each pair, in one table."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import Field

from knowledge.asking.assembly import literal
from knowledge.asking.valid_answers import UnusableAnswers
from knowledge.bank.bank import Bank
from knowledge.bank.encoding import LONG_TEXT, encode
from knowledge.bank.statistics import statistics
from knowledge.common.files import read_toml, write_whole
from knowledge.common.models import Strict
from knowledge.describe import describe
from knowledge.descriptions import DescriptionSet
from knowledge.encoders.base.encoder import TextEncoder
from knowledge.grounding.agreement import agreement
from knowledge.grounding.claims import check, record_share
from knowledge.grounding.scene import Scene
from knowledge.providers.base.answer_store import AnswerCache
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import Provider, ProviderOptions
from knowledge.providers.base.usage import Price, Usage, total
from knowledge.questions.template import Template
from pipeline.datasets.labeled_scans import find_labeled
from pipeline.datasets.organ_lists import read_organ_list
from pipeline.files import shipped
from pipeline.texts.encoders import make_encoder
from pipeline.texts.services import from_environment, make_provider, quote_of

# Shortening is left out: a matrix asks its models about organs alone.
_LONG_TEXT = tuple(rule for rule in LONG_TEXT if rule != "shorten")
# The model of a literal wording.
_NO_MODEL = "none"


class ModelChoice(Strict):
    """One `[[models]]` table: a model to ask."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    provider: str = "openai_compatible"
    model: str = ""
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    headers: dict[str, str] = Field(default_factory=dict)
    query: dict[str, str] = Field(default_factory=dict)
    answers: Path | None = None
    output: str = "auto"
    temperature: float | None = None
    seed: int | None = None
    max_answer_tokens: int = Field(default=800, ge=1)


class Matrix(Strict):
    """The file `matrix.toml`. Paths are relative to it; the limits are of one run, all cells."""

    organs: str
    templates: tuple[str, ...] = Field(min_length=1)
    models: tuple[ModelChoice, ...] = Field(min_length=1)
    encoder: str
    out: Path = Path("matrix")
    scans: Path | None = None
    split: str | None = None
    samples: int = Field(default=1, ge=1)
    attempts: int = Field(default=3, ge=1)
    concurrency: int = Field(default=4, ge=1)
    long_text: str = "split-mean"
    prices: Path | None = None
    max_tokens_total: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class MatrixRow:
    """One wording by one model. None: not measurable. `note` says why a cell has no bank."""

    template: str
    model: str
    valid: float | None = None
    first_try: float | None = None
    supported: float | None = None
    contradicted: int | None = None
    problems: int | None = None
    words: float | None = None
    tokens: float | None = None
    overflow: int | None = None
    claim_agreement: float | None = None
    word_agreement: float | None = None
    mean_cosine: float | None = None
    effective_rank: float | None = None
    calls: int | None = None
    spent_tokens: int | None = None
    cost_usd: float | None = None
    note: str = ""


COLUMNS = tuple(field.name for field in fields(MatrixRow))


class Cells:
    """All cells of a matrix, with what they share: organs, encoder, scans, cache.

    Everything that can be wrong with the file is checked here, before any model is asked.
    """

    def __init__(self, path: Path, cache: AnswerCache) -> None:
        self.matrix = read_toml(path, Matrix)
        self.folder = path.parent
        self.cache = cache
        names = [model.name for model in self.matrix.models]
        if len(set(names)) != len(names):
            raise ValueError(f"{path}: two models have the same name: {', '.join(names)}")
        self.classes = read_organ_list(self._source(self.matrix.organs)).classes
        self.templates = [
            Template.read(shipped.find("prompts", self._source(name)))
            for name in self.matrix.templates
        ]
        stems = [self._stem(template, model) for template, model in self]
        if len(set(stems)) != len(stems):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            raise ValueError(f"{path}: two cells would be written to {twice}.h5; rename one")
        if self.matrix.long_text not in _LONG_TEXT:
            raise LookupError(
                f"{path}: no long_text {self.matrix.long_text!r}; there is {', '.join(_LONG_TEXT)}"
            )
        self.budgets: list[Budget] = []
        self.prices = {model.name: self._price(model) for model in self.matrix.models}
        self.encoder: TextEncoder = make_encoder(self.matrix.encoder)
        self.scenes: list[tuple[str, Scene]] = []
        if self.matrix.scans is not None:
            scans = self.folder / self.matrix.scans
            fallback = self._source(self.matrix.organs)
            labeled = find_labeled(scans, fallback=fallback, split=self.matrix.split)
            self.scenes = list(labeled.scenes())

    @property
    def spent(self) -> Usage:
        """What this run has asked for so far, failed attempts counted."""
        return total(budget.spent for budget in self.budgets)

    @property
    def out(self) -> Path:
        """Where descriptions, banks and the table are written."""
        return self.folder / self.matrix.out

    def __iter__(self) -> Iterator[tuple[Template, ModelChoice | None]]:
        """Every wording with every model; literal wordings once, since they ask no model."""
        for template in self.templates:
            if template.literal:
                yield template, None
            else:
                yield from ((template, model) for model in self.matrix.models)

    def fill(self, template: Template, model: ModelChoice | None) -> MatrixRow:
        """Ask, check, encode and write one cell; what fails is a row with a note."""
        name = _NO_MODEL if model is None else model.name
        try:
            described = self._described(template, model)
        except UnusableAnswers as error:
            valid = 1.0 - error.failed / error.asked
            return MatrixRow(template.name, name, valid=valid, note=str(error))
        except (OSError, LookupError, ValueError) as error:
            return MatrixRow(template.name, name, note=str(error))
        return self._measured(described, template, name, model)

    def _described(self, template: Template, model: ModelChoice | None) -> DescriptionSet:
        if model is None:
            return literal(template, self.classes)
        provider = self._provider(template, model)
        return describe(
            template,
            self.classes,
            provider,
            samples=self.matrix.samples,
            attempts=self.matrix.attempts,
            concurrency=self.matrix.concurrency,
            cache=self.cache if provider.costs else None,
            budget=self._next_budget(model) if provider.costs else None,
        ).descriptions

    def _next_budget(self, model: ModelChoice) -> Budget:
        """The limits of the matrix, less what earlier cells have spent."""
        budget = Budget(
            max_tokens=self.matrix.max_tokens_total,
            max_cost_usd=self.matrix.max_cost,
            price=self.prices[model.name],
            after=self.budgets[-1] if self.budgets else None,
        )
        self.budgets.append(budget)
        return budget

    def _price(self, model: ModelChoice) -> Price | None:
        """The price of a live model; ValueError when a limit on the cost needs one."""
        if model.provider == "recorded":
            return None
        prices = self.folder / self.matrix.prices if self.matrix.prices else None
        quote = quote_of(model.model, prices)
        if quote.price is None and self.matrix.max_cost is not None:
            raise ValueError(f"max_cost needs the price of model {model.name!r}: {quote.source}")
        return quote.price

    def _provider(self, template: Template, model: ModelChoice) -> Provider:
        chosen = model.model_dump(exclude={"name", "provider", "answers"})
        chosen["headers"] = from_environment(model.headers)
        answers = None if model.answers is None else self.folder / model.answers
        options = ProviderOptions(**chosen)
        return make_provider(model.provider, template, options, answers, self.cache.folder)

    def _measured(
        self, described: DescriptionSet, template: Template, name: str, model: ModelChoice | None
    ) -> MatrixRow:
        report = check(described, self.scenes)
        described = record_share(described, report)
        stem = self._stem(template, model)
        described.write(self.out / f"{stem}.json")
        price = None if model is None else self.prices[model.name]
        row: dict[str, Any] = {
            **_of_descriptions(described),
            "supported": report.supported_share,
            "contradicted": report.count("contradicted") if self.scenes else None,
            "problems": len(report.problems),
            "cost_usd": None if price is None else price.of(described.totals),
        }
        try:
            bank = encode(described, self.encoder, long_text=self.matrix.long_text)
        except ValueError as error:
            return MatrixRow(template.name, name, **row, note=str(error))
        bank.write(self.out / f"{stem}.h5")
        return MatrixRow(template.name, name, **row, **_of_bank(bank))

    def _stem(self, template: Template, model: ModelChoice | None) -> str:
        """The name of a cell's files."""
        return f"{template.name}-{_NO_MODEL if model is None else model.name}"

    def _source(self, name: str) -> str:
        """A name as it is, or a path relative to the matrix file."""
        path = self.folder / name
        return str(path) if Path(name).suffix and path.is_file() else name


def run(cells: Cells, progress: Callable[[str], None]) -> list[MatrixRow]:
    """Fill all cells and write `table.csv` and `table.json`; returns the rows of the table.

    Answers are cached, so a second run asks only for what is missing.
    """
    rows = []
    for template, model in cells:
        rows.append(cells.fill(template, model))
        progress(f"{rows[-1].template}, {rows[-1].model}")
    write_whole(cells.out / "table.csv", as_csv(rows))
    content = json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)
    write_whole(cells.out / "table.json", content + "\n")
    return rows


def as_csv(rows: list[MatrixRow]) -> str:
    """The table as CSV; empty where there is nothing to measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(["" if value is None else value for value in asdict(row).values()])
    return text.getvalue()


def _of_descriptions(described: DescriptionSet) -> dict[str, Any]:
    samples = [sample for item in described.descriptions for sample in item.samples]
    alike = agreement(described)
    return {
        "valid": 1.0,
        "first_try": sum(sample.origin.attempts <= 1 for sample in samples) / len(samples),
        "words": sum(len(sample.text.split()) for sample in samples) / len(samples),
        "claim_agreement": alike.claims,
        "word_agreement": alike.words,
        "calls": described.totals.calls,
        "spent_tokens": described.totals.tokens,
    }


def _of_bank(bank: Bank) -> dict[str, Any]:
    """Tokens, texts beyond the limit, and the separability of the classes, over all aspects."""
    aspects = statistics(bank)
    limit = bank.token_limit
    over = 0 if limit is None else int((bank.token_counts > limit).sum())
    return {
        "tokens": float(bank.token_counts.mean()),
        "overflow": over,
        "mean_cosine": sum(item.mean_cosine for item in aspects) / len(aspects),
        "effective_rank": sum(item.effective_rank for item in aspects) / len(aspects),
    }
