"""Questions asked in batches: those without an answer are collected instead of sent.

A batch goes through the same checks, repeats and corrections as live asking, since it is a provider
like any other: it answers from the replies read so far, and notes which question comes next.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from knowledge.asking.batch_file import BatchLine
from knowledge.asking.valid_answers import Unanswered
from knowledge.common.digests import canonical_json
from knowledge.common.files import read_json, write_whole
from knowledge.common.models import Strict
from knowledge.providers.base.budget import Budget
from knowledge.providers.base.provider import Answer, Provider, ProviderOptions, Question
from knowledge.providers.base.refusals import names_filter
from knowledge.providers.base.usage import Usage
from knowledge.questions.questions import question_digest

_FILTERED = "the service's content filter stopped the answer"


class BatchReply(Strict):
    """The reply to one line of a batch, valid or not; `most` is what it counts against limits."""

    text: str
    model: str
    output: str
    usage: Usage
    most: Usage
    fault: str = ""
    service: str = ""
    date: str = ""

    def answer(self) -> Answer:
        """The reply as an answer."""
        return Answer(
            text=self.text,
            model=self.model,
            output=self.output,
            usage=self.usage,
            fault=self.fault,
            service=self.service,
            date=self.date,
        )


class BatchReplies:
    """Replies by the keys of their questions, kept in a folder.

    A repeated question needs the earlier reply and the complaint about it, so that replies which
    were not valid are kept as well.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> BatchReply | None:
        """The reply, or None. A damaged file counts as absent."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return read_json(path, BatchReply)
        except ValueError:
            return None

    def put(self, key: str, reply: BatchReply) -> None:
        """Keep a reply."""
        write_whole(self._path(key), canonical_json(reply.model_dump(mode="json")))

    def _path(self, key: str) -> Path:
        # custom_ids come from files that others wrote: only digests become names of files.
        if len(key) != 64 or not key.isalnum() or not key.isascii():
            return self.folder / "no digest"
        return self.folder / key[:2] / f"{key}.json"


@dataclass
class Lines:
    """The lines of answer files by their keys, and what is wrong with some.

    Attributes:
        damaged: lines that cannot be read.
        repeated: keys with several answers that differ; the first counts.
    """

    by_key: dict[str, BatchLine] = field(default_factory=dict)
    damaged: list[BatchLine] = field(default_factory=list)
    repeated: list[BatchLine] = field(default_factory=list)

    @classmethod
    def sorted(cls, lines: Iterable[BatchLine]) -> "Lines":
        """Lines sorted out: an answer goes before an error, the first answer before later ones."""
        result = cls()
        for line in lines:
            if line.damaged:
                result.damaged.append(line)
                continue
            first = result.by_key.setdefault(line.key, line)
            if first is line or line.body is None:
                continue
            if first.body is None:
                result.by_key[line.key] = line
            elif first.body != line.body:
                result.repeated.append(line)
        return result


class BatchProvider(Provider):
    """Answers from batch replies; a question without one is collected and reported as unanswered.

    Args:
        service: the provider whose requests, parameters and answers these are.
        replies: kept from earlier batches; those of `lines` join them when they are used.

    Attributes:
        open: questions for the next batch, by their keys.
        errors: lines with an error instead of an answer, by the keys of their questions.
        used: keys of the replies that questions asked for.
        earlier: what replies of earlier batches count against limits.
    """

    name: ClassVar[str] = "openai_compatible"

    def __init__(self, service: Provider, replies: BatchReplies, lines: Lines) -> None:
        self.service = service
        self.replies = replies
        self.lines = lines
        self.max_answer_tokens = service.max_answer_tokens
        self.open: dict[str, Question] = {}
        self.errors: dict[str, BatchLine] = {}
        self.used: set[str] = set()
        self.earlier = Usage()
        self._lock = threading.Lock()

    @property
    def identity(self) -> dict[str, Any]:
        """That of the service, so that live answers and those of batches share a cache."""
        return self.service.identity

    @classmethod
    def from_options(cls, options: ProviderOptions) -> "BatchProvider":
        """Not made from options; see the constructor."""
        raise NotImplementedError

    def ask(self, question: Question, budget: Budget) -> Answer:
        """The reply of a batch.

        Raises:
            Unanswered: there is none yet.
        """
        key = question_digest(question, self.service)
        with self._lock:
            reply, new = self.replies.get(key), False
            if reply is None:
                reply, new = self._read(key, question), True
            if reply is None:
                self.open.setdefault(key, question)
                raise Unanswered(f"no answer yet about {question.organ}, aspect {question.aspect}")
            self.used.add(key)
            if not new:
                self.earlier = self.earlier + reply.most
                return reply.answer()
            self.replies.put(key, reply)
        with budget.attempt(reply.most) as counted:
            counted.spent = reply.usage
        return reply.answer()

    def requests(self) -> list[tuple[str, dict[str, Any]]]:
        """The lines of the next batch."""
        return [(key, self.service.batch_request(each)) for key, each in self.open.items()]

    def most(self) -> Usage:
        """The most that the next batch may take."""
        result = Usage()
        for question in self.open.values():
            result = result + self.service.most_usage(question)
        return result

    def unknown(self, known: Iterable[str]) -> list[BatchLine]:
        """Lines that answer none of the questions, neither now nor in an earlier batch."""
        keys = {*known, *self.used, *self.open}
        return [
            line
            for key, line in self.lines.by_key.items()
            if key not in keys and self.replies.get(key) is None
        ]

    def _read(self, key: str, question: Question) -> BatchReply | None:
        line = self.lines.by_key.get(key)
        if line is None:
            return None
        if line.body is None:
            return self._failed(key, line)
        try:
            read = self.service.batch_answer(question, line.body)
        except ValueError as error:
            self.errors[key] = BatchLine(line.place, key, None, str(error))
            return None
        answer = read.answer
        # Kept as plain usage: whether it was an estimate shows in `most`.
        fields = {**vars(answer), "usage": Usage(**answer.usage.model_dump())}
        return BatchReply(**fields, most=read.most)

    def _failed(self, key: str, line: BatchLine) -> BatchReply | None:
        """A filter's refusal is an answer that cannot be used, as in live asking; else an error."""
        if not names_filter(line.error):
            self.errors[key] = line
            return None
        spent, identity = Usage(calls=1), self.identity
        return BatchReply(
            text="",
            model=str(identity["model"]),
            output=str(identity["output"]),
            usage=spent,
            most=spent,
            fault=_FILTERED,
        )
