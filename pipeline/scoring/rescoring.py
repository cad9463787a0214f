"""Scores of a repeated run, compared with those of the original."""

from pathlib import Path

import torch

from pipeline.datasets.protocols import claim_of_data
from pipeline.results.result_files import evaluation_files, read_evaluation
from pipeline.results.scores import Evaluation
from pipeline.scoring.score_run import ScoreRequest, score_run
from segmentation.data.preparation import Prepared
from segmentation.evaluation.statistics import nan_mean


def rescore(
    original: Path, repeated: Path, data: Prepared, device: torch.device
) -> dict[str, list[str]]:
    """Repeat every evaluation of the original run on the same data.

    Returns:
        Differences in words by the name of a result file; an empty list where there are none.
    """
    results = {}
    split = claim_of_data(data).split
    for file in evaluation_files(original, untrained=False):
        before = read_evaluation(file)
        if (before.data_set, before.split) != (data.spec.name, split):
            results[file.name] = ["not repeated, since it is of other data"]
            continue
        request = _request(file, before, device)
        scored = score_run(repeated, data, request, repeated, quiet=True)
        results[file.name] = _differences(before, scored.columns["trained"])
    return results


def _request(file: Path, before: Evaluation, device: torch.device) -> ScoreRequest:
    named = file.stem.endswith(f"-{before.predictor}")  # else the default of the run
    return ScoreRequest(
        part=before.part,
        rules=before.rules,
        tolerance_mm=before.tolerance_mm,
        beside=None,
        untrained=False,
        checkpoint=Path(before.checkpoint).stem,
        predictor=before.predictor if named else None,
        device=device,
        text_sensitivity=bool(before.text_sensitivity),
    )


def _differences(before: Evaluation, now: Evaluation) -> list[str]:
    words = []
    for metric in (each.key for each in before.metrics):
        pairs = [
            (scores[organ][metric], now.cases[case][organ][metric])
            for case, scores in before.cases.items()
            for organ in scores
        ]
        unequal = [(a, b) for a, b in pairs if a != b and not (a != a and b != b)]  # NaN equals NaN
        if unequal:
            means = [nan_mean(list(column)) for column in zip(*pairs, strict=True)]
            words.append(
                f"{metric}: {len(unequal)} of {len(pairs)} values, mean {means[0]:.6g} in the run, "
                f"{means[1]:.6g} in the repetition"
            )
    figures = now.text_sensitivity
    # By repr: NaN, of an organ in no case, differs from itself, but its text does not.
    other = [
        name
        for name, each in before.text_sensitivity.items()
        if repr(figures.get(name)) != repr(each)
    ]
    if other:
        words.append(f"text sensitivity: {', '.join(other)}")
    return words
