"""Describe every organ and aspect: questions, valid answers, corrections by labeled scans."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from knowledge.asking.assembly import as_store, assemble
from knowledge.asking.parallel import in_parallel
from knowledge.asking.valid_answers import ask_until_valid, still_valid
from knowledge.descriptions import BACKGROUND, Claim, DescriptionSet
from knowledge.grounding.sides import exchanged_sides
from knowledge.providers.base.answer_store import AnswerCache, AnswerStore, CachedAnswer
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import Provider, Question, Turn
from knowledge.providers.base.usage import Usage
from knowledge.questions.answer_format import read_answer
from knowledge.questions.questions import Images, question_digest, questions
from knowledge.questions.template import Template

# Maps claims to evidence in words, for those that labeled scans contradict.
Judge = Callable[[tuple[Claim, ...]], Mapping[Claim, str]]


@dataclass(frozen=True)
class Verified:
    """Problems of the answer to one question, before and after corrections.

    Attributes:
        before, after: claims that labeled scans contradict, as `liver left_of spleen`, and
            sentences that exchange sides.
    """

    organ: str
    aspect: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def corrected(self) -> tuple[str, ...]:
        """The problems that the corrections solved."""
        return tuple(problem for problem in self.before if problem not in self.after)


@dataclass(frozen=True)
class DescribeResult:
    """Descriptions, raw answers, usage of this run, and the problems that verification found.

    `verified` has the questions with a problem before or after corrections; empty without a judge.
    """

    descriptions: DescriptionSet
    store: AnswerStore
    spent: Usage
    verified: tuple[Verified, ...] = ()


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
    judge: Judge | None = None,
    rounds: int = 2,
    progress: Callable[[Question], None] = lambda question: None,
) -> DescribeResult:
    """Descriptions of a class list (background first) by a provider.

    Every valid answer is cached at once, so an interrupted run loses nothing and the next asks only
    for the rest; `refresh` asks for all again. With a `judge`, a question is asked again with the
    evidence, at most `rounds` times, if the judge contradicts claims of its answer or if text and
    claims exchange sides, as the first version of the TAK paper did with a second agent.

    Raises:
        UnusableAnswers: after all other questions were asked; names those without an answer.
        BudgetSpent, OSError, LookupError: after the calls in progress have ended and their
            answers were cached.
    """
    asked = questions(template, classes, samples, images)
    budget = budget or Budget()
    asker = _Asker(provider, classes, attempts, concurrency, cache, refresh, budget, progress)
    answers = asker.answer(asked)
    verified: tuple[Verified, ...] = ()
    if judge is not None:
        first = asker.problems(asked, answers, judge)
        for _ in range(rounds):
            before = [answer.raw for answer in answers]
            answers = asker.correct(asked, answers, judge)
            if [answer.raw for answer in answers] == before:
                break
        last = asker.problems(asked, answers, judge)
        verified = tuple(
            Verified(question.organ, question.aspect, before, after)
            for question, before, after in zip(asked, first, last, strict=True)
            if before or after
        )
    return DescribeResult(
        descriptions=assemble(template, classes, provider, asked, answers),
        store=as_store(template, classes, provider, asked, answers),
        spent=budget.spent,
        verified=verified,
    )


@dataclass
class _Asker:
    """Asks the questions of one run."""

    provider: Provider
    classes: tuple[str, ...]
    attempts: int
    concurrency: int
    cache: AnswerCache | None
    refresh: bool
    budget: Budget
    progress: Callable[[Question], None]
    unchanged: set[int] = field(default_factory=set)

    def answer(self, asked: list[Question], *, counted: bool = True) -> list[CachedAnswer]:
        """Valid answers, in the order of the questions, from the cache or the provider.

        `counted`: whether each is a step of the progress; corrections are none.
        """
        progress = self.progress if counted else lambda question: None
        keys = [question_digest(question, self.provider) for question in asked]
        valid: dict[int, CachedAnswer] = {}
        if self.cache is not None and not self.refresh:
            cached = {index: self.cache.get(key) for index, key in enumerate(keys)}
            valid = {
                index: answer
                for index, answer in cached.items()
                if answer is not None and still_valid(answer, asked[index].organ, self.classes)
            }

        def work(index: int) -> CachedAnswer:
            question, attempts = asked[index], self.attempts
            return ask_until_valid(
                question, self.classes, self.provider, attempts=attempts, budget=self.budget
            )

        def keep(index: int, answer: CachedAnswer) -> None:
            valid[index] = answer
            if self.cache is not None:
                self.cache.put(keys[index], answer)

        for index in valid:
            progress(asked[index])
        missing = [index for index in range(len(asked)) if index not in valid]
        in_parallel(
            work,
            keep,
            missing,
            questions=len(asked),
            concurrency=self.concurrency,
            budget=self.budget,
            progress=lambda index: progress(asked[index]),
        )
        return [valid[index] for index in range(len(asked))]

    def correct(
        self, asked: list[Question], answers: list[CachedAnswer], judge: Judge
    ) -> list[CachedAnswer]:
        """The answers, with new ones for those that the judge or their own text contradicts.

        A question whose answer stayed the same, word for word, is not asked again.
        """
        evidence, slips = self._against(asked, answers, judge)
        complaints = [
            _complaint(list(contradicted.values()), exchanged)
            for contradicted, exchanged in zip(evidence, slips, strict=True)
        ]
        wrong = [
            index
            for index, complaint in enumerate(complaints)
            if complaint and index not in self.unchanged
        ]
        again = [
            replace(asked[index], turns=(Turn(answers[index].raw, complaints[index]),))
            for index in wrong
        ]
        result = list(answers)
        for index, answer in zip(wrong, self.answer(again, counted=False), strict=True):
            result[index] = _later(answers[index], answer)
            if answer.raw == answers[index].raw:
                self.unchanged.add(index)
        return result

    def problems(
        self, asked: list[Question], answers: list[CachedAnswer], judge: Judge
    ) -> list[tuple[str, ...]]:
        """Contradicted claims and exchanged sides of every answer, in words."""
        evidence, slips = self._against(asked, answers, judge)
        return [
            (*(f"{c.organ} {c.relation} {c.other}" for c in contradicted), *exchanged)
            for contradicted, exchanged in zip(evidence, slips, strict=True)
        ]

    def _against(
        self, asked: list[Question], answers: list[CachedAnswer], judge: Judge
    ) -> tuple[list[dict[Claim, str]], list[list[str]]]:
        """Per answer its contradicted claims with the evidence, and its exchanged sides."""
        readings = [
            read_answer(
                answer.raw,
                answer.output,
                question.organ,
                self.classes,
                vocabulary=self.provider.vocabulary,
            )
            for question, answer in zip(asked, answers, strict=True)
        ]
        claims = [reading.about() for reading in readings]
        against = judge(tuple(dict.fromkeys(claim for group in claims for claim in group)))
        organs = [name for name in self.classes if name != BACKGROUND]
        evidence = [{c: against[c] for c in group if c in against} for group in claims]
        slips = [
            exchanged_sides(reading.organ, reading.text, group, organs)
            for reading, group in zip(readings, claims, strict=True)
        ]
        return evidence, slips


def _complaint(evidence: list[str], slips: list[str]) -> str:
    """The problems of an answer, in words for the model; empty if there are none."""
    faults = []
    if evidence:
        faults.append(f"labeled scans of other patients contradict it: {'; '.join(evidence)}")
    if slips:
        faults.append(f"its text and its claims exchange left and right: {'; '.join(slips)}")
    if not faults:
        return ""
    return (
        f"{'. Besides, '.join(faults)}. Left and right are the patient's. Correct the text and the "
        "claims"
    )


def _later(before: CachedAnswer, after: CachedAnswer) -> CachedAnswer:
    """The later answer, with the usage of both; counts as a correction if it differs."""
    return after.model_copy(
        update={
            "attempts": before.attempts + after.attempts,
            "usage": before.usage + after.usage,
            "corrections": before.corrections + (after.raw != before.raw),
        }
    )
