"""Result files of evaluations, `evaluation-*.json` and `.csv`: their names, reading, writing."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from knowledge.common.files import without_nan, write_whole
from knowledge.common.text import one_line
from pipeline.results.scores import GROUPS, Evaluation, Sensitivity
from segmentation.evaluation.rules import Scores, named

_UNTRAINED = "-untrained"


def evaluation_name(
    part: str,
    rules: str = "scan",
    *,
    checkpoint: str = "best",
    predictor: str | None = None,
    untrained: bool = False,
) -> str:
    """The name of a result file without suffix: the part, and every choice that is no default."""
    words = ["evaluation", part]
    if rules != "scan":
        words.append(rules)
    if checkpoint != "best":
        words.append(checkpoint)
    if predictor is not None:
        words.append(predictor)
    return "-".join(words) + (_UNTRAINED if untrained else "")


def evaluation_files(folder: Path, *, untrained: bool | None = None) -> list[Path]:
    """The JSON result files of a folder, sorted.

    Args:
        untrained: only files of untrained networks, or of trained ones; both if None.
    """
    files = sorted(folder.glob("evaluation-*.json"))
    return [path for path in files if untrained in (None, path.stem.endswith(_UNTRAINED))]


def read_evaluation(path: Path) -> Evaluation:
    """The evaluation in a JSON file of `write_results`.

    Raises:
        ValueError: a damaged file, or one of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # files of earlier versions lack these keys
        content = {"note": "", "text_sensitivity": {}} | content
        known = {field.name: content[field.name] for field in fields(Evaluation)}
        sensitivity = {name: _sensitivity(each) for name, each in known["text_sensitivity"].items()}
        cases = {
            case: {
                organ: {key: math.nan if x is None else float(x) for key, x in scores.items()}
                for organ, scores in organs.items()
            }
            for case, organs in known["cases"].items()
        }
        groups = {name: tuple(known["groups"][name]) for name in GROUPS}
        _check_complete(cases, groups["all"], known["rules"])
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as fault:
        raise ValueError(
            f"{path}: not an evaluation of this version ({type(fault).__name__}: "
            f"{one_line(fault)}); evaluate again"
        ) from None
    return Evaluation(
        **{**known, "cases": cases, "groups": groups, "text_sensitivity": sensitivity}
    )


def _sensitivity(content: dict[str, Any]) -> Sensitivity:
    by_organ = {
        key: {organ: math.nan if x is None else float(x) for organ, x in content[key].items()}
        for key in ("dice", "dice_lost")
    }
    return Sensitivity(float(content["changed"]), **by_organ)


def _check_complete(cases: dict[str, Scores], organs: tuple[str, ...], rules: str) -> None:
    """Refuse scores with a gap, which means and tables could not handle.

    Raises:
        LookupError: no such rules.
        ValueError: names the case, organ and metric.
    """
    for case, scores in cases.items():
        for organ in organs:
            for metric in named(rules).metrics:
                if metric.key not in scores.get(organ, {}):
                    raise ValueError(f"case {case} has no {metric.key} of {organ}")


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
    except (ValueError, KeyError, TypeError, RecursionError):
        return  # an unreadable file is replaced
    if before != now:
        raise ValueError(
            f"{path} holds scores on {', '.join(map(str, before))}; these would be on "
            f"{', '.join(map(str, now))}: give them another folder by -o"
        )
