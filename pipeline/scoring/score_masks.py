"""Scoring of masks of other programs, by the rules and into the files of runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knowledge.common.suggest import unknown
from pipeline.datasets.mask_folders import MaskFolder, OrganMasks, open_masks
from pipeline.datasets.protocols import rules_for
from pipeline.results.result_files import check_replaced, evaluation_name, write_results
from pipeline.results.scores import Evaluation
from pipeline.scoring.score_run import PARTS, ScoredRun
from pipeline.scoring.truth import TrueCase, Truth, open_truth
from pipeline.terminal.progress import counted
from segmentation.common.files import make_writable
from segmentation.evaluation.rules import Rules, Scores, named
from segmentation.imaging.volume import Volume, canonical, resample_labels

NOTE = "masks of another program: on which cases it was trained is not known"


@dataclass(frozen=True)
class MaskRequest:
    """Options of `score_masks`.

    Attributes:
        descriptor, split: of the truth, where it has none; see `open_truth`.
        labels, match: names of the labels of the masks; see `open_masks`.
    """

    truth: Path
    part: str
    rules: str
    tolerance_mm: float
    descriptor: str | None = None
    split: str | None = None
    labels: str | None = None
    match: tuple[str, ...] = ()


def score_masks(
    masks: Path, request: MaskRequest, folder: Path, *, quiet: bool = False
) -> tuple[ScoredRun, list[str]]:
    """Score a folder of masks and write the scores to `folder`; `quiet` keeps stdout free.

    Returns:
        The scores with their files, and remarks: labels that were not scored, overlapping organs.

    Raises:
        LookupError: no such part or rules, or an organ that no label of the masks is named after.
        ValueError, OSError: masks or truth that cannot be scored, or results that cannot be
            written.
    """
    if request.part not in PARTS:
        raise LookupError(unknown("part", request.part, PARTS))
    if not 0 <= request.tolerance_mm < math.inf:  # NaN is neither
        raise ValueError(
            f"--tolerance {request.tolerance_mm:g}: expected a distance in mm, 0 or more"
        )
    truth = open_truth(request.truth, request.part, request.descriptor, request.split)
    rules = named(request.rules if truth.spec is None else rules_for(request.rules, truth.spec))
    if rules.grid == "stored" and not truth.prepared:
        raise ValueError(
            f"--rules {rules.name} compares on the prepared grid; give --truth the folder that "
            "`tak prepare` wrote, or --rules scan"
        )
    mask_folder = open_masks(
        masks, list(truth.cases), truth.aliases, labels=request.labels, match=request.match
    )
    stem = folder / evaluation_name(request.part, rules.name)
    check_replaced(stem.with_suffix(".json"), (truth.data_set, truth.protocol, truth.split))
    make_writable(folder)
    with counted("scoring", len(truth.cases), stderr=quiet) as tick:
        cases, overlaps = _scores(mask_folder, truth, rules, request.tolerance_mm, tick)
    evaluation = Evaluation(
        data_set=truth.data_set,
        protocol=truth.protocol,
        part=request.part,
        checkpoint=masks.name,
        step=0,
        predictor="masks",
        tolerance_mm=request.tolerance_mm,
        cases=cases,
        groups=truth.groups,
        split=truth.split,
        rules=rules.name,
        note=NOTE,
    )
    written: list[tuple[Path, ...]] = [write_results(evaluation, stem)]
    return ScoredRun({"masks": evaluation}, written), _remarks(mask_folder, overlaps)


def _scores(
    masks: MaskFolder, truth: Truth, rules: Rules, tolerance_mm: float, tick: Callable[[str], None]
) -> tuple[dict[str, Scores], dict[str, int]]:
    """Scores by case, and the number of voxels with several organs by case."""
    cases, overlaps = {}, {}
    classes = ("background", *truth.aliases)
    for name, read in truth.cases.items():
        true = read()
        predicted = masks.read(name, true.mask, "the truth")
        if predicted.overlap:
            overlaps[name] = predicted.overlap
        cases[name] = _score(predicted, true, rules, classes, tolerance_mm)
        tick(name)
    return cases, overlaps


def _score(
    predicted: OrganMasks,
    true: TrueCase,
    rules: Rules,
    classes: Sequence[str],
    tolerance_mm: float,
) -> Scores:
    """Scores of a case; organs that overlap are scored one by one, each by its own mask."""
    spacing_mm = true.mask.spacing_mm
    if rules.grid == "stored":
        assert true.stored is not None
        if predicted.layers:
            raise ValueError(
                f"--rules {rules.name} needs one label per voxel, but {predicted.overlap} voxels "
                "belong to several organs; --rules scan scores each organ by its own mask"
            )
        # As `tak prepare` brings true masks to the grid, so that both are shrunk alike.
        upright = canonical(Volume(predicted.labels.astype(np.int32), true.mask.affine))
        labels = resample_labels(upright, _shape_of(true.stored)).voxels
        return rules.score(labels, true.stored, classes, spacing_mm, tolerance_mm)
    if not predicted.layers:
        return rules.score(predicted.labels, true.mask.voxels, classes, spacing_mm, tolerance_mm)
    scores: Scores = {}
    for index, organ in enumerate(classes[1:], start=1):
        one = predicted.layers[index].astype(np.uint8)
        other = (true.mask.voxels == index).astype(np.uint8)
        scores |= rules.score(one, other, (classes[0], organ), spacing_mm, tolerance_mm)
    return scores


def _shape_of(array: np.ndarray) -> tuple[int, int, int]:
    x, y, z = array.shape
    return x, y, z


def _remarks(masks: MaskFolder, overlaps: dict[str, int]) -> list[str]:
    remarks = []
    renamed = [
        f"{name} as {organ}"
        for organ, name in masks.organs.items()
        if name.replace("_", " ") != organ
    ]
    if renamed:
        remarks.append(f"matched by name: {', '.join(renamed)}")
    if masks.unused:
        more = f" and {len(masks.unused) - 6} more" if len(masks.unused) > 6 else ""
        remarks.append(f"not in the truth, so not scored: {', '.join(masks.unused[:6])}{more}")
    if overlaps:
        case, voxels = max(overlaps.items(), key=lambda item: item[1])
        remarks.append(
            f"organs overlap in {len(overlaps)} cases (most in {case}: {voxels} voxels); each was "
            "scored by its own mask"
        )
    return remarks
