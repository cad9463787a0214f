"""Jobs of `tak describe`: options, limits, preview, results and their cost."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from knowledge.asking.assembly import literal
from knowledge.asking.describe import DescribeResult, describe
from knowledge.asking.shortening import Shortener
from knowledge.common.suggest import unknown
from knowledge.descriptions import Claim
from knowledge.encoders.base.encoder import TextEncoder
from knowledge.grounding.agreement import agreement
from knowledge.grounding.claims import contradictions
from knowledge.grounding.scene import Scene
from knowledge.providers.base.answer_store import AnswerCache
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import OUTPUTS, Provider, ProviderOptions, Question
from knowledge.providers.base.usage import Usage, total
from knowledge.questions.pictures import find_pictures
from knowledge.questions.questions import Images, question_digest, questions
from knowledge.questions.template import Template
from pipeline.config.registry import load_choice
from pipeline.datasets.labeled_scans import find_labeled
from pipeline.files import shipped
from pipeline.terminal.progress import counted
from pipeline.texts.services import PriceQuote, answer_cache, pairs


@dataclass(frozen=True)
class Limits:
    """Numbers of samples, attempts, concurrent calls and rounds, and limits of tokens and cost."""

    samples: int = 1
    attempts: int = 3
    concurrency: int = 4
    rounds: int = 2
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    refresh: bool = False


@dataclass(frozen=True)
class DescribeJob:
    """Template, classes, provider and limits of one run of `tak describe`."""

    template: Template
    classes: tuple[str, ...]
    provider: Provider
    limits: Limits
    cache: AnswerCache
    quote: PriceQuote
    images: Images | None = None


@dataclass(frozen=True)
class ScanJudge:
    """Compares claims with labeled scans, which are read once."""

    cases: tuple[str, ...]
    scenes: tuple[Scene, ...]

    def __call__(self, claims: tuple[Claim, ...]) -> dict[Claim, str]:
        """The claims that the scans contradict, with the evidence in words."""
        return contradictions(claims, self.scenes)


def wording(template: str, variables: list[str]) -> Template:
    """A shipped template or a file, with some of its variables set (`name=value`)."""
    return Template.read(shipped.find("prompts", template), pairs("--var", variables))


def run(job: DescribeJob, judge: ScanJudge | None = None) -> DescribeResult:
    """Describe with a progress bar; valid answers are cached however the run ends."""
    provider, limits = job.provider, job.limits
    # Replaying recorded answers costs nothing, so that limits and prices do not apply.
    budget = _budget(limits, job.quote) if provider.costs else Budget()
    number = len(job.classes) * len(job.template.aspects) * limits.samples
    with counted(f"asking {provider.name}", number) as tick:
        try:
            return describe_within(
                job, budget, judge, lambda question: tick(f"{question.organ}, {question.aspect}")
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_interrupted(budget, job)) from None
        except Exception:
            if provider.costs:
                print(f"spent before the error: {took(budget.spent, job.quote)}", file=sys.stderr)
            raise


def describe_within(
    job: DescribeJob,
    budget: Budget,
    judge: ScanJudge | None = None,
    progress: Callable[[Question], None] = lambda question: None,
) -> DescribeResult:
    """Descriptions of a job within a budget; errors as in `describe`."""
    limits, costs = job.limits, job.provider.costs
    result = describe(
        job.template,
        job.classes,
        job.provider,
        samples=limits.samples,
        attempts=limits.attempts,
        concurrency=limits.concurrency,
        cache=job.cache if costs else None,
        refresh=limits.refresh,
        budget=budget,
        images=job.images,
        judge=judge,
        rounds=limits.rounds,
        progress=progress,
    )
    if judge is None:
        return result
    verified = result.descriptions.model_copy(update={"verified_on": judge.cases})
    return replace(result, descriptions=verified)


def _budget(limits: Limits, quote: PriceQuote) -> Budget:
    return Budget(max_tokens=limits.max_tokens, max_cost_usd=limits.max_cost_usd, price=quote.price)


def _interrupted(budget: Budget, job: DescribeJob) -> str:
    """The message of an interrupt: cost so far, cached answers, how to resume."""
    if not job.provider.costs:
        return "nothing was written; the same command replays all answers"
    return (
        f"{took(budget.spent, job.quote)} spent, besides calls in progress; valid answers are kept "
        f"in {job.cache.folder}, and the same command asks only for the rest"
    )


def took(spent: Usage, quote: PriceQuote) -> str:
    """Calls, tokens and cost in words."""
    return f"{spent.calls} calls, {spent.tokens} tokens, {quote.of(spent)}"


def questions_of(job: DescribeJob) -> tuple[Question, ...]:
    """Every question of a job, answered or not."""
    return tuple(questions(job.template, job.classes, job.limits.samples, job.images))


def open_questions(job: DescribeJob) -> dict[str, Usage]:
    """The expected maximal usage of every question without a cached answer, by cache key."""
    provider, still_open = job.provider, dict[str, Usage]()
    for question in questions_of(job) if provider.costs else ():
        key = question_digest(question, provider)
        if job.limits.refresh or job.cache.get(key) is None:
            still_open[key] = provider.expected_usage(question)
    return still_open


def preview(job: DescribeJob) -> str:
    """Every question in full, then the maximal calls, tokens and cost; makes no call."""
    provider = job.provider
    asked, still_open = questions_of(job), open_questions(job)
    cache_counts = provider.costs and not job.limits.refresh
    lines = [
        _shown(question, cache_counts and question_digest(question, provider) not in still_open)
        for question in asked
    ]
    worst = total(still_open.values())
    if not provider.costs:
        return "\n".join([*lines, f"{len(asked)} questions, all from the answer store, no cost"])
    cost = job.quote.of(worst) if job.quote.price is None else f"at most {job.quote.of(worst)}"
    lines.append(
        f"{len(asked)} questions, {worst.calls} calls to make, at most {worst.input_tokens} input "
        f"and {worst.output_tokens} output tokens ({cost}); repeated attempts are extra, and up "
        f"to {len(OUTPUTS) - 1} short calls that probe a new server"
    )
    lines.append(
        "--max-tokens-total and --max-cost reserve the maximum of each call: a token for every "
        "byte of text, --tokens-per-image for each picture, the longest answer"
    )
    return "\n".join([*lines, str(job.quote)])


def write(job: DescribeJob, result: DescribeResult, target: Path, store: Path | None) -> str:
    """Write descriptions with their cost, and the answer store if given; returns a summary."""
    descriptions, price = result.descriptions, job.quote.price
    cost = None if price is None or not job.provider.costs else price.of(descriptions.totals)
    descriptions.model_copy(update={"cost_usd": cost}).write(target)
    if store is not None:
        result.store.write(store)
    return f"{target}: {summary(result, job)}"


def write_literal(template: Template, classes: tuple[str, ...], target: Path) -> str:
    """Write the descriptions of a literal template, without a model; returns a summary."""
    literal(template, classes).write(target)
    return f"{target}: {len(classes)} classes in the words of the template; no model asked"


def summary(result: DescribeResult, job: DescribeJob) -> str:
    """Number and length of the answers, and the cost of this run and of all, in one line."""
    descriptions = result.descriptions
    number = sum(len(item.samples) for item in descriptions.descriptions)
    words = sum(len(item.text.split()) for item in descriptions.descriptions) / len(
        descriptions.descriptions
    )
    alike = agreement(descriptions)
    agree = "" if alike.words is None else f", samples agree in {alike.words:.0%} of words"
    if alike.claims is not None:
        agree += f" and {alike.claims:.0%} of claims"
    line = f"{number} answers, {words:.0f} words each{agree}"
    if left_out := descriptions.claims_left_out:
        line += f", {left_out} claims about organs outside the list left out"
    if not job.provider.costs:
        return f"{line}; replayed, no cost"
    return (
        f"{line}; this run: {took(result.spent, job.quote)}; "
        f"all answers together: {took(descriptions.totals, job.quote)}"
    )


def verification_lines(result: DescribeResult) -> list[str]:
    """Claims that verification contradicted, corrected and left, per organ and aspect."""
    lines = []
    for each in result.verified:
        head = f"{each.organ}, {each.aspect}: {len(each.before)} contradicted"
        head += f", {len(each.corrected)} corrected, {len(each.after)} left"
        lines.append(f"{head} ({'; '.join(each.after)})" if each.after else head)
    left = sum(len(each.after) for each in result.verified)
    before = sum(len(each.before) for each in result.verified)
    corrected = sum(len(each.corrected) for each in result.verified)
    lines.append(f"verified: {before} contradicted, {corrected} corrected, {left} left")
    return lines


def _shown(question: Question, cached: bool) -> str:
    head = f"--- {question.organ}, {question.aspect}, sample {question.sample}"
    head += " (already answered)" if cached else ""
    pictures = [f"[picture {path}]" for path in question.images]
    return "\n".join([head, question.system, question.task, question.format_hint, *pictures, ""])


def judge(scans: Path | None, descriptor: str, split: str | None) -> ScanJudge:
    """The judge of `--verify`, from the labeled cases of a folder."""
    if scans is None:
        raise ValueError("--verify needs labeled scans (--scans FOLDER)")
    labeled = find_labeled(scans, fallback=descriptor, split=split)
    cases, scenes = zip(*labeled.scenes(), strict=True)
    return ScanJudge(cases, scenes)


def pictures(choice: str, folder: Path | None, classes: tuple[str, ...]) -> Images | None:
    """The pictures of each class for `--images none|multi`."""
    if choice not in ("none", "multi"):
        raise LookupError(unknown("images", choice, ("none", "multi")))
    if choice == "none":
        if folder is not None:
            raise ValueError("renderings are given, but --images is none: give --images multi")
        return None
    if folder is None:
        raise ValueError("--images multi needs renderings (--renderings FOLDER, see `tak render`)")
    return find_pictures(folder, classes)


def make_shortener(
    encoder: TextEncoder,
    options: ProviderOptions,
    limits: Limits,
    quote: PriceQuote,
    cache: Path | None,
) -> Shortener:
    """A shortener that asks a live model; its answers are cached like any other."""
    cached_answers = answer_cache(cache)
    kind = load_choice("knowledge.providers", "openai_compatible", Provider)
    service = kind.from_options(replace(options, memory=cached_answers.folder / "servers.json"))
    return Shortener(service, encoder, cache=cached_answers, budget=_budget(limits, quote))
