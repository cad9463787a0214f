"""Ask about every organ and aspect, check the answers, ask again with the error, keep them."""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from knowledge.answers import AnswerCache, AnswerStore, CachedAnswer, as_stored
from knowledge.budget import Budget
from knowledge.description import Description, DescriptionSet, Origin, Sample
from knowledge.files import digest_of
from knowledge.provider import Provider, Question, Turn, Usage
from knowledge.reading import InvalidAnswer, answer_schema, format_hint, read_answer
from knowledge.template import Template

Images = Mapping[str, tuple[Path, ...]]


class UnusableAnswers(ValueError):
    """A model kept giving answers that cannot be used."""


@dataclass(frozen=True)
class Asked:
    """What a run of `describe` gives: the descriptions, the raw answers, what this run spent."""

    descriptions: DescriptionSet
    store: AnswerStore
    spent: Usage


def questions(
    template: Template, classes: tuple[str, ...], samples: int = 1, images: Images | None = None
) -> list[Question]:
    """Every question of a run, by class, aspect and sample. `images` are per organ."""
    return [
        Question(
            organ=organ,
            aspect=aspect,
            sample=sample,
            system=template.system(organ, aspect, classes),
            task=template.user(organ, aspect, classes),
            format_hint=format_hint(organ, classes),
            schema=answer_schema(organ, classes),
            template=template.name,
            template_digest=template.digest,
            images=(images or {}).get(organ, ()),
        )
        for organ in classes
        for aspect in template.aspects
        for sample in range(samples)
    ]


def question_digest(question: Question, provider: Provider) -> str:
    """The sha256 of all that an answer depends on: words, pictures, service, model, parameters."""
    return digest_of(
        {
            "provider": provider.name,
            "identity": provider.identity,
            "system": question.system,
            "task": question.task,
            "format": question.format_hint,
            "schema": question.schema,
            "template": question.template_digest,
            "sample": question.sample,
            "images": [hashlib.sha256(path.read_bytes()).hexdigest() for path in question.images],
            "turns": [[turn.answer, turn.complaint] for turn in question.turns],
        }
    )


def ask_until_valid(
    question: Question,
    classes: tuple[str, ...],
    provider: Provider,
    *,
    attempts: int = 3,
    budget: Budget | None = None,
) -> CachedAnswer:
    """Ask, check, and ask again with the complaint, at most `attempts` times.

    Raises:
        UnusableAnswers: none of the answers is valid.
        BudgetSpent, OSError, LookupError: from the budget and the provider.
    """
    usage, turns, complaint = Usage(), question.turns, ""
    for attempt in range(1, attempts + 1):
        answer = _ask_within(budget, provider, replace(question, turns=turns))
        usage = usage + answer.usage
        try:
            if answer.fault:
                raise InvalidAnswer(answer.fault)
            read_answer(answer.text, answer.output, question.organ, classes)
        except InvalidAnswer as error:
            complaint = str(error)
            turns = (*question.turns, Turn(answer.text, complaint))
            continue
        return CachedAnswer(
            raw=answer.text,
            model=answer.model,
            output=answer.output,
            attempts=attempt,
            usage=usage,
        )
    raise UnusableAnswers(
        f"no usable answer about {question.organ}, aspect {question.aspect}, after {attempts} "
        f"attempts: {complaint}"
    )


def describe(
    template: Template,
    classes: tuple[str, ...],
    provider: Provider,
    *,
    samples: int = 1,
    attempts: int = 3,
    concurrency: int = 1,
    cache: AnswerCache | None = None,
    refresh: bool = False,
    budget: Budget | None = None,
    images: Images | None = None,
    progress: Callable[[Question], None] = lambda question: None,
) -> Asked:
    """Descriptions of a class list (background first) by a provider.

    Every valid answer is cached as soon as it comes, so an interrupted run loses nothing and
    the next asks only for what is missing; `refresh` asks for all again.

    Raises:
        UnusableAnswers: after all other questions were asked; names those without an answer.
        BudgetSpent, OSError, LookupError: at once, with the answers so far kept.
    """
    asked = questions(template, classes, samples, images)
    keys = [question_digest(question, provider) for question in asked]
    kept = {} if cache is None or refresh else _cached(cache, keys)
    before = set(kept)

    def work(index: int) -> CachedAnswer:
        options: dict[str, Any] = {"attempts": attempts, "budget": budget}
        answer = ask_until_valid(asked[index], classes, provider, **options)
        if cache is not None:
            cache.put(keys[index], answer)
        return answer

    missing = [index for index, key in enumerate(keys) if key not in kept]
    for index, answer in _in_parallel(work, missing, concurrency, asked, progress):
        kept[keys[index]] = answer
    spent = Usage()
    for key in dict.fromkeys(keys):
        spent = spent if key in before else spent + kept[key].usage
    answers = [kept[key] for key in keys]
    return Asked(
        descriptions=assemble(template, classes, provider, asked, answers),
        store=as_store(template, provider, asked, answers),
        spent=spent,
    )


