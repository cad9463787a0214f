"""Raw answers: a store to publish, and the cache of a machine."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from knowledge.common.digests import canonical_json
from knowledge.common.files import read_json, write_whole
from knowledge.common.models import Strict, readable
from knowledge.common.suggest import did_you_mean
from knowledge.providers.base.usage import Usage

STORE_VERSION = 1


class StoredAnswer(Strict):
    """A raw answer to one question of a template.

    `answer` is the text as it came; where that was pure JSON, the JSON itself, so that people
    can read and compare it. `model`, `service` and `date` are those of `CachedAnswer`; empty if
    unknown.
    """

    organ: str
    aspect: str
    sample: int = Field(default=0, ge=0)
    answer: str | dict[str, Any]
    model: str = ""
    service: str = ""
    date: str = ""

    @property
    def raw(self) -> str:
        """The answer as text."""
        if isinstance(self.answer, str):
            return self.answer
        return json.dumps(self.answer, ensure_ascii=False)


class AnswerStore(Strict):
    """The answers of one model to one template, replayed by the provider `recorded`.

    Answers are found by organ, aspect and sample: comments in the template, another order of
    the organs or a longer list change nothing. Another wording does, and is refused.
    """

    format_version: int = STORE_VERSION
    template: str
    template_digest: str
    model: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    answers: tuple[StoredAnswer, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _not_newer(cls, raw: Any) -> Any:
        return readable(raw, STORE_VERSION, "answers")

    @model_validator(mode="after")
    def _unambiguous(self) -> "AnswerStore":
        keys = set()
        for item in self.answers:
            key = (item.organ, item.aspect, item.sample)
            if key in keys:
                raise ValueError(f"two answers for {item.organ}, {item.aspect}, {item.sample}")
            keys.add(key)
        return self

    @cached_property
    def organs(self) -> frozenset[str]:
        """The organs that the answers describe."""
        return frozenset(item.organ for item in self.answers)

    @cached_property
    def _index(self) -> dict[tuple[str, str, int], StoredAnswer]:
        return {(item.organ, item.aspect, item.sample): item for item in self.answers}

    @classmethod
    def read(cls, path: Path) -> "AnswerStore":
        """The store of a JSON file; FileNotFoundError or ValueError say what is wrong."""
        return read_json(path, cls)

    def write(self, path: Path) -> None:
        """Write as JSON (UTF-8, indented), atomically."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        write_whole(path, text + "\n")

    def get(self, organ: str, aspect: str, sample: int) -> StoredAnswer:
        """The answer; LookupError names what there is."""
        if (stored := self._index.get((organ, aspect, sample))) is not None:
            return stored
        organs = tuple(dict.fromkeys(item.organ for item in self.answers))
        aspects = tuple(dict.fromkeys(item.aspect for item in self.answers))
        samples = max(item.sample for item in self.answers) + 1
        raise LookupError(
            f"no recorded answer for {organ!r}, aspect {aspect!r}, sample {sample}; there is "
            f"{', '.join(organs)} with {', '.join(aspects)} in {samples} sample(s)"
            + ("" if organ in organs else did_you_mean(organ, organs))
            + ("" if aspect in aspects else did_you_mean(aspect, aspects))
        )


class CachedAnswer(Strict):
    """A valid answer with its cost. Holds no key and no personal data.

    `date` is that of the answer (ISO 8601, UTC), `service` the state of the service; empty if
    unknown.
    """

    raw: str
    model: str
    output: str
    attempts: int
    usage: Usage
    corrections: int = 0
    service: str = ""
    date: str = ""


def as_stored(organ: str, aspect: str, sample: int, answer: CachedAnswer) -> StoredAnswer:
    """The answer as an item of a store: pure JSON becomes an object."""
    try:
        value = json.loads(answer.raw)
    except json.JSONDecodeError:
        value = answer.raw
    return StoredAnswer(
        organ=organ,
        aspect=aspect,
        sample=sample,
        answer=value if isinstance(value, dict) else answer.raw,
        model=answer.model,
        service=answer.service,
        date=answer.date,
    )


class AnswerCache:
    """One file per question, named by the digest of all that went into the question."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, digest: str) -> CachedAnswer | None:
        """The answer, or None. A damaged file counts as absent: it is asked for again."""
        path = self._path(digest)
        if not path.is_file():
            return None
        try:
            return read_json(path, CachedAnswer)
        except ValueError:
            return None

    def put(self, digest: str, answer: CachedAnswer) -> None:
        """Keep an answer; safe with several writers."""
        write_whole(self._path(digest), canonical_json(answer.model_dump(mode="json")))

    def missing(self, digests: Iterable[str]) -> list[str]:
        """The digests without an answer in the cache."""
        return [digest for digest in digests if self.get(digest) is None]

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.json"
