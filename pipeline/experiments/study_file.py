"""The schema of a study file: its tables, its axes and their defaults.

Plain values only: reading a study of a thousand cells imports neither torch nor a model.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from knowledge.common.models import Strict

# Axes by the stage that reads them. `table.key` of a recipe is an axis as well.
DESCRIBE_AXES = (
    "wording", "var", "provider", "model", "base_url", "key_env", "header", "query", "output",
    "answers", "temperature", "model_seed", "samples", "attempts", "concurrency",
    "max_answer_tokens", "prices",
)  # fmt: skip
ENCODE_AXES = ("encoder", "long_text")
BANK_AXES = ("bank", "bank_draw")
DATA_AXES = ("labeled", "draw")
TRAIN_AXES = ("recipe", "method", "loss", "head", "alignment", "aspects", "seed")
TEXT_AXES = (*DESCRIBE_AXES, *ENCODE_AXES, *BANK_AXES)
AXES = (*TEXT_AXES, *DATA_AXES, *TRAIN_AXES)
RECIPE_TABLES = (
    "network", "method", "loss", "head", "text", "alignment", "relations", "training", "inference",
    "augmentation",
)  # fmt: skip
REPLICATES = ("seed", "draw", "bank_draw")  # repetitions of an arm, not factors of interest
DEFAULTS: dict[str, Any] = {
    "wording": "paper",
    "provider": "recorded",
    "encoder": "hashing:64",
    "long_text": "split-mean",
    "bank": "text",
    "recipe": "tak",
    "seed": 0,
}

Value = Any
Settings = dict[str, Value]


class DataTable(Strict):
    """`[data]`: the scans of every cell: a folder, or a population of phantoms.

    Attributes:
        root: data set as downloaded, or a prepared folder.
        phantom: options of `tak phantom` in place of `root`, such as `{labeled = 4, spacing = 9}`
            or `{benchmark = "phantom-amos-small"}`.
        descriptor: as in `tak prepare`; without scans any list of organs, for a study of texts.
        split, layout, spacing: as in `tak prepare`.
    """

    root: Path | None = None
    phantom: dict[str, int | float | str | list[int]] | None = None
    descriptor: str | None = None
    split: str | None = None
    layout: str | None = None
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.root is not None and self.phantom is not None:
            raise ValueError("expected either root or phantom, got both")
        return self

    @property
    def scans(self) -> bool:
        """Whether there are scans, not only organs."""
        return self.root is not None or self.phantom is not None


class StatisticsTable(Strict):
    """`[statistics]`: the endpoint and the comparison, fixed before the study runs.

    Attributes:
        baseline: arm that all others are compared with; the first one unless given.
        metric: of the rules, `dice` by default.
        endpoint: group of organs: all, large or small.
        margin: for the equivalence test, in the unit of the table (percent for Dice).
        part, rules: as in `tak evaluate`.
        untrained: also score every network before its first step.
    """

    baseline: str | None = None
    metric: str = "dice"
    endpoint: Literal["all", "large", "small"] = "all"
    margin: PositiveFloat = 1.0
    part: Literal["validation", "test"] = "test"
    rules: str = "scan"
    untrained: bool = False


class LimitsTable(Strict):
    """`[limits]`: limits of all questions of the study together."""

    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, ge=0)


class StudyFile(Strict):
    """A study as written in TOML.

    Attributes:
        question: the research question, printed with the results.
        fixed: settings of every cell.
        axes: full grid: every combination of these lists.
        arms: named settings; crossed with `axes`.
        paired: lists of equal length that vary together; crossed with the others.
        seeds: of training; every arm is trained with each.
        draws: of labeled cases; 0 is the split of the data set.
        until: `scores`, or `bank` for a study of texts without training.
        check: test the claims of every description set on the labeled scans.
    """

    format_version: Literal[1] = 1
    title: str
    question: str = ""
    data: DataTable
    fixed: dict[str, Value] = Field(default_factory=dict)
    axes: dict[str, list[Value]] = Field(default_factory=dict)
    arms: list[dict[str, Value]] = Field(default_factory=list)
    paired: dict[str, list[Value]] = Field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    draws: tuple[int, ...] = (0,)
    until: Literal["scores", "bank"] = "scores"
    check: bool = False
    statistics: StatisticsTable = StatisticsTable()
    limits: LimitsTable = LimitsTable()

    @model_validator(mode="after")
    def _enough_data(self) -> Self:
        if self.until == "bank" and self.data.descriptor is None and not self.data.scans:
            raise ValueError("data: expected descriptor, root or phantom")
        if self.until == "scores" and not self.data.scans:
            raise ValueError('data: expected either root or phantom, or until = "bank"')
        if self.check and not self.data.scans:
            raise ValueError("check: tests claims on scans: give data.root or data.phantom")
        if self.until == "bank" and (self.seeds, self.draws) != ((0,), (0,)):
            raise ValueError('until = "bank" trains nothing: remove seeds and draws')
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, values in {**self.axes, "seeds": self.seeds, "draws": self.draws}.items():
            if not values:
                raise ValueError(f"{name} is empty")
            texts = [repr(value) for value in values]
            if len(set(texts)) < len(texts):
                raise ValueError(f"{name} lists a value twice: {', '.join(texts)}")
        lengths = {name: len(values) for name, values in self.paired.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"paired lists must be of equal length, not {lengths}")
        names = [arm.get("name") for arm in self.arms]
        if None in names or len(set(map(str, names))) < len(names):
            raise ValueError("every arm needs a unique name")
        return self
