"""The questions of a run, and their digests."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from knowledge.common.digests import digest_of
from knowledge.descriptions import BACKGROUND
from knowledge.providers.base.provider import Provider, Question
from knowledge.questions.answer_format import answer_schema, format_hint
from knowledge.questions.template import Template

Images = Mapping[str, tuple[Path, ...]]


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
            task=_task(template, organ, aspect, classes, pictures=bool(images)),
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


def _task(
    template: Template, organ: str, aspect: str, classes: tuple[str, ...], *, pictures: bool
) -> str:
    """The question of the template; with pictures, also their explanation."""
    task = template.user(organ, aspect, classes)
    if not pictures:
        return task
    shown = "all of them" if organ == BACKGROUND else f"the {organ} in solid red, the others faint"
    return (
        f"{task}\n\nThe pictures show labeled organs of one patient from several sides, {shown}. "
        "The axes in the corner name the patient's directions: right, left, anterior, posterior, "
        "superior, inferior."
    )


def question_digest(question: Question, provider: Provider) -> str:
    """The sha256 of everything that an answer depends on: texts, pictures, model, parameters."""
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
