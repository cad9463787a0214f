"""Study: its arms and cells, from axes, paired lists, draws and seeds."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from knowledge.common.digests import digest_of
from knowledge.common.files import read_toml
from knowledge.common.suggest import did_you_mean
from knowledge.common.text import one_line
from pipeline.experiments.study_file import (
    AXES,
    DEFAULTS,
    RECIPE_TABLES,
    REPLICATES,
    TEXT_AXES,
    StudyFile,
    Value,
)


@dataclass(frozen=True)
class Cell:
    """One training run of a study.

    Attributes:
        arm: name of the cell's arm; cells of one arm differ only in replicates.
        settings: every axis with its value.
        factors: settings that vary in the study, without replicates.
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
    data: Path | None = None

    @classmethod
    def read(cls, path: Path, data: Path | None = None) -> "Study":
        """The study of a file, its axes checked.

        Args:
            data: folder of scans in place of `data.root` or `data.phantom`.

        Raises:
            FileNotFoundError, ValueError: no file, not TOML, an unknown key or axis.
        """
        file = read_toml(path, StudyFile)
        if data is not None:
            scans = file.data.model_copy(update={"root": data.resolve(), "phantom": None})
            file = file.model_copy(update={"data": scans})
        study = cls(file, path.parent, path, data)
        for where, keys in study._keys():
            for key in keys:
                _check_axis(key, f"{path}: {where}", study.file.until)
        if not study.cells:
            raise ValueError(f"{path}: the study has no cell")
        baseline = study.file.statistics.baseline
        if baseline is not None and baseline not in study.arms:
            raise ValueError(
                f"{path}: statistics.baseline: no arm {baseline!r}; "
                f"there is {', '.join(map(repr, study.arms))}{did_you_mean(baseline, study.arms)}"
            )
        return study

    @property
    def digest(self) -> str:
        """The sha256 of the parsed study, which its results record."""
        return digest_of(self.file.model_dump(mode="json"))

    def changed(self) -> bool:
        """Whether the file on disk has changed since it was read."""
        try:
            return Study.read(self.path, self.data).digest != self.digest
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
            changes = {key: value for key, value in arm.items() if key != "name"}
            settings = {**DEFAULTS, **file.fixed, **chosen, **changes, "draw": draw, "seed": seed}
            named = [str(arm["name"])] if arm else []
            shown = [value for key, value in varied.items() if key not in REPLICATES]
            factors = ({"arm": named[0]} if named else {}) | {
                key: value for key, value in varied.items() if key not in REPLICATES
            }
            cells.append(Cell(", ".join([*named, *shown]) or "study", settings, factors))
        return tuple(cells)

    def resolve(self, name: str) -> str:
        """A name unchanged, or the absolute path of a file relative to the study."""
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


def _check_axis(key: str, where: str, until: str) -> None:
    table, dot, rest = key.partition(".")
    if key in ("seed", "draw"):
        raise ValueError(f"{where}: {key} is given by the list {key}s of the study")
    if until == "bank":
        known: tuple[str, ...] = TEXT_AXES
    elif dot and rest and table in RECIPE_TABLES:
        return
    else:
        known = (*AXES, *(f"{name}.KEY" for name in RECIPE_TABLES))
    if key not in known:
        of = " of a study of texts" if until == "bank" else ""
        raise ValueError(
            f"{where}: no stage{of} reads {one_line(repr(key), 40)}; there is {', '.join(known)}"
            f"{did_you_mean(key, known)}"
        )


def _label(value: Value) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return Path(value).stem if isinstance(value, str) and "/" in value else str(value)
