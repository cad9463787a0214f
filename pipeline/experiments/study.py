"""A study file: what is varied, what is held fixed, and the cells that follow from it.

Plain values only: reading a study of a thousand cells imports neither torch nor a model.
"""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import Field, PositiveFloat, model_validator

from knowledge.common.digests import digest_of
from knowledge.common.files import read_text, read_toml
from knowledge.common.models import Strict
from knowledge.common.suggest import did_you_mean
from pipeline.files import shipped

# Axes by the stage that reads them. `table.key` of a recipe is an axis as well.
DESCRIBE_AXES = (
    "wording", "provider", "model", "base_url", "key_env", "answers", "temperature",
    "model_seed", "samples",
)  # fmt: skip
ENCODE_AXES = ("encoder", "long_text")
BANK_AXES = ("bank", "bank_draw")
DATA_AXES = ("labeled", "draw")
TRAIN_AXES = ("recipe", "method", "loss", "head", "alignment", "aspects", "seed")
AXES = (*DESCRIBE_AXES, *ENCODE_AXES, *BANK_AXES, *DATA_AXES, *TRAIN_AXES)
RECIPE_TABLES = (
    "network", "method", "loss", "head", "text", "alignment", "training", "inference",
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
        phantom: options of `tak phantom` in place of `root`, such as `{labeled = 4, spacing = 9}`.
        descriptor, split, layout, spacing: as in `tak prepare`.
    """

    root: Path | None = None
    phantom: dict[str, int | float | list[int]] | None = None
    descriptor: str | None = None
    split: str | None = None
    layout: str | None = None
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.root is None) == (self.phantom is None):
            raise ValueError("expected either root or phantom")
        return self


class StatisticsTable(Strict):
    """`[statistics]`: the endpoint and the comparison, written down before the study runs.

    Attributes:
        baseline: arm that all others are compared with; the first one unless given.
        metric: of the rules, `dice` by default.
        endpoint: group of organs: all, large or small.
        margin: for the equivalence test, in the unit of the table (percent for Dice).
        part, rules: as in `tak evaluate`.
    """

    baseline: str | None = None
    metric: str = "dice"
    endpoint: Literal["all", "large", "small"] = "all"
    margin: PositiveFloat = 1.0
    part: Literal["validation", "test"] = "test"
    rules: str = "scan"


class LimitsTable(Strict):
    """`[limits]`: of all questions of the study together."""

    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, ge=0)


class StudyFile(Strict):
    """A study as written in TOML.

    Attributes:
        question: what the study is to answer; printed with its results.
        fixed: settings of every cell.
        axes: full grid: every combination of these lists.
        arms: named settings; crossed with `axes`.
        paired: lists of equal length that vary together; crossed with the others.
        seeds: of training; every arm is trained with each.
        draws: of labeled cases; 0 is the data set's own split.
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
    check: bool = False
    statistics: StatisticsTable = StatisticsTable()
    limits: LimitsTable = LimitsTable()

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
            raise ValueError("every arm needs a name of its own")
        return self


@dataclass(frozen=True)
class Cell:
    """One training run of a study.

    Attributes:
        arm: name of the cell's arm; cells of one arm differ by replicates alone.
        settings: every axis with its value.
        factors: those settings that vary in the study, replicates left out.
    """

    arm: str
    settings: Mapping[str, Value]
    factors: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The arm with the cell's replicates, for messages."""
        parts = [f"{key} {self.settings[key]}" for key in REPLICATES if self.settings.get(key)]
        return ", ".join([self.arm, *parts])


@dataclass(frozen=True)
class Study:
    """A study file with the folder that relative paths start from."""

    file: StudyFile
    folder: Path
    path: Path

    @classmethod
    def read(cls, path: Path) -> "Study":
        """The study of a file, its axes checked.

        Raises:
            FileNotFoundError, ValueError: no file, not TOML, an unknown key or axis, or an
                arm that names what no stage reads.
        """
        study = cls(read_toml(path, StudyFile), path.parent, path)
        for where, keys in study._keys():
            for key in keys:
                _check_axis(key, f"{path}: {where}")
        if not study.cells:
            raise ValueError(f"{path}: the study has no cell")
        baseline = study.file.statistics.baseline
        if baseline is not None and baseline not in study.arms:
            raise ValueError(
                f"{path}: statistics.baseline: no arm {baseline!r}; "
                f"there is {', '.join(study.arms)}{did_you_mean(baseline, study.arms)}"
            )
        return study

    @property
    def digest(self) -> str:
        """The sha256 of the parsed study; stands in its results."""
        return digest_of(self.file.model_dump(mode="json"))

    def changed(self) -> bool:
        """Whether the file on disk is another study by now."""
        try:
            return Study.read(self.path).digest != self.digest
        except (OSError, ValueError):
            return True

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of all arms, in order."""
        return tuple(dict.fromkeys(cell.arm for cell in self.cells))

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return self.file.statistics.baseline or self.arms[0]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell: arms x axes x paired x draws x seeds."""
        file = self.file
        arms = file.arms or [{}]
        axes = [[{key: value} for value in values] for key, values in file.axes.items()]
        length = len(next(iter(file.paired.values()))) if file.paired else 0
        pairs = [{key: file.paired[key][i] for key in file.paired} for i in range(length)] or [{}]
        cells = []
        replicates = itertools.product(file.draws, file.seeds)
        grid = itertools.product(*axes, pairs)
        for arm, points, (draw, seed) in itertools.product(arms, grid, replicates):
            chosen = {key: value for point in points for key, value in point.items()}
            varied = {key: _label(value) for key, value in chosen.items()}
            own = {key: value for key, value in arm.items() if key != "name"}
            settings = {**DEFAULTS, **file.fixed, **chosen, **own, "draw": draw, "seed": seed}
            named = [str(arm["name"])] if arm else []
            shown = [value for key, value in varied.items() if key not in REPLICATES]
            factors = ({"arm": named[0]} if named else {}) | {
                key: value for key, value in varied.items() if key not in REPLICATES
            }
            cells.append(Cell(", ".join([*named, *shown]) or "study", settings, factors))
        return tuple(cells)

    def resolve(self, name: str) -> str:
        """A name as it is, or the absolute path of a file or folder beside the study."""
        path = self.folder / name
        return str(path.resolve()) if path.exists() else name

    def _keys(self) -> list[tuple[str, Sequence[str]]]:
        file = self.file
        arms = [(f"arm {arm.get('name')}", [k for k in arm if k != "name"]) for arm in file.arms]
        return [
            ("fixed", list(file.fixed)),
            ("axes", list(file.axes)),
            ("paired", list(file.paired)),
            *arms,
        ]


def _check_axis(key: str, where: str) -> None:
    table, dot, rest = key.partition(".")
    if key in ("seed", "draw"):
        raise ValueError(f"{where}: {key} is given by the list {key}s of the study")
    if key in AXES or (dot and rest and table in RECIPE_TABLES):
        return
    known = (*AXES, *(f"{name}.KEY" for name in RECIPE_TABLES))
    raise ValueError(
        f"{where}: no stage reads {key!r}; there is {', '.join(known)}{did_you_mean(key, AXES)}"
    )


def _label(value: Value) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return Path(value).stem if isinstance(value, str) and "/" in value else str(value)


def recipe_changes(settings: Mapping[str, Value]) -> dict[str, Value]:
    """What a cell changes in its recipe, by dotted key; the seed is not among it."""
    changes: dict[str, Value] = {}
    for table in ("method", "loss", "head", "alignment"):
        if table in settings:  # the whole table: options of another choice would not fit
            changes[table] = {"name": settings[table]}
    if "aspects" in settings:
        aspects = settings["aspects"]
        changes["text.aspects"] = [aspects] if isinstance(aspects, str) else list(aspects)
    changes |= {key: value for key, value in settings.items() if "." in key}
    return changes


def as_words(changes: Mapping[str, Value]) -> list[str]:
    """Changes of a recipe in the form that `--set` takes."""
    words = []
    for key, value in changes.items():
        if isinstance(value, dict):
            inner = ", ".join(f"{name} = {_toml(item)}" for name, item in value.items())
            words.append(f"{key}={{{inner}}}")
        else:
            words.append(f"{key}={_toml(value)}")
    return words


def _toml(value: Value) -> str:
    text = tomli_w.dumps({"value": value}).removeprefix("value = ").strip()
    return " ".join(text.split())


def raw_recipe(recipe: Path, changes: Mapping[str, Value]) -> dict[str, Any]:
    """The tables of a recipe file with changes applied, unchecked: enough for a digest.

    Raises:
        ValueError: not TOML.
    """
    try:
        content = tomllib.loads(read_text(recipe))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{recipe} is not valid TOML: {error}") from None
    for key, value in changes.items():
        *tables, last = key.split(".")
        place = content
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return content


def reads_text(recipe: Mapping[str, Any]) -> bool:
    """Whether a raw recipe has a text head or aligns features with text."""
    head = recipe.get("head", {}).get("name", "conv")
    return head == "text" or recipe.get("alignment", {}).get("name", "none") != "none"


def find_recipe(study: Study, name: str) -> Path:
    """The recipe that a study means by a name or by a path beside it."""
    return shipped.find("recipes", study.resolve(name))
