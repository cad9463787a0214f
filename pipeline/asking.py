"""From a command's options to a provider, its questions, and what they cost."""

from dataclasses import dataclass
from pathlib import Path

import platformdirs
from rich.console import Console

from knowledge.agreement import agreement
from knowledge.answers import AnswerCache
from knowledge.budget import Budget, Price, PriceTable
from knowledge.check import contradictions
from knowledge.describe import Asked, Judge, describe
from knowledge.encoder import TextEncoder
from knowledge.provider import Provider, ProviderOptions, Question, Usage
from knowledge.question import Images, question_digest, questions
from knowledge.renderings import find_pictures
from knowledge.shorten import Shortener
from knowledge.template import Template
from pipeline import shipped
from pipeline.choose import choose
from pipeline.labeled import find_labeled
from pipeline.progress import counted


@dataclass(frozen=True)
class Limits:
    """How much asking is allowed, and how hard to try."""

    samples: int = 1
    attempts: int = 3
    concurrency: int = 4
    rounds: int = 2
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    refresh: bool = False


def cache_folder(chosen: Path | None) -> Path:
    """Where answers are cached: the user's choice, else the machine's cache folder."""
    return chosen or Path(platformdirs.user_cache_dir("tak-seg")) / "answers"


def make_provider(name: str, template: Template, options: ProviderOptions) -> Provider:
    """The provider of a name; `recorded` without a store takes the shipped one."""
    if name == "recorded" and options.answers is None:
        path = shipped.data() / "answers" / f"{template.name}.json"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in path.parent.glob("*.json")))
            raise LookupError(
                f"no recorded answers for template {template.name!r}; there is {known}; "
                "a store of your own is given with --answers FILE"
            )
        options = ProviderOptions(**{**vars(options), "answers": path})
    kind = choose("knowledge.providers", name, Provider)
    return kind.from_options(options)


def price_of(model: str, table: Path | None) -> Price | None:
    """The model's price by the user's table, else by the shipped one."""
    return PriceTable.read(table or shipped.data() / "prices" / "usd.toml").get(model)


@dataclass(frozen=True)
class Job:
    """Everything that is asked in one run, of whom, and within which limits."""

    template: Template
    classes: tuple[str, ...]
    provider: Provider
    limits: Limits
    cache: AnswerCache
    price: Price | None
    images: Images | None = None


def run(job: Job, judge: Judge | None = None) -> Asked:
    """Ask with a progress bar; the answers so far survive any end."""
    template, classes, provider, limits = job.template, job.classes, job.provider, job.limits
    budget = Budget(max_tokens=limits.max_tokens, max_cost_usd=limits.max_cost_usd, price=job.price)
    number = len(classes) * len(template.aspects) * limits.samples
    with counted(f"asking {provider.name}", number) as tick:
        try:
            return describe(
                template,
                classes,
                provider,
                samples=limits.samples,
                attempts=limits.attempts,
                concurrency=limits.concurrency,
                # Replaying costs nothing, so there is nothing to cache.
                cache=job.cache if provider.costs else None,
                refresh=limits.refresh,
                budget=budget,
                images=job.images,
                judge=judge,
                rounds=limits.rounds,
                progress=lambda question: tick(f"{question.organ}, {question.aspect}"),
            )
        except BaseException:
            if provider.costs:
                spent = f"{budget.spent.calls} calls, {budget.spent.tokens} tokens"
                Console(stderr=True).print(f"spent before the end: {spent}")
            raise


def preview(job: Job) -> str:
    """Every question word for word, then calls, tokens and cost at most; asks nothing."""
    provider, price = job.provider, job.price
    asked = questions(job.template, job.classes, job.limits.samples, job.images)
    known = provider.costs and not job.limits.refresh
    lines, worst = [], Usage()
    for question in asked:
        cached = known and job.cache.get(question_digest(question, provider)) is not None
        lines.append(_shown(question, cached))
        if provider.costs and not cached:
            worst = worst + provider.worst_usage(question)
    cost = "price unknown" if price is None else f"at most ${price.of(worst):.4f}"
    if not provider.costs:
        cost = "no cost"
    lines.append(
        f"{len(asked)} questions, {worst.calls} calls to make, at most {worst.input_tokens} input "
        f"and {worst.output_tokens} output tokens ({cost}); repeated attempts come on top"
    )
    return "\n".join(lines)


def write(job: Job, asked: Asked, target: Path, store: Path | None) -> str:
    """Write descriptions, with their cost, and the answer store if asked for; says so in a line."""
    made = asked.descriptions
    cost = None if job.price is None else job.price.of(made.totals)
    made.model_copy(update={"cost_usd": cost}).write(target)
    if store is not None:
        asked.store.write(store)
    return f"{target}: {summary(asked, job.price)}"


def summary(asked: Asked, price: Price | None) -> str:
    """One line: what was asked, what it cost, in this run and altogether."""
    made = asked.descriptions
    number = sum(len(item.samples) for item in made.descriptions)
    words = sum(len(item.text.split()) for item in made.descriptions) / len(made.descriptions)
    cost = "" if price is None else f", ${price.of(asked.spent):.4f}"
    alike = agreement(made)
    agree = "" if alike.words is None else f", samples agree in {alike.words:.0%} of words"
    if alike.claims is not None:
        agree += f" and {alike.claims:.0%} of claims"
    return (
        f"{number} answers, {words:.0f} words each{agree}; this run: {asked.spent.calls} calls, "
        f"{asked.spent.tokens} tokens{cost}; all answers together: {made.totals.calls} calls, "
        f"{made.totals.tokens} tokens"
    )


def _shown(question: Question, cached: bool) -> str:
    head = f"--- {question.organ}, {question.aspect}, sample {question.sample}"
    head += " (already answered)" if cached else ""
    pictures = [f"[picture {path}]" for path in question.images]
    return "\n".join([head, question.system, question.task, question.format_hint, *pictures, ""])


def variables(pairs: list[str]) -> dict[str, str]:
    """`name=value` pairs as a dictionary."""
    result = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--var {pair}: write name=value")
        result[name] = value
    return result


def judge(scans: Path | None, descriptor: str, split: str | None) -> Judge:
    """What labeled scans say against claims; they are read once."""
    if scans is None:
        raise ValueError("--verify needs labeled scans (--scans FOLDER)")
    labeled = find_labeled(scans, fallback=descriptor, split=split)
    scenes = [scene for _, scene in labeled.scenes()]
    return lambda claims: contradictions(claims, scenes)


def pictures(choice: str, folder: Path | None, classes: tuple[str, ...]) -> Images | None:
    """The pictures of each class for `--images none|multi`."""
    if choice not in ("none", "multi"):
        raise LookupError(f"no images {choice!r}; there is none, multi")
    if choice == "none":
        if folder is not None:
            raise ValueError("renderings are given, but --images is none: say --images multi")
        return None
    if folder is None:
        raise ValueError("--images multi needs renderings (--renderings FOLDER, see `tak render`)")
    return find_pictures(folder, classes)


def make_shortener(encoder: TextEncoder, options: ProviderOptions, cache: Path | None) -> Shortener:
    """What asks a live model for shorter texts; its answers are cached like any other."""
    folder = cache_folder(cache)
    options = ProviderOptions(**{**vars(options), "memory": folder / "servers.json"})
    kind = choose("knowledge.providers", "openai_compatible", Provider)
    return Shortener(kind.from_options(options), encoder, cache=AnswerCache(folder))
