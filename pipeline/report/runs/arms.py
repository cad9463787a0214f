"""Arms of a report: groups of runs that differ only in their seed."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.config.recipe import RunConfig
from pipeline.report.runs.run_data import RunData, read_masks, read_run
from pipeline.results.scores import Evaluation, comparable, mean_of
from pipeline.runs.folder import RunFolder
from pipeline.scoring.seeds import Scored
from segmentation.evaluation.statistics import nan_mean


@dataclass(frozen=True)
class Arm:
    """Runs that differ only in their seed.

    Attributes:
        number: its position in the report, which sets color and marker in every chart.
        label: unique name for tables and legends.
        named: whether the user gave the label.
        folders: shortest distinct names of the folders of the runs.
        departures: differences of its configuration from the first arm, in words.
    """

    number: int
    label: str
    runs: tuple[RunData, ...]
    folders: tuple[str, ...]
    departures: tuple[str, ...] = ()
    named: bool = False

    @property
    def first(self) -> RunData:
        """The run that represents the arm where one run is shown."""
        return self.runs[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs; empty for masks."""
        return tuple(run.config.seed for run in self.runs if not run.masks)

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The evaluations of the scored runs."""
        return tuple(run.evaluation for run in self.runs if run.evaluation is not None)

    @property
    def scored(self) -> Scored | None:
        """The scores case by case, averaged over the seeds; None if no run was scored."""
        evaluations = self.evaluations
        return Scored(self.label, len(evaluations), mean_of(evaluations)) if evaluations else None

    def over_seeds(self, name: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation of an organ or group; over seeds, or over cases of one."""
        scores = [
            one.group(name, metric) if name in one.groups else one.organ(name, metric)
            for one in self.evaluations
        ]
        if len(scores) < 2:
            return scores[0] if scores else (float("nan"), float("nan"))
        means = [mean for mean, _ in scores if not np.isnan(mean)]
        deviation = float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
        return nan_mean(means), deviation

    def counted(self, name: str, metric: str) -> tuple[int, int]:
        """Values that the mean of an organ or group rests on, and those that have a Dice."""
        scored, all_pairs = (
            sum(one.count(name, key) for one in self.evaluations) for key in (metric, "dice")
        )
        return scored, all_pairs


def read_arms(
    paths: Sequence[Path], part: str, rules: str = "scan", labels: Sequence[str] = ()
) -> tuple[Arm, ...]:
    """Group run folders into arms, in the order of their first runs.

    A run that repeats a seed of its arm starts another arm.

    Args:
        labels: a name per path, or none; paths of one arm share their name.

    Raises:
        FileNotFoundError: a folder holds no run.
        ValueError: a run twice, runs of different data, scores that are not comparable, or labels
            that do not fit the runs.
    """
    label_of = _label_of(paths, labels)
    folders = list(label_of)
    runs = [read_run(folders[0], part, rules)]
    for folder in folders[1:]:
        if RunFolder(folder).holds_run or RunFolder(folder).config.is_file():
            runs.append(read_run(folder, part, rules))
        else:
            runs.append(read_masks(folder, runs[0], part, rules))
    for run in runs[1:]:
        _check_classes(runs[0], run)
    _check_comparable(runs)
    groups: dict[tuple[str, int], list[RunData]] = {}
    met: Counter[tuple[str, int]] = Counter()
    for run in runs:
        kind, seed = label_of[run.path] + _kind_of(run), run.config.seed
        groups.setdefault((kind, met[kind, seed]), []).append(run)
        met[kind, seed] += 1
    members = list(groups.values())
    given = [label_of[own[0].path] for own in members]
    _check_labels(members, given)
    names = dict(zip([run.path for run in runs], _names([run.path for run in runs]), strict=True))
    return tuple(
        Arm(
            number,
            label,
            tuple(own),
            tuple(names[run.path] for run in own),
            _departures(own[0], runs[0]),
            bool(labels),
        )
        for number, (label, own) in enumerate(
            zip(given if labels else _labels(members), members, strict=True)
        )
    )


def _label_of(paths: Sequence[Path], labels: Sequence[str]) -> dict[Path, str]:
    """The folder of every run -> the label of its path; empty without labels.

    Raises:
        ValueError: a run twice, or another number of labels than of paths.
    """
    if labels and (len(labels) != len(paths) or not all(map(str.strip, labels))):
        raise ValueError(
            f"--label: expected a name for each of {len(paths)} runs, in their order, got "
            f"{', '.join(map(repr, labels))}"
        )
    named = zip(paths, labels or [""] * len(paths), strict=True)
    pairs = [(folder, label.strip()) for path, label in named for folder in _folders(path)]
    if len({folder.resolve() for folder, _ in pairs}) < len(pairs):
        raise ValueError(f"a run is named twice: {', '.join(str(folder) for folder, _ in pairs)}")
    return dict(pairs)