def assemble(
    template: Template,
    classes: tuple[str, ...],
    provider: Provider,
    asked: list[Question],
    answers: list[CachedAnswer],
) -> DescriptionSet:
    """Questions and their valid answers, in the order of `questions`, as a description set."""
    samples: dict[tuple[str, str], list[Sample]] = {}
    for question, answer in zip(asked, answers, strict=True):
        reading = read_answer(answer.raw, answer.output, question.organ, classes)
        sample = Sample(
            text=reading.text,
            claims=reading.about(),
            attributes=reading.attributes,
            origin=_origin(question, answer, provider),
        )
        samples.setdefault((question.organ, question.aspect), []).append(sample)
    return DescriptionSet(
        classes=classes,
        aspects=template.aspects,
        template=template.name,
        template_digest=template.digest,
        descriptions=tuple(
            Description(organ=organ, aspect=aspect, samples=tuple(items))
            for (organ, aspect), items in samples.items()
        ),
    )


def literal(template: Template, classes: tuple[str, ...]) -> DescriptionSet:
    """The descriptions of a literal template: its own words, filled in; nobody is asked."""
    descriptions = []
    for organ in classes:
        for aspect in template.aspects:
            text = template.user(organ, aspect, classes)
            origin = Origin(
                provider="literal",
                model="none",
                template=template.name,
                template_digest=template.digest,
                question_digest=digest_of(text),
                output="plain",
                attempts=0,
            )
            sample = Sample(text=text, origin=origin)
            descriptions.append(Description(organ=organ, aspect=aspect, samples=(sample,)))
    return DescriptionSet(
        classes=classes,
        aspects=template.aspects,
        template=template.name,
        template_digest=template.digest,
        descriptions=tuple(descriptions),
    )


def as_store(
    template: Template, provider: Provider, asked: list[Question], answers: list[CachedAnswer]
) -> AnswerStore:
    """The raw answers as a store that `recorded` replays with no key."""
    outputs = {answer.output for answer in answers}
    output = "plain" if outputs == {"plain"} else "text"
    parameters = {**provider.identity, "output": output}
    model = str(parameters.pop("model"))
    return AnswerStore(
        template=template.name,
        template_digest=template.digest,
        model=model,
        parameters=parameters,
        answers=tuple(
            as_stored(question.organ, question.aspect, question.sample, answer.raw)
            for question, answer in zip(asked, answers, strict=True)
        ),
    )


def _ask_within(budget: Budget | None, provider: Provider, question: Question) -> Any:
    if budget is None or not provider.costs:
        return provider.ask(question)
    worst = provider.worst_usage(question)
    budget.reserve(worst)
    spent = worst
    try:
        answer = provider.ask(question)
        spent = answer.usage
        return answer
    finally:
        budget.settle(worst, spent)


def _origin(question: Question, answer: CachedAnswer, provider: Provider) -> Origin:
    parameters = {key: value for key, value in provider.identity.items() if key != "model"}
    if question.sample:
        parameters["sample"] = question.sample
    return Origin(
        provider=provider.name,
        model=answer.model,
        template=question.template,
        template_digest=question.template_digest,
        question_digest=question_digest(question, provider),
        output=answer.output,
        parameters=parameters,
        attempts=answer.attempts,
        usage=answer.usage,
        images=tuple(path.name for path in question.images),
    )


def _cached(cache: AnswerCache, keys: list[str]) -> dict[str, CachedAnswer]:
    found = {key: cache.get(key) for key in keys}
    return {key: answer for key, answer in found.items() if answer is not None}


def _in_parallel(
    work: Callable[[int], CachedAnswer],
    indices: list[int],
    concurrency: int,
    asked: list[Question],
    progress: Callable[[Question], None],
) -> list[tuple[int, CachedAnswer]]:
    """Run `work`; unusable answers are gathered, any other error ends the run at once."""
    done, failures = [], []
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        jobs: dict[Future[CachedAnswer], int] = {pool.submit(work, i): i for i in indices}
        try:
            for job in as_completed(jobs):
                try:
                    done.append((jobs[job], job.result()))
                except UnusableAnswers as error:
                    failures.append(str(error))
                progress(asked[jobs[job]])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        raise UnusableAnswers(
            f"{len(failures)} of {len(asked)} questions: {'; '.join(failures[:3])}"
            + (f"; and {len(failures) - 3} more" if len(failures) > 3 else "")
            + f"; the other {len(asked) - len(failures)} answers are kept"
        )
    return done
