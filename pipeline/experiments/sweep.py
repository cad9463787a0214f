"""Variants of a recipe, several seeds each: trained, scored, and one table of all."""

import csv
import io
import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch

from knowledge.common.files import read_text, without_nan, write_whole
from pipeline.config.recipe import RunConfig
from pipeline.config.recipe_files import read_config
from pipeline.datasets.protocols import claim_of_data
from pipeline.runs.build import RunInputs, build_method
from pipeline.runs.folder import RunFolder
from pipeline.runs.observer import TrainingObserver
from pipeline.runs.open_model import open_model
from pipeline.runs.resuming import differing
from pipeline.runs.setting import load_run_inputs
from pipeline.runs.trained_model import TrainedModel, choose_predictor
from pipeline.runs.training import start
from pipeline.scoring.evaluation import GROUPS, evaluate
from pipeline.scoring.results import read_evaluation, write_results
from segmentation.data.preparation import Prepared
from segmentation.evaluation.statistics import nan_deviation, nan_mean
from segmentation.training.log import RecordCallback, read_log

SINGLE = "run"  # the name of a recipe without variants


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: a variant with a seed, and where it lives."""

    variant: str
    seed: int
    config: RunConfig
    folder: Path


def read_variants(path: Path) -> dict[str, list[str]]:
    """Changes of a recipe by the name of the variant: a table each, written like a recipe.

    Raises:
        FileNotFoundError, ValueError: no file, not TOML, or something that is not a table.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as fault:
        raise ValueError(f"{path} is not valid TOML: {fault}") from None
    if not content:
        raise ValueError(f"{path} names no variant; each is a table, [NAME] and what it changes")
    for name, table in content.items():
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} = {table!r} is not a table of changes")
    return {name: list(_changes(table)) for name, table in content.items()}


def _changes(table: dict[str, Any], prefix: str = "") -> list[str]:
    """`{training: {steps: 5}}` as `["training.steps=5"]`, the form that `--set` takes."""
    changes = []
    for key, value in table.items():
        if isinstance(value, dict):
            changes += _changes(value, f"{prefix}{key}.")
        else:
            text = tomli_w.dumps({"value": value}).removeprefix("value = ").strip()
            changes.append(f"{prefix}{key}={text}")
    return changes


def cells_of(
    recipe: Path,
    variants: dict[str, list[str]],
    seeds: Sequence[int],
    out: Path,
    changes: Sequence[str] = (),
) -> list[SweepRun]:
    """Every run of a sweep; all configurations are checked before the first begins.

    Raises:
        ValueError: a seed given twice, or a configuration that cannot be; it names the variant.
    """
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"--seeds {' '.join(map(str, seeds))}: a seed is given twice")
    cells = []
    for name, own in variants.items():
        for seed in seeds:
            try:
                config = read_config(recipe, [*changes, *own, f"seed={seed}"], option="")
            except ValueError as fault:
                raise ValueError(f"variant {name}: {fault}") from None
            cells.append(SweepRun(name, seed, config, out / name / f"seed-{seed}"))
    return cells


@dataclass(frozen=True)
class SweepSetup:
    """What all runs of a sweep share; `bank` may be None where no run reads text."""

    prepared: Prepared
    bank: Path | None
    device: torch.device
    part: str

    def check(self, cells: Sequence[SweepRun]) -> None:
        """Refuse what every run would stumble over, before the first of them begins.

        Raises:
            ValueError: a variant that reads text and no bank, a bank that nothing reads, an option
                that a method does not know, a predictor that it does not have, no case to validate
                or to score with, or a folder with a run of another configuration.
        """
        for part in ("validation", self.part):
            if not getattr(self.prepared.split, part):
                raise ValueError(
                    f"{self.prepared.root}: no {part} case; a sweep chooses checkpoints by "
                    f"validation cases and scores the part {self.part}"
                )
        if self.bank is not None and not any(cell.config.needs_bank for cell in cells):
            raise ValueError(f"--bank {self.bank}: no variant has a text head or alignment")
        for cell in cells:
            old = RunFolder(cell.folder).config
            if old.is_file() and (apart := differing(old, cell.config)):
                raise ValueError(
                    f"{cell.folder} holds a run of another configuration: {'; '.join(apart[:3])}; "
                    "-o names another folder for this sweep"
                )
        for cell in {cell.variant: cell for cell in cells}.values():
            try:
                bank = self.bank if cell.config.needs_bank else None
                setting, _ = load_run_inputs(cell.config, self.prepared.spec, bank)
                inputs = RunInputs.for_prediction(setting.classes, setting.vectors)
                method = build_method(cell.config, inputs)
                choose_predictor(method, cell.config.inference.predictor)
            except (ValueError, LookupError) as fault:
                raise ValueError(f"variant {cell.variant}: {fault}") from None


@dataclass(frozen=True)
class SweepRow:
    """A variant: scores of its seeds.

    Attributes:
        seeds: runs that were trained and scored.
        dice: by group, mean and standard deviation over seeds of the mean over cases; shares.
        untrained: mean Dice of the network before its first step, with the first seed.
        minutes: of training, mean over seeds, on this machine.
        notes: why runs are missing.
    """

    variant: str
    seeds: int
    dice: dict[str, tuple[float, float]]
    untrained: float
    minutes: float
    notes: tuple[str, ...] = ()


