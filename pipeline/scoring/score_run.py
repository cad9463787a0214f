"""Scoring of a run or a bundle: checks, evaluation, result files."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from knowledge.common.suggest import unknown
from pipeline.datasets.protocols import claimed, rules_for
from pipeline.results.result_files import check_replaced, evaluation_name, write_results
from pipeline.results.scores import Evaluation
from pipeline.runs.open_model import open_model
from pipeline.runs.trained_model import TrainedModel
from pipeline.scoring.evaluation import claim_of_run, evaluate
from pipeline.scoring.published import (
    PublishedTable,
    chosen_methods,
    published_notes,
    setting_for,
    write_beside,
)
from pipeline.scoring.text_sensitivity import other_vectors, text_sensitivity
from pipeline.terminal.progress import counted
from segmentation.common.files import make_writable
from segmentation.data.preparation import Prepared

PARTS = ("validation", "test")


@dataclass(frozen=True)
class ScoreRequest:
    """Options of `score_run`.

    Attributes:
        rules: name of metric rules, or `published` for those of the protocol.
        beside: published methods to show beside the run, see `chosen_methods`; None for none.
        untrained: also score the network as it was before its first step.
        text_sensitivity: also measure what other texts would change.
    """

    part: str
    rules: str
    tolerance_mm: float
    beside: str | None
    untrained: bool
    checkpoint: str
    predictor: str | None
    device: torch.device
    text_sensitivity: bool = False


@dataclass(frozen=True)
class ScoredRun:
    """The scores of a run, and the files that hold them.

    Attributes:
        columns: evaluations by name: trained and, if asked for, untrained.
        written: files of each evaluation, then those of the published numbers.
        published: the table and methods to compare with; None for none.
        notes: deviations from the published evaluation, and doubts about its numbers.
    """

    columns: dict[str, Evaluation]
    written: list[tuple[Path, ...]]
    published: tuple[PublishedTable, tuple[str, ...]] | None = None
    notes: tuple[str, ...] = ()


def score_run(
    run: Path, data: Prepared, request: ScoreRequest, folder: Path, *, quiet: bool = False
) -> ScoredRun:
    """Score a run or a bundle and write the scores to `folder`; `quiet` keeps stdout free.

    Raises:
        LookupError: no such part, rules or published method.
        ValueError: no published table is comparable with this result, or the sensitivity to text
            of a run without text is requested.
        OSError: the folder is not writable; like the other errors, raised before scoring.
    """
    if request.part not in PARTS:
        raise LookupError(unknown("part", request.part, PARTS))
    if not 0 <= request.tolerance_mm < math.inf:  # NaN is neither
        raise ValueError(
            f"--tolerance {request.tolerance_mm:g}: expected a distance in mm, 0 or more"
        )
    rules = rules_for(request.rules, data.spec)
    models = {"trained": _open(run, request, False)}
    if request.untrained:
        models["untrained"] = _open(run, request, True)
    others = other_vectors(models["trained"]) if request.text_sensitivity else {}
    published = _beside(models["trained"], data, request, rules)
    stems = {name: _stem(request, rules, model, name) for name, model in models.items()}
    claim = claim_of_run(models["trained"], data)
    now = (data.spec.name, claim.protocol, claim.split)
    check_replaced(folder / f"{stems['trained']}.json", now)
    make_writable(folder)
    columns = {}
    cases = len(getattr(data.split, request.part))
    for name, model in models.items():
        with counted(f"scoring, {name}", cases, stderr=quiet) as tick:
            columns[name] = evaluate(
                model, data, request.part, tick, tolerance_mm=request.tolerance_mm, rules=rules
            )
    if others:
        with counted("scoring, other texts", cases, stderr=quiet) as tick:
            figures = text_sensitivity(models["trained"], data, request.part, others, tick)
        columns["trained"] = replace(columns["trained"], text_sensitivity=figures)
    written: list[tuple[Path, ...]] = []
    for name, evaluation in columns.items():
        written.append(write_results(evaluation, folder / stems[name]))
    if published is not None:
        stem = stems["trained"].replace("evaluation", "published", 1)
        written.append(write_beside(columns["trained"], published[0], folder / stem))
    notes = () if published is None else _notes(models["trained"])
    return ScoredRun(columns, written, published, notes)


def _stem(request: ScoreRequest, rules: str, model: TrainedModel, column: str) -> str:
    """The name of the result files; a bundle counts as the best checkpoint."""
    return evaluation_name(
        request.part,
        rules,
        checkpoint=model.checkpoint.stem if model.checkpoint.suffix == ".pt" else "best",
        predictor=request.predictor,
        untrained=column == "untrained",
    )


def _open(run: Path, request: ScoreRequest, untrained: bool) -> TrainedModel:
    return open_model(
        run,
        checkpoint=request.checkpoint,
        predictor=request.predictor,
        device=request.device,
        untrained=untrained,
    )


def _beside(
    model: TrainedModel, data: Prepared, request: ScoreRequest, rules: str
) -> tuple[PublishedTable, tuple[str, ...]] | None:
    """The published table that is comparable with the result, and the methods to show."""
    if request.beside is None:
        return None
    setting = setting_for(claim_of_run(model, data), request.part, rules)
    return setting, chosen_methods(setting, request.beside)


def _notes(model: TrainedModel) -> tuple[str, ...]:
    """Deviations from the published prediction, and doubts about the published numbers."""
    protocol = claimed(model.spec)
    assert protocol is not None
    patch, inference = tuple(model.config.training.patch), model.config.inference
    windows = ((patch, protocol.patch), (model.window.stride, protocol.stride))
    notes = [
        f"this run predicts with a {name} of {_sides(ours)}, the published ones {_sides(theirs)}"
        for name, (ours, theirs) in zip(("window", "stride"), windows, strict=True)
        if ours != theirs
    ]
    if inference.blend != protocol.blend:
        notes.append(f"this run averages windows {inference.blend}, the published {protocol.blend}")
    return (*notes, *protocol.doubts, *published_notes())


def _sides(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
