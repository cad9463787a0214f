"""Result files of evaluations: the one module that writes and reads them."""

import csv
import io
import json
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from knowledge.common.files import without_nan, write_whole
from pipeline.files.kinds import require_kind
from pipeline.runs.folder import RunFolder
from pipeline.scoring.evaluation import GROUPS, Evaluation, comparable
from segmentation.evaluation.rules import named
from segmentation.evaluation.statistics import nan_mean


@dataclass(frozen=True)
class Scored:
    """The scores of a run, or the mean over the seeds of one.

    Attributes:
        seeds: how many runs were averaged, case by case.
    """

    name: str
    seeds: int
    evaluation: Evaluation


def read_scored(path: Path, part: str) -> Scored:
    """What `tak evaluate` wrote: of a run folder, of a folder of seeds, or a JSON file.

    Raises:
        FileNotFoundError: nothing was evaluated there.
        ValueError: seeds that were not scored alike, or a damaged file.
    """
    name = f"evaluation-{part}.json"
    require_kind(path, "evaluation", "run")
    if path.is_file():
        files = [path]
    elif (path / name).is_file():
        files = [path / name]
    else:
        files = sorted(path.glob(f"seed-*/{name}"))
    if not files:
        raise FileNotFoundError(
            f"{path}: no {name} there or in its folders seed-*; `tak evaluate {path} PREPARED "
            f"--part {part}` writes it"
        )
    evaluations = [read_evaluation(file) for file in files]
    for file, other in zip(files[1:], evaluations[1:], strict=True):
        comparable(evaluations[0], other)
        if other.split != evaluations[0].split:
            raise ValueError(
                f"{file} is of the split {other.split} and {files[0]} of {evaluations[0].split}; "
                "seeds of one run are trained on the same cases"
            )
    _check_seeds([RunFolder(file.parent).config for file in files])
    return Scored(path.name or str(path), len(evaluations), mean_of(evaluations))


def _check_seeds(configs: Sequence[Path]) -> None:
    """Refuse to average runs that differ by more than their seed.

    Raises:
        ValueError: names both files and the tables that differ.
    """
    first: dict[str, Any] = {}
    for path in configs if len(configs) > 1 else ():
        own = {**tomllib.loads(path.read_text(encoding="utf-8")), "seed": None}
        first = first or own
        apart = sorted(key for key in first | own if first.get(key) != own.get(key))
        if apart:
            raise ValueError(
                f"{path} differs from {configs[0]} in {', '.join(apart)}; seeds of one run differ "
                "by their seed alone"
            )


def read_evaluation(path: Path) -> Evaluation:
    """An evaluation as `write_results` left it.

    Raises:
        ValueError: not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content = {"note": ""} | content  # files of earlier versions have none
        known = {field.name: content[field.name] for field in fields(Evaluation)}
        cases = {
            case: {
                organ: {key: math.nan if x is None else float(x) for key, x in scores.items()}
                for organ, scores in organs.items()
            }
            for case, organs in known["cases"].items()
        }
        groups = {name: tuple(organs) for name, organs in known["groups"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as fault:
        raise ValueError(
            f"{path}: not an evaluation of this version ({type(fault).__name__}: {fault}); "
            "evaluate again"
        ) from None
    return Evaluation(**{**known, "cases": cases, "groups": groups})


def mean_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation whose scores are means over seeds, where scored."""
    first = evaluations[0]
    keys = [metric.key for metric in first.metrics]
    cases = {
        case: {
            organ: {
                metric: nan_mean([each.cases[case][organ][metric] for each in evaluations])
                for metric in keys
            }
            for organ in first.groups["all"]
        }
        for case in first.cases
    }
    return replace(first, cases=cases)


def write_results(evaluation: Evaluation, stem: Path) -> tuple[Path, Path]:
    """`stem`.json with everything and `stem`.csv with a row per case and organ.

    Dice and NSD are shares in [0, 1]; distances are in the unit that their name ends in. An empty
    cell, or null, was not scored.
    """
    organs = evaluation.groups["all"]
    metrics = [metric.key for metric in evaluation.metrics]
    rules = named(evaluation.rules)

    def summary(known: Callable[[str, str], tuple[float, float]], name: str) -> dict[str, Any]:
        pairs = {metric: known(name, metric) for metric in metrics}
        return {metric: {"mean": m, "deviation": d} for metric, (m, d) in pairs.items()}

    content = {
        **asdict(evaluation),
        "empty_masks": rules.facts["empty_masks"],
        "rule_facts": dict(rules.facts),
        "organs": {
            name: summary(evaluation.organ, name) | _missed(evaluation, name) for name in organs
        },
        "means": {name: summary(evaluation.group, name) for name in GROUPS},
    }
    text = json.dumps(without_nan(content), indent=2, allow_nan=False) + "\n"
    files = stem.with_suffix(".json"), stem.with_suffix(".csv")
    write_whole(files[0], text)
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    known = {key: getattr(evaluation, key) for key in ("protocol", "split", "part", "rules")}
    writer.writerow(["case", "organ", *metrics, *known])
    for case, scores in evaluation.cases.items():
        for name in organs:
            numbers = [_number(scores[name][metric]) for metric in metrics]
            writer.writerow([case, name, *numbers, *known.values()])
    write_whole(files[1], rows.getvalue())
    return files


def _missed(evaluation: Evaluation, name: str) -> dict[str, int]:
    return {"missed": evaluation.missed(name)} if evaluation.rules == "scan" else {}


def _number(value: float) -> str:
    return "" if value != value else f"{value:.6f}"


def check_replaced(path: Path, now: tuple[str, str, str | None]) -> None:
    """Refuse to write over scores on other data.

    Args:
        now: data set, protocol and split of the scores to be written.

    Raises:
        ValueError: the file is of another data set, protocol or split.
    """
    if not path.is_file():
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        before = tuple(old[key] for key in ("data_set", "protocol", "split"))
    except (ValueError, KeyError, TypeError):
        return  # nothing that could be read again is lost
    if before != now:
        raise ValueError(
            f"{path} holds scores on {', '.join(map(str, before))}; these would be on "
            f"{', '.join(map(str, now))}: give them another folder by -o"
        )


def evaluation_name(part: str, rules: str) -> str:
    """The name without suffix under which `tak evaluate` leaves its results."""
    return f"evaluation-{part}" + ("" if rules == "scan" else f"-{rules}")
