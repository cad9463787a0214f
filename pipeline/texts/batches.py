"""`tak describe` in batches: write requests to a file, read answers from files."""

from dataclasses import dataclass, replace
from pathlib import Path

from knowledge.asking.batch import BatchProvider, BatchReplies, Lines
from knowledge.asking.batch_file import BatchLine, read_lines, write_requests
from knowledge.asking.describe import DescribeResult
from knowledge.asking.valid_answers import Unanswered, UnusableAnswers
from knowledge.providers.base.budget import Budget, BudgetSpent
from knowledge.providers.base.usage import Usage
from knowledge.questions.questions import question_digest
from pipeline.texts.asking import DescribeJob, ScanJudge, describe_within, questions_of, took

MOST_REQUESTS, MOST_BYTES = 50_000, 200 * 10**6  # of a file, for OpenAI's Batch API
_SHOWN = 3


@dataclass(frozen=True)
class BatchResult:
    """The result of one batch.

    Attributes:
        described: descriptions, if every question has a valid answer.
        open: number of questions for the next batch.
        unusable: questions without a valid answer after all attempts; None if there are none.
        lines: messages about files that were read and written.
    """

    described: DescribeResult | None
    open: int
    unusable: UnusableAnswers | None
    lines: tuple[str, ...]


def run_batch(
    job: DescribeJob, answers: list[Path], out: Path | None, judge: ScanJudge | None = None
) -> BatchResult:
    """Read answers, check them as live ones, and write open questions as the next batch.

    Raises:
        BudgetSpent: the next batch might exceed a limit; nothing is written.
        FileNotFoundError, ValueError: answer files that do not exist, or hold no answer to these
            questions; `refresh`, or a provider without batches.
    """
    provider = _provider(job, answers)
    keys = [question_digest(question, job.provider) for question in questions_of(job)]
    earlier = _spent_before(job, provider.replies, keys)
    budget = Budget(price=job.quote.price)
    described, unusable = None, None
    limits = replace(job.limits, concurrency=1)  # so that the order of the file is fixed
    try:
        described = describe_within(replace(job, provider=provider, limits=limits), budget, judge)
    except UnusableAnswers as failed:
        each = failed.each or (failed,)
        failures = [error for error in each if not isinstance(error, Unanswered)]
        unusable = None if not failures else UnusableAnswers("; ".join(map(str, failures)))
    lines = _reading(job, provider, keys, budget.spent) if answers else []
    if provider.open and out is not None:
        lines.append(_write(job, provider, out, earlier + provider.earlier + budget.spent))
    return BatchResult(described, len(provider.open), unusable, tuple(lines))


def _provider(job: DescribeJob, answers: list[Path]) -> BatchProvider:
    if job.limits.refresh:
        raise ValueError(
            "--refresh with a batch: answers of earlier batches count; name another --cache folder "
            "to ask for all again"
        )
    lines = Lines.sorted(line for path in answers for line in read_lines(path))
    provider = BatchProvider(job.provider, BatchReplies(job.cache.folder / "batches"), lines)
    for question in questions_of(job)[:1]:
        job.provider.batch_request(question)  # refused at once by a provider without batches
    return provider


def _spent_before(job: DescribeJob, replies: BatchReplies, keys: list[str]) -> Usage:
    """Usage of valid answers of earlier batches, which are not asked for again."""
    spent = Usage()
    for key in keys:
        answer = job.cache.get(key)
        if answer is not None and replies.get(key) is not None:
            spent = spent + answer.usage
    return spent


def _reading(job: DescribeJob, provider: BatchProvider, keys: list[str], spent: Usage) -> list[str]:
    """Messages about the answers that were read, and their faults.

    Raises:
        ValueError: no line answers any of the questions.
    """
    lines = provider.lines
    unknown = provider.unknown(keys)
    if unknown and len(unknown) == len(lines.by_key):
        raise ValueError(
            f"{unknown[0].place}: none of the {len(unknown)} answers is to a question of this "
            f"command (custom_id {unknown[0].key[:20]!r}); give the template, model, address and "
            "options of --batch-out"
        )
    messages = [f"read {len(lines.by_key)} answers: {took(spent, job.quote)}"]
    messages += _listed("damaged lines left out", lines.damaged)
    messages += _listed("errors instead of answers", list(provider.errors.values()))
    messages += _listed("second answers that differ, left out", lines.repeated)
    messages += _listed("answers to unknown questions, left out", unknown)
    return messages


def _listed(kind: str, lines: list[BatchLine]) -> list[str]:
    if not lines:
        return []
    places = [
        f"{line.place}: {line.error}" if line.error else line.place for line in lines[:_SHOWN]
    ]
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return [f"{kind}: {len(lines)} ({'; '.join(places)}{more})"]


def _write(job: DescribeJob, provider: BatchProvider, out: Path, spent: Usage) -> str:
    most, number = provider.most(), len(provider.open)
    _check_limits(job, spent, most)
    size = write_requests(out, provider.requests())
    cost = "" if job.quote.price is None else f", {job.quote.of(most)}"
    line = f"{out}: {number} questions, {size} bytes, at most {most.tokens} tokens{cost}"
    if number > MOST_REQUESTS or size > MOST_BYTES:
        line += (
            f"; more than OpenAI's Batch API takes ({MOST_REQUESTS} requests, "
            f"{MOST_BYTES // 10**6} MB): split the file by lines"
        )
    return line


def _check_limits(job: DescribeJob, spent: Usage, most: Usage) -> None:
    limits, price = job.limits, job.quote.price
    together = spent + most
    if limits.max_tokens is not None and together.tokens > limits.max_tokens:
        raise BudgetSpent(
            f"the next batch may take {most.tokens} tokens in addition to {spent.tokens} of "
            f"earlier ones, more than --max-tokens-total {limits.max_tokens}; nothing was written"
        )
    if limits.max_cost_usd is None:
        return
    if price is None:
        Budget(max_cost_usd=limits.max_cost_usd)  # raises: a limit of cost needs a price
    elif price.of(together) > limits.max_cost_usd:
        raise BudgetSpent(
            f"the next batch may cost ${price.of(most):.4f} in addition to ${price.of(spent):.4f} "
            f"of earlier ones, more than --max-cost {limits.max_cost_usd:g}; nothing was written"
        )
