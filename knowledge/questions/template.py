"""Template: a prompt from a file, its aspects and its digest."""

import string
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import Field, model_validator

from knowledge.common.digests import digest_of
from knowledge.common.files import read_toml
from knowledge.common.models import Strict
from knowledge.common.suggest import did_you_mean, unknown
from knowledge.descriptions import BACKGROUND


class Wording(Strict):
    """The file `prompts/<name>.toml`.

    `aspects` maps an aspect to its question. `user` frames each question (`{question}`).
    `background` may word an aspect differently for the background class. Every text may use
    `{organ}`, `{organs}` (the whole list), `{aspect}` and the file's own `[variables]`. With
    `literal = true` no model is asked: the question, filled in, is itself the description.
    """

    title: str = Field(min_length=1)
    source: str = ""
    literal: bool = False
    system: str = ""
    user: str = "{question}"
    aspects: dict[str, str] = Field(min_length=1)
    background: dict[str, str] = Field(default_factory=dict)
    variables: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Wording":
        for aspect in self.background:
            if aspect not in self.aspects:
                raise ValueError(
                    f"background.{aspect}: no such aspect; there is {', '.join(self.aspects)}"
                    f"{did_you_mean(aspect, self.aspects)}"
                )
        texts = {"system": self.system, "user": self.user}
        texts |= {f"aspects.{aspect}": text for aspect, text in self.aspects.items()}
        texts |= {f"background.{aspect}": text for aspect, text in self.background.items()}
        known = {"organ", "organs", "aspect", *self.variables}
        for key, text in texts.items():
            allowed = known | {"question"} if key == "user" else known
            for name in _fields(key, text):
                if name not in allowed:
                    raise ValueError(
                        f"{key}: unknown variable {{{name}}}; there is {', '.join(sorted(allowed))}"
                        f"{did_you_mean(name, allowed)}"
                    )
        if "question" not in _fields("user", self.user):
            raise ValueError("user: must contain {question}")
        return self


class Template:
    """A named wording that fills in organ names.

    Files that differ only in title, source, comments or layout have the same digest: it covers the
    text that the model reads.
    """

    def __init__(self, name: str, wording: Wording) -> None:
        self.name = name
        self.wording = wording

    @classmethod
    def read(cls, path: Path, variables: Mapping[str, str] | None = None) -> "Template":
        """The template of a TOML file, with some of its variables replaced.

        Raises:
            ValueError: an unknown key or variable; the message names file and key.
        """
        wording = read_toml(path, Wording)
        for name in variables or {}:
            if name not in wording.variables:
                raise ValueError(f"{path}: {unknown('variable', name, tuple(wording.variables))}")
        merged = wording.variables | dict(variables or {})
        return cls(path.stem, wording.model_copy(update={"variables": merged}))

    @property
    def aspects(self) -> tuple[str, ...]:
        """The aspects, in the file's order."""
        return tuple(self.wording.aspects)

    @property
    def literal(self) -> bool:
        """Whether the filled-in wording is the description, without a model."""
        return self.wording.literal

    @cached_property
    def digest(self) -> str:
        """The sha256 of the text that a model reads; white space is normalized."""
        wording = self.wording.model_dump(exclude={"title", "source"})
        return digest_of(_squeeze(wording))

    def system(self, organ: str, aspect: str, organs: tuple[str, ...]) -> str:
        """The system message; may be empty."""
        return self._fill(self.wording.system, organ, aspect, organs).strip()

    def user(self, organ: str, aspect: str, organs: tuple[str, ...]) -> str:
        """The question about one aspect of one organ, in its frame.

        Raises:
            LookupError: the template has no such aspect.
        """
        if aspect not in self.wording.aspects:
            raise LookupError(
                f"template {self.name} has no aspect {aspect!r}; there is {', '.join(self.aspects)}"
                f"{did_you_mean(aspect, self.aspects)}"
            )
        question = self.wording.aspects[aspect]
        if organ == BACKGROUND:
            question = self.wording.background.get(aspect, question)
        filled = self._fill(question, organ, aspect, organs).strip()
        return self._fill(self.wording.user, organ, aspect, organs, question=filled).strip()

    def _fill(
        self, text: str, organ: str, aspect: str, organs: tuple[str, ...], **more: str
    ) -> str:
        variables = {**self.wording.variables, "organ": organ, "aspect": aspect, **more}
        if "{organs" in text:
            variables["organs"] = ", ".join(name for name in organs if name != BACKGROUND)
        return text.format_map(variables)


def _fields(key: str, text: str) -> list[str]:
    """The variables of a text; ValueError names the key of a text with a stray brace."""
    try:
        return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"{key}: {error} (write {{{{ and }}}} for braces)") from error


def _squeeze(value: object) -> object:
    """The value with runs of white space in its strings collapsed, at any depth."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, dict):
        return {key: _squeeze(item) for key, item in value.items()}
    return value
