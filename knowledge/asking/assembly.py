"""Description sets and answer stores from valid answers; description sets of literal templates."""

from knowledge.common.digests import canonical_json, digest_of
from knowledge.descriptions import Description, DescriptionSet, Origin, Sample
from knowledge.providers.base.answer_store import AnswerStore, CachedAnswer, as_stored
from knowledge.providers.base.provider import Provider, Question
from knowledge.providers.base.usage import total
from knowledge.questions.answer_format import Reading, read_answer
from knowledge.questions.questions import question_digest
from knowledge.questions.template import Template


def assemble(
    template: Template,
    classes: tuple[str, ...],
    provider: Provider,
    asked: list[Question],
    answers: list[CachedAnswer],
) -> DescriptionSet:
    """The description set of questions and their valid answers, in the order of `questions`."""
    samples: dict[tuple[str, str], list[Sample]] = {}
    for question, answer in zip(asked, answers, strict=True):
        reading = _read(question, answer, classes, provider)
        sample = Sample(
            text=reading.text,
            claims=reading.about(),
            attributes=reading.attributes,
            origin=_origin(question, answer, provider, reading.left_out),
        )
        samples.setdefault((question.organ, question.aspect), []).append(sample.sealed())
    return DescriptionSet(
        classes=classes,
        aspects=template.aspects,
        template=template.name,
        template_digest=template.digest,
        variables=template.wording.variables,
        totals=total(answer.usage for answer in answers),
        descriptions=tuple(
            Description(organ=organ, aspect=aspect, samples=tuple(items))
            for (organ, aspect), items in samples.items()
        ),
    )


def literal(template: Template, classes: tuple[str, ...]) -> DescriptionSet:
    """The descriptions of a literal template, which need no model."""
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
            sample = Sample(text=text, origin=origin).sealed()
            descriptions.append(Description(organ=organ, aspect=aspect, samples=(sample,)))
    return DescriptionSet(
        classes=classes,
        aspects=template.aspects,
        template=template.name,
        template_digest=template.digest,
        variables=template.wording.variables,
        descriptions=tuple(descriptions),
    )


def as_store(
    template: Template,
    classes: tuple[str, ...],
    provider: Provider,
    asked: list[Question],
    answers: list[CachedAnswer],
) -> AnswerStore:
    """The raw answers as a store for the provider `recorded`, which needs no key.

    Answers of a longer list come without their claims about other organs: the store must be
    valid for its own.
    """
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
            as_stored(
                question.organ,
                question.aspect,
                question.sample,
                _without_absent(answer, _read(question, answer, classes, provider)),
            )
            for question, answer in zip(asked, answers, strict=True)
        ),
    )


def _read(
    question: Question, answer: CachedAnswer, classes: tuple[str, ...], provider: Provider
) -> Reading:
    return read_answer(
        answer.raw, answer.output, question.organ, classes, vocabulary=provider.vocabulary
    )


def _without_absent(answer: CachedAnswer, reading: Reading) -> CachedAnswer:
    """The answer as it came, or as JSON of its reading where claims were left out."""
    if not reading.left_out:
        return answer
    return answer.model_copy(update={"raw": canonical_json(reading.model_dump(mode="json"))})


def _origin(
    question: Question, answer: CachedAnswer, provider: Provider, claims_left_out: int
) -> Origin:
    parameters = {key: value for key, value in provider.identity.items() if key != "model"}
    if question.sample:
        parameters["sample"] = question.sample
    return Origin(
        provider=provider.name,
        model=answer.model,
        service=answer.service,
        date=answer.date,
        template=question.template,
        template_digest=question.template_digest,
        question_digest=question_digest(question, provider),
        output=answer.output,
        parameters=parameters,
        attempts=answer.attempts,
        corrections=answer.corrections,
        claims_left_out=claims_left_out,
        usage=answer.usage,
        images=tuple(path.name for path in question.images),
    )
