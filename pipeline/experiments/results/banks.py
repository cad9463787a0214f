"""Measures of the text vectors of a study: answers, truth of their claims, separability."""

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from knowledge.bank.bank import Bank
from knowledge.bank.statistics import statistics
from knowledge.common.files import read_text
from knowledge.descriptions import DescriptionSet
from knowledge.grounding.agreement import agreement
from knowledge.grounding.claims import problems
from pipeline.experiments.planning import Plan
from pipeline.experiments.stages import CellStages, Stage
from pipeline.experiments.store import Store

_IDENTITY = ("wording", "model", "encoder", "bank")


@dataclass(frozen=True)
class BankRow:
    """One bank of a study. None: not measurable, such as words of a bank that is a file.

    Attributes:
        arm: the first one that reads the bank.
        first_try: share of the answers that were valid at once.
        supported: supported claims among those that scans decide; `contradicted` counts the others.
        problems: claims of a set that contradict each other, unknown organs, exchanged sides.
        words, tokens: mean length of a text; `overflow` texts are beyond the encoder's limit.
        claim_agreement, word_agreement: between samples of one question.
        mean_cosine, effective_rank: of the classes, mean over aspects.
        note: why the bank is missing.
    """

    arm: str
    wording: str
    model: str
    encoder: str
    bank: str
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


MEASURES = tuple(
    each.name for each in fields(BankRow) if each.name not in ("arm", *_IDENTITY, "note")
)


def bank_rows(plan: Plan, store: Store) -> list[BankRow]:
    """One row per bank that the cells of a study read, in their order.

    Raises:
        ValueError: a bank or description set that is damaged.
    """
    rows: dict[tuple[str, str], BankRow] = {}
    for cell in plan.cells:
        if cell.bank is not None:
            key = (cell.describe.key if cell.describe else "", _key(cell))
            if key not in rows:
                rows[key] = _row(cell, store)
    return list(rows.values())


def _key(cell: CellStages) -> str:
    assert cell.bank is not None
    return cell.bank.key if isinstance(cell.bank, Stage) else cell.bank.path


def _row(cell: CellStages, store: Store) -> BankRow:
    settings = cell.cell.settings
    content: dict[str, Any] = {"wording": "", "model": "", "encoder": "", "bank": "file"}
    if isinstance(cell.bank, Stage):
        wording, facts = (
            str(settings["wording"]),
            dict(cell.describe.facts if cell.describe else {}),
        )
        content = {
            "wording": Path(wording).stem if "/" in wording else wording.removesuffix(".toml"),
            "model": str(facts.get("model", facts.get("provider", "none"))),
            "encoder": str(settings["encoder"]),
            "bank": str(settings["bank"]),
        }
        for stage in filter(None, (cell.describe, cell.check, cell.bank)):
            record = store.record(stage)
            if record is None or record.status != "done":
                error = "not run yet" if record is None else record.error or record.status
                content["note"] = content.get("note") or f"{stage.kind}: {error}"
    else:
        assert cell.bank is not None
        content["bank"] = Path(cell.bank.path).stem
    return BankRow(arm=cell.cell.arm, **content | _measures(cell, store))


def _measures(cell: CellStages, store: Store) -> dict[str, Any]:
    """The measures of a bank from its finished stages."""
    measures: dict[str, Any] = {}
    if cell.describe and store.state(cell.describe) == "done":
        measures |= _of_descriptions(DescriptionSet.read(store.product(cell.describe)))
    if cell.check and store.state(cell.check) == "done":
        measures |= _of_check(json.loads(read_text(store.product(cell.check))))
    if not isinstance(cell.bank, Stage):
        measures |= _of_bank(Bank.read(Path(cell.bank.path))) if cell.bank else {}
    elif store.state(cell.bank) == "done":
        measures |= _of_bank(Bank.read(store.product(cell.bank)))
    return measures


def _of_descriptions(described: DescriptionSet) -> dict[str, Any]:
    samples = [sample for item in described.descriptions for sample in item.samples]
    alike = agreement(described)
    return {
        "first_try": sum(sample.origin.attempts <= 1 for sample in samples) / len(samples),
        "words": sum(len(sample.text.split()) for sample in samples) / len(samples),
        "claim_agreement": alike.claims,
        "word_agreement": alike.words,
        "calls": described.totals.calls,
        "spent_tokens": described.totals.tokens,
        "cost_usd": described.cost_usd,
        "problems": len(problems(described)),
    }


def _of_check(report: dict[str, Any]) -> dict[str, Any]:
    verdicts = [result["verdict"] for result in report["results"]]
    return {
        "supported": report["supported_share"],
        "contradicted": verdicts.count("contradicted"),
    }


def _of_bank(bank: Bank) -> dict[str, Any]:
    """Tokens, texts beyond the limit, and the separability of the classes, over all aspects."""
    aspects = statistics(bank)
    limit = bank.token_limit
    counted = bool(bank.token_counts.any())
    return {
        "tokens": float(bank.token_counts.mean()) if counted else None,
        "overflow": 0 if limit is None else int((bank.token_counts > limit).sum()),
        "mean_cosine": sum(item.mean_cosine for item in aspects) / len(aspects),
        "effective_rank": sum(item.effective_rank for item in aspects) / len(aspects),
    }


def banks_csv(rows: list[BankRow]) -> str:
    """The rows as CSV; empty if there is nothing to measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([each.name for each in fields(BankRow)])
    for row in rows:
        writer.writerow(["" if value is None else value for value in asdict(row).values()])
    return text.getvalue()


def bank_labels(rows: list[BankRow]) -> list[str]:
    """A heading per row: the values that vary between rows; the arm if these are not unique."""
    varied = [name for name in _IDENTITY if len({getattr(row, name) for row in rows}) > 1]
    names = varied or ["wording"]
    labels = [", ".join(filter(None, (getattr(row, name) for name in names))) for row in rows]
    return labels if len(set(labels)) == len(labels) else [row.arm for row in rows]


def bank_table(rows: list[BankRow]) -> list[list[str]]:
    """Measures by row and banks by column, for display; measures that no bank has are omitted."""
    table = []
    for name in MEASURES:
        values = [getattr(row, name) for row in rows]
        if any(value is not None for value in values):
            table.append([name.replace("_", " "), *map(_in_words, values)])
    return table


def _in_words(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
