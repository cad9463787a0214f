"""Descriptions of organs: texts, claims and their origin, and the set for a class list."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from knowledge.common.digests import digest_of
from knowledge.common.files import read_json, write_whole
from knowledge.common.models import Strict, readable
from knowledge.common.suggest import did_you_mean
from knowledge.providers.base.usage import Usage

FORMAT_VERSION = 1
BACKGROUND = "background"

Relation = Literal[
    "left_of",
    "right_of",
    "anterior_to",
    "posterior_to",
    "superior_to",
    "inferior_to",
    "adjacent_to",
    "surrounds",
    "inside",
    "crosses",
]
RELATIONS: tuple[str, ...] = get_args(Relation)


class Claim(Strict):
    """`organ` stands in `relation` to `other`; left and right are the patient's."""

    organ: str
    relation: Relation
    other: str

    def __str__(self) -> str:
        return f"{self.organ} {self.relation} {self.other}"


class Origin(Strict):
    """Provenance of a sample: provider, model, question, date and cost.

    Attributes:
        model: the name that the service reports, often with a date.
        service: fingerprint of the state of the service; "" where it reports none.
        date: of the answer (ISO 8601, UTC); "" if unknown.
        claims_left_out: claims of the answer about organs that are not in the class list.
        content_digest: digest of the sample as it was answered; "" in files of earlier versions.
    """

    provider: str
    model: str
    template: str
    template_digest: str
    question_digest: str
    output: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    attempts: int = Field(default=1, ge=0)
    corrections: int = Field(default=0, ge=0)
    claims_left_out: int = Field(default=0, ge=0)
    usage: Usage = Usage()
    images: tuple[str, ...] = ()
    service: str = ""
    date: str = ""
    content_digest: str = ""


class Sample(Strict):
    """One answer to one question: sentences, claims that can be tested, words for the shape."""

    text: str = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    attributes: tuple[str, ...] = ()
    origin: Origin

    @property
    def content_digest(self) -> str:
        """The sha256 of text, claims and attributes."""
        claims = [[claim.organ, claim.relation, claim.other] for claim in self.claims]
        return digest_of([self.text, claims, self.attributes])

    @property
    def edited(self) -> bool:
        """Whether the content differs from the answer; False where the digest is unknown."""
        return self.origin.content_digest not in ("", self.content_digest)

    def sealed(self) -> "Sample":
        """The sample with the digest of its content in its origin."""
        origin = self.origin.model_copy(update={"content_digest": self.content_digest})
        return self.model_copy(update={"origin": origin})


class Description(Strict):
    """The description of one aspect of one organ: samples, of which the first is used."""

    organ: str
    aspect: str
    samples: tuple[Sample, ...] = Field(min_length=1)

    @property
    def text(self) -> str:
        """The sentences of the first sample."""
        return self.samples[0].text

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of the first sample."""
        return self.samples[0].claims

    @property
    def attributes(self) -> tuple[str, ...]:
        """The shape words of the first sample."""
        return self.samples[0].attributes

    @property
    def origin(self) -> Origin:
        """The origin of the first sample."""
        return self.samples[0].origin


class DescriptionSet(Strict):
    """The descriptions of a whole class list (background first), one per class and aspect.

    Invariants: every class has every aspect exactly once, in the order of `classes` and `aspects`.
    `variables` are the template's, with those that the user set. `totals` is the usage of all
    answers, failed attempts counted; `cost_usd` is known where the model's price is. `verified_on`
    names the cases whose labels corrected the answers; `supported_share` was measured on the texts
    of digest `supported_share_of`, on such cases too unless it is independent.
    """

    format_version: int = FORMAT_VERSION
    classes: tuple[str, ...] = Field(min_length=1)
    aspects: tuple[str, ...] = Field(min_length=1)
    template: str
    template_digest: str
    variables: dict[str, str] = Field(default_factory=dict)
    supported_share: float | None = None
    supported_share_of: str = ""
    supported_share_independent: bool = True
    verified_on: tuple[str, ...] = ()
    totals: Usage = Usage()
    cost_usd: float | None = None
    descriptions: tuple[Description, ...]

    @model_validator(mode="before")
    @classmethod
    def _not_newer(cls, raw: Any) -> Any:
        return readable(raw, FORMAT_VERSION, "descriptions")

    @model_validator(mode="after")
    def _complete(self) -> "DescriptionSet":
        expected = [(name, aspect) for name in self.classes for aspect in self.aspects]
        present = [(item.organ, item.aspect) for item in self.descriptions]
        if expected != present:
            raise ValueError(_difference(expected, present))
        return self

    @classmethod
    def read(cls, path: Path) -> "DescriptionSet":
        """The descriptions of a JSON file; FileNotFoundError or ValueError say what is wrong."""
        return read_json(path, cls)

    def write(self, path: Path) -> None:
        """Write as JSON (UTF-8, indented), atomically."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        write_whole(path, text + "\n")

    def get(self, organ: str, aspect: str) -> Description:
        """The description of one organ and aspect; LookupError names what there is."""
        try:
            return self._by_key[organ, aspect]
        except KeyError:
            raise LookupError(
                f"no description of {organ!r}, aspect {aspect!r}; there is "
                f"{', '.join(self.classes)} with {', '.join(self.aspects)}"
                + ("" if organ in self.classes else did_you_mean(organ, self.classes))
                + ("" if aspect in self.aspects else did_you_mean(aspect, self.aspects))
            ) from None

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All distinct claims of the set, in its order."""
        return tuple(dict.fromkeys(claim for item in self.descriptions for claim in item.claims))

    @property
    def claims_left_out(self) -> int:
        """The number of claims about organs outside the class list that answers made."""
        return sum(
            sample.origin.claims_left_out for item in self.descriptions for sample in item.samples
        )

    @property
    def share_mismatch(self) -> bool:
        """Whether the supported share was measured on other texts than these."""
        measured_on = self.supported_share_of
        return self.supported_share is not None and measured_on not in ("", self.digest)

    @property
    def edited(self) -> tuple[str, ...]:
        """Organs and aspects whose samples were changed after the answer was recorded."""
        return tuple(
            f"{item.organ}, {item.aspect}"
            for item in self.descriptions
            if any(sample.edited for sample in item.samples)
        )

    @cached_property
    def digest(self) -> str:
        """The sha256 of names, texts, claims and attributes, without their origin."""
        return digest_of(
            [
                [item.organ, item.aspect, sample.text, sample.attributes]
                + [[claim.relation, claim.other] for claim in sample.claims]
                for item in self.descriptions
                for sample in item.samples
            ]
        )

    @cached_property
    def _by_key(self) -> dict[tuple[str, str], Description]:
        return {(item.organ, item.aspect): item for item in self.descriptions}


def _difference(expected: list[tuple[str, str]], present: list[tuple[str, str]]) -> str:
    missing = [f"{name}/{aspect}" for name, aspect in expected if (name, aspect) not in present]
    extra = [f"{name}/{aspect}" for name, aspect in present if (name, aspect) not in expected]
    if missing or extra:
        return (
            f"descriptions do not match the class list: missing {', '.join(missing) or 'none'}; "
            f"not asked for {', '.join(extra) or 'none'}"
        )
    return "descriptions are repeated or not in the order of classes and aspects"
