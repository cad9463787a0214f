"""What run folders hold, read for a report: configuration, log, scores, checkpoint, bank.

Runs that differ by their seed alone make up one arm; the first arm is what a report is about, the
others are its baselines.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from knowledge.bank import Bank
from pipeline.compare import Scored, mean_of, read_evaluation
from pipeline.config import RunConfig
from pipeline.evaluate import Evaluation, comparable
from pipeline.protocols import rules_for
from segmentation.checkpoint import TrainState, load
from segmentation.dataset import DatasetSpec
from segmentation.log import LOG, read_log
from segmentation.metrics import nan_mean

BANK = "bank.h5"


@dataclass(frozen=True)
class Log:
    """The records of `log.jsonl`: loss terms per logged step, Dice per validation.

    Attributes:
        terms: term -> [(step, value)], the weighted terms and `total`, their sum.
        organs: predictor -> organ -> [(step, Dice)]; NaN where an organ was not scored.
    """

    terms: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    organs: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunData:
    """One run folder.

    Attributes:
        evaluation: of the part that the report is about; None where it was not scored.
        bank: the copy of the bank that the run keeps, None where there is none.
        checkpoint: `best`, or `last` where the run was never validated.
        bank_digest: of the text vectors that the run was trained with; None without text.
        data_digest: of how its data were prepared and split; None where nobody noted it.
    """

    path: Path
    config: RunConfig
    spec: DatasetSpec
    log: Log
    evaluation: Evaluation | None
    bank: Bank | None
    bank_digest: str | None
    data_digest: str | None
    checkpoint: str
    step: int

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name


@dataclass(frozen=True)
class Arm:
    """Runs that differ by their seed alone.

    Attributes:
        label: what sets the arm apart, for tables and legends.
    """

    label: str
    runs: tuple[RunData, ...]

    @property
    def first(self) -> RunData:
        """The run that stands for the arm where one run is shown."""
        return self.runs[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs."""
        return tuple(run.config.seed for run in self.runs)

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Those of the runs that were scored."""
        return tuple(run.evaluation for run in self.runs if run.evaluation is not None)

    @property
    def scored(self) -> Scored | None:
        """The scores case by case, averaged over the seeds; None where no run was scored."""
        found = self.evaluations
        return Scored(self.label, len(found), mean_of(found)) if found else None

    def over_seeds(self, name: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation of an organ or group; over seeds, or over cases of one."""
        found = [
            one.group(name, metric) if name in one.groups else one.organ(name, metric)
            for one in self.evaluations
        ]
        if len(found) < 2:
            return found[0] if found else (float("nan"), float("nan"))
        means = [mean for mean, _ in found if not np.isnan(mean)]
        deviation = float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
        return nan_mean(means), deviation


def read_arms(paths: Sequence[Path], part: str, rules: str = "scan") -> tuple[Arm, ...]:
    """Run folders as arms, in the order in which they are first named.

    A run that repeats a seed of its arm begins another one: it is no further seed.

    Raises:
        FileNotFoundError: a folder holds no run.
        ValueError: a run twice, runs of different data, or scores that must not be compared.
    """
    folders = [folder for path in paths for folder in _folders(path)]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"a run is named twice: {', '.join(map(str, folders))}")
    runs = [read_run(folder, part, rules) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        if run.spec.classes != first.spec.classes:
            raise ValueError(
                f"{run.path} knows {', '.join(run.spec.classes)}; {first.path} knows "
                f"{', '.join(first.spec.classes)}; runs of one report have the same classes"
            )
    _check_comparable(runs)
    groups: dict[tuple[str, int], list[RunData]] = {}
    met: Counter[tuple[str, int]] = Counter()
    for run in runs:
        kind, seed = _kind_of(run), run.config.seed
        groups.setdefault((kind, met[kind, seed]), []).append(run)
        met[kind, seed] += 1
    labels = _labels([members[0] for members in groups.values()])
    return tuple(
        Arm(label, tuple(members)) for label, members in zip(labels, groups.values(), strict=True)
    )


def evaluation_name(part: str, rules: str) -> str:
    """The name without suffix under which `tak evaluate` leaves its results."""
    return f"evaluation-{part}" + ("" if rules == "scan" else f"-{rules}")


def _folders(path: Path) -> list[Path]:
    """A run's folder itself, or the runs of a folder of seeds."""
    seeds = sorted(path.glob("seed-*/"))
    return [path] if _has_checkpoint(path) or not seeds else seeds


def _has_checkpoint(path: Path) -> bool:
    return any((path / name).is_file() for name in ("best.pt", "last.pt"))


def read_run(path: Path, part: str, rules: str = "scan") -> RunData:
    """One run folder.

    Args:
        part, rules: which of its evaluations is read; `published` are the rules of its protocol.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        LookupError: no such rules.
        ValueError: a file of the run cannot be read.
    """
    state, file = _checkpoint(path)
    spec = DatasetSpec.check(state.config["dataset"], file)
    scores = path / f"{evaluation_name(part, rules_for(rules, spec))}.json"
    bank = path / BANK
    return RunData(
        path=path,
        config=RunConfig.model_validate(state.config["run"]),
        spec=spec,
        log=curves_of(path / LOG),
        evaluation=read_evaluation(scores) if scores.is_file() else None,
        bank=Bank.read(bank) if bank.is_file() else None,
        bank_digest=state.identity.bank,
        data_digest=state.identity.data,
        checkpoint=file.stem,
        step=state.step,
    )


def curves_of(path: Path) -> Log:
    """The numbers in the log of a run, none where there is no log."""
    log = Log()
    for record in read_log(path):
        step = int(record["step"])
        if "terms" in record:
            for name, value in {"total": record["loss"], **record["terms"]}.items():
                log.terms.setdefault(name, []).append((step, float(value)))
        for predictor, organs in record.get("organs", {}).items():
            for name, value in organs.items():
                points = log.organs.setdefault(predictor, {}).setdefault(name, [])
                points.append((step, float(value)))
    return log


def _checkpoint(path: Path) -> tuple[TrainState, Path]:
    for name in ("best.pt", "last.pt"):
        if (path / name).is_file():
            return load(path / name), path / name
    what = "has no checkpoint yet" if (path / "config.toml").is_file() else "is no run's folder"
    raise FileNotFoundError(f"{path} {what}; `tak train` leaves best.pt and last.pt there")


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
    """What runs of one arm share: the configuration but title and seed, the text, the data."""
    content = run.config.model_dump(mode="json", exclude={"seed", "title"})
    return json.dumps([content, run.bank_digest, run.data_digest], sort_keys=True)


def choices_of(config: RunConfig) -> str:
    """The four free choices of a run in words, those that are the plain ones left out."""
    parts = [config.method.name, config.loss.name.replace("_", " + ")]
    parts += ["text head"] * (config.head.name == "text")
    parts += ["contrast"] * (config.alignment.name != "none")
    return ", ".join(parts)


def _labels(firsts: Sequence[RunData]) -> list[str]:
    """A label per arm: its choices, and the folder's name where these do not tell arms apart."""
    plain = [choices_of(run.config) for run in firsts]
    return [
        f"{label} ({name})" if plain.count(label) > 1 else label
        for label, name in zip(plain, _names([run.path for run in firsts]), strict=True)
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    """Ends of the paths, as short as they all differ; folders of single seeds are left out."""
    parts = [path.resolve().parts for path in paths]
    if len({one[:-1] for one in parts}) == len(parts):
        parts = [one[:-1] if one[-1].startswith("seed-") else one for one in parts]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names
