"""Stages of a study: inputs, key and command.

The key of a stage is the digest of all its inputs, including the keys of earlier stages. Equal keys
mean equal results, in one study and across studies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knowledge.common.digests import digest_of
from pipeline.experiments.study import (
    Cell,
)

# Raised by hand when the results of a stage change without a change of its inputs.
VERSIONS = {
    "phantom": 1,
    "split": 1,
    "prepare": 1,
    "describe": 1,
    "check": 1,
    "encode": 1,
    "control": 1,
    "train": 1,
    "evaluate": 1,
}
KINDS = tuple(VERSIONS)
PRODUCTS = {
    "phantom": "scans",
    "split": "lists",
    "prepare": "prepared",
    "describe": "descriptions.json",
    "check": "claims.json",
    "encode": "bank.h5",
    "control": "bank.h5",
    "train": "run",
    "evaluate": "scores",
}


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Attributes:
        kind: one of `KINDS`.
        facts: the content of which the key is the digest.
        words: of the `tak` command; `{out}` is this stage's product, `{KEY}` that of an input.
        inputs: earlier stages, by key.
        steps: training steps, for the estimate of time.
    """

    kind: str
    facts: Mapping[str, Any]
    words: tuple[str, ...]
    inputs: tuple["Stage", ...] = ()
    steps: int = 0
    key: str = field(init=False)

    def __post_init__(self) -> None:
        content = {"kind": self.kind, "version": VERSIONS[self.kind], "facts": dict(self.facts)}
        content["inputs"] = [stage.key for stage in self.inputs]
        object.__setattr__(self, "key", digest_of(content)[:20])

    @property
    def label(self) -> str:
        """Kind and key, for messages."""
        return f"{self.kind} {self.key[:8]}"

    @property
    def product(self) -> str:
        """Name of the file or folder that the stage writes."""
        return PRODUCTS[self.kind]


def code_of(plugins: Mapping[str, str]) -> dict[str, Any]:
    """The facts of a stage that plugins take part in; none without them, so keys stay."""
    return {"plugins": dict(plugins)} if plugins else {}


@dataclass(frozen=True)
class External:
    """An existing file or folder in place of a stage."""

    path: str
    digest: str


Input = Stage | External


@dataclass(frozen=True)
class CellStages:
    """The stages that end in one cell's scores, or in its text vectors.

    Attributes:
        bank: the text vectors; None if the recipe reads no text.
        describe, check: None if no model is asked.
        train, evaluate: None in a study of texts.
    """

    cell: Cell
    bank: Input | None
    describe: Stage | None = None
    check: Stage | None = None
    train: Stage | None = None
    evaluate: Stage | None = None

    def all(self) -> list[Stage]:
        """Every stage that the cell needs, inputs first."""
        bank = self.bank if isinstance(self.bank, Stage) else None
        ordered: dict[str, Stage] = {}

        def add(stage: Stage) -> None:
            for earlier in stage.inputs:
                add(earlier)
            ordered.setdefault(stage.key, stage)

        for end in (bank, self.evaluate, self.check):
            if end is not None:
                add(end)
        return list(ordered.values())