def _check_labels(arms: Sequence[Sequence[RunData]], labels: Sequence[str]) -> None:
    """Refuse one label for runs that are no seeds of each other."""
    for label in filter(None, labels):
        same = [runs[0].path for runs, other in zip(arms, labels, strict=True) if other == label]
        if len(same) > 1:
            raise ValueError(
                f"--label {label!r} names {' and '.join(map(str, same))}, which differ by more "
                "than their seed, or repeat one; give each a label of its own"
            )


def _folders(path: Path) -> list[Path]:
    """The folder of a run, or the runs in a folder of seeds."""
    seeds = sorted(path.glob("seed-*/"))
    return [path] if RunFolder(path).holds_run or not seeds else seeds


def _check_classes(first: RunData, run: RunData) -> None:
    classes, expected = run.spec.classes, first.spec.classes
    if classes == expected:
        return
    parts = [f"{run.path} alone knows {', '.join(o for o in classes if o not in expected)}"]
    parts += [f"{first.path} alone knows {', '.join(o for o in expected if o not in classes)}"]
    parts = [part for part in parts if not part.endswith("knows ")]
    differences = "; ".join(parts) or f"{run.path} has them in another order than {first.path}"
    raise ValueError(f"runs of one report have the same classes: {differences}; report them apart")


def _check_comparable(runs: Sequence[RunData]) -> None:
    scored = [run for run in runs if run.evaluation is not None]
    for run in scored[1:]:
        assert run.evaluation is not None
        assert scored[0].evaluation is not None
        try:
            comparable(scored[0].evaluation, run.evaluation)
        except ValueError as fault:
            raise ValueError(
                f"{scored[0].path} and {run.path} do not belong into one table: {fault}"
            ) from None


def _kind_of(run: RunData) -> str:
    """The common key of the runs of an arm: configuration without title and seed, text, data."""
    if run.masks:
        return f"masks {run.path.resolve()}"
    content = run.config.model_dump(mode="json", exclude={"seed", "title"})
    return json.dumps([content, run.bank_digest, run.data_digest], sort_keys=True)


def choices_of(config: RunConfig) -> str:
    """The four free choices of a run in words, without defaults."""
    parts = [config.method.name, config.loss.name.replace("_", " + ")]
    parts += [f"{config.head.name} head"] * (config.head.name != "conv")
    parts += ["contrast"] * (config.alignment.name != "none")
    return ", ".join(parts)


def _departures(run: RunData, first: RunData) -> tuple[str, ...]:
    """Differences of a run from the first one; options that only one of them has are omitted."""
    if run.masks:
        assert run.evaluation is not None
        return (run.evaluation.note,)
    ours, theirs = _settings(run.config), _settings(first.config)
    chosen = {key for key in ours | theirs if key.endswith(".name")}
    other = {key.split(".")[0] for key in chosen if ours[key] != theirs[key]}
    other |= set() if run.config.needs_bank and first.config.needs_bank else {"text"}
    changes = []
    for key in dict.fromkeys([*sorted(chosen), *ours, *theirs]):
        before, after = theirs.get(key, "the default"), ours.get(key, "the default")
        if before != after and (key in chosen or key.split(".")[0] not in other):
            changes.append(f"{key.removesuffix('.name')} {after} instead of {before}")
    if run.bank_digest and first.bank_digest and run.bank_digest != first.bank_digest:
        changes.append("other text vectors")
    if run.data_digest and first.data_digest and run.data_digest != first.data_digest:
        changes.append("another preparation or split of the data")
    return tuple(changes)


def _settings(config: RunConfig) -> dict[str, str]:
    """The entries of a recipe by the keys of `--set`, without title and seed."""
    tables = config.model_dump(mode="json", exclude={"title", "seed"})
    values = {}
    for table, entries in tables.items():
        options = entries.pop("options", {})
        for key, value in (entries | options).items():
            values[f"{table}.{key}"] = json.dumps(value).strip('"').replace("null", "none")
    return values


def _labels(arms: Sequence[Sequence[RunData]]) -> list[str]:
    """A label per arm: its choices, and the name of the folder if these are not unique."""
    plain = ["masks" if runs[0].masks else choices_of(runs[0].config) for runs in arms]
    return [
        f"{label} ({name})" if plain.count(label) > 1 or label == "masks" else label
        for label, name in zip(plain, _names([runs[0].path for runs in arms]), strict=True)
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest distinct ends of the paths; folders of single seeds are omitted."""
    parts = [path.resolve().parts for path in paths]
    if len({one[:-1] for one in parts}) == len(parts):
        parts = [one[:-1] if one[-1].startswith("seed-") else one for one in parts]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names