class _Progress(TrainingObserver):
    """Passes the records of the log on."""

    def __init__(self, report: RecordCallback, recall: RecordCallback) -> None:
        self._report, self._recall = report, recall

    def report(self, record: dict[str, Any]) -> None:
        self._report(record)

    def recall(self, record: dict[str, Any]) -> None:
        self._recall(record)


def fill(cell: SweepRun, bench: SweepSetup, report: RecordCallback, recall: RecordCallback) -> bool:
    """Train and score one run, or what is missing of it; False if a signal stopped it.

    Raises:
        ValueError: training failed, or the folder holds a run of another configuration.
    """
    bank = bench.bank if cell.config.needs_bank else None
    finished = start(
        cell.folder,
        cell.config,
        bench.prepared,
        bank,
        device=bench.device,
        resume=RunFolder(cell.folder).last.is_file(),
        observer=_Progress(report, recall),
    )
    for name in ("", "-untrained") if finished else ():
        stem = cell.folder / f"evaluation-{bench.part}{name}"
        opened = open_model(cell.folder, device=bench.device, untrained=bool(name))
        if not _is_of(stem.with_suffix(".json"), opened):
            write_results(evaluate(opened, bench.prepared, bench.part, lambda case: None), stem)
    return finished


def _is_of(path: Path, opened: TrainedModel) -> bool:
    """Whether an evaluation is there and of these weights, not of a run that went on since."""
    if not path.is_file():
        return False
    found = read_evaluation(path)
    return (found.step, found.predictor) == (opened.step, opened.predictor)


def row_of(variant: str, cells: Sequence[SweepRun], part: str, notes: Sequence[str]) -> SweepRow:
    """What the finished runs of a variant reached."""
    folders = [cell.folder for cell in cells]
    trained = [read_evaluation(path) for path in _present(folders, f"evaluation-{part}.json")]
    fresh = [
        read_evaluation(path) for path in _present(folders, f"evaluation-{part}-untrained.json")
    ]
    dice = {}
    for group in GROUPS:
        means = [each.group(group, "dice")[0] for each in trained]
        dice[group] = nan_mean(means), nan_deviation(means)
    return SweepRow(
        variant,
        len(trained),
        dice,
        untrained=fresh[0].group("all", "dice")[0] if fresh else math.nan,
        minutes=nan_mean([_minutes(folder) for folder in folders]),
        notes=tuple(notes),
    )


def _present(folders: Sequence[Path], name: str) -> list[Path]:
    return [folder / name for folder in folders if (folder / name).is_file()]


def _minutes(folder: Path) -> float:
    """How long a run trained, from its log, where every resumed part counts anew; NaN if not."""
    total = last = 0.0
    for record in read_log(RunFolder(folder).log):
        seconds = record.get("seconds", last)
        total += seconds - last if seconds >= last else seconds
        last = seconds
    return total / 60 or math.nan


def write_table(rows: Sequence[SweepRow], out: Path, heading: str) -> tuple[Path, ...]:
    """`sweep.csv`, `sweep.json` and `sweep.md`, a table to be pasted into a text."""
    files = tuple(out / f"sweep.{suffix}" for suffix in ("csv", "json", "md"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"dice_{group}{kind}" for group in GROUPS for kind in ("", "_deviation")]
    writer.writerow(["variant", "seeds", *columns, "dice_untrained", "minutes", "notes"])
    for row in rows:
        scores = [value for group in GROUPS for value in row.dice[group]]
        numbers = ["" if math.isnan(x) else f"{x:.6f}" for x in (*scores, row.untrained)]
        minutes = "" if math.isnan(row.minutes) else f"{row.minutes:.2f}"
        writer.writerow([row.variant, row.seeds, *numbers, minutes, "; ".join(row.notes)])
    write_whole(files[0], text.getvalue())
    write_whole(files[1], json.dumps(without_nan([asdict(row) for row in rows]), indent=2) + "\n")
    write_whole(files[2], _markdown(rows, heading))
    return files


SWEEP_HEADINGS = ("variant", "all", "large", "small", "untrained", "minutes", "seeds")


def row_words(row: SweepRow) -> list[str]:
    """The cells of a row for a reader, Dice in percent."""

    def percent(mean: float, deviation: float = math.nan) -> str:
        spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.1f}"
        return "-" if math.isnan(mean) else f"{100 * mean:.1f}{spread}"

    minutes = "-" if math.isnan(row.minutes) else f"{row.minutes:.1f}"
    scores = [percent(*row.dice[group]) for group in GROUPS]
    return [row.variant, *scores, percent(row.untrained), minutes, str(row.seeds)]


def _markdown(rows: Sequence[SweepRow], heading: str) -> str:
    lines = [
        heading,
        "",
        "| " + " | ".join(SWEEP_HEADINGS) + " |",
        "|---" * len(SWEEP_HEADINGS) + "|",
    ]
    lines += ["| " + " | ".join(row_words(row)) + " |" for row in rows]
    lines += [f"\n{row.variant}, {note}" for row in rows for note in row.notes]
    return "\n".join(lines) + "\n"


def heading_of(bench: SweepSetup) -> str:
    """What the numbers of a table are."""
    claim, cases = claim_of_data(bench.prepared), getattr(bench.prepared.split, bench.part)
    told = f"Dice %, {bench.part}, {len(cases)} cases, protocol {claim.protocol}"
    return f"{told}, split {claim.split}"
