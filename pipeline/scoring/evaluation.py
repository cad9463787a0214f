"""Evaluation of a trained model on held-out cases, by named metric rules."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.datasets.protocols import case_marks, claimed, data_digest
from pipeline.results.scores import Evaluation, organ_groups
from pipeline.runs.trained_model import TrainedModel
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import Case, Prepared, read_case
from segmentation.data.protocol import ProtocolLabel, claim_of
from segmentation.evaluation.rules import Rules, Scores, named
from segmentation.imaging.volume import canonical_shape, from_canonical
from segmentation.inference.prediction import labels_at
from segmentation.inference.sliding_window import labels_of


def evaluate(
    model: TrainedModel,
    prepared: Prepared,
    part: str,
    tick: Callable[[str], None],
    *,
    tolerance_mm: float = 1.0,
    rules: str = "scan",
) -> Evaluation:
    """Predict every case of a part and compare it with the truth.

    Args:
        tick: called with the name of every case that is done.
        rules: name of metric rules; see `segmentation.evaluation.rules`.

    Raises:
        LookupError: no such rules.
        ValueError: other classes or another preparation than the model was trained on, an empty
            part, or one with a training case of the model.
    """
    chosen = named(rules)
    if model.spec.classes != prepared.spec.classes:
        raise ValueError(
            f"{model.checkpoint} has the classes {', '.join(model.spec.classes)}; "
            f"{prepared.root} has the classes {', '.join(prepared.spec.classes)}"
        )
    if model.spec.digest != prepared.spec.digest:
        raise ValueError(
            f"{model.checkpoint} was trained on {_preparation(model.spec)}; "
            f"{prepared.root} holds {_preparation(prepared.spec)}"
        )
    names: Sequence[str] = getattr(prepared.split, part)
    if not names:
        raise ValueError(f"{prepared.root}: the part {part!r} has no case")
    trained_on = [name for name in names if not model.training_cases.isdisjoint(case_marks([name]))]
    if trained_on:
        raise ValueError(
            f"{model.checkpoint} was trained on {', '.join(trained_on)}, in the part {part} of "
            f"{prepared.root}: scores of training cases do not measure generalization; "
            "use the split of the run"
        )
    cases = {}
    for name in names:
        cases[name] = _score(model, prepared, name, chosen, tolerance_mm)
        tick(name)
    claim = claim_of_run(model, prepared)
    return Evaluation(
        data_set=prepared.spec.name,
        protocol=claim.protocol,
        part=part,
        checkpoint=model.checkpoint.name,
        step=model.step,
        predictor=model.predictor,
        tolerance_mm=tolerance_mm,
        cases=cases,
        groups=organ_groups(prepared.spec),
        split=claim.split,
        rules=rules,
    )


def _preparation(spec: DatasetSpec) -> str:
    low, high = spec.window_hu
    return (
        f"{spec.name}, protocol {spec.protocol}, window {low:g} to {high:g} HU, scaling "
        f"{spec.scaling}, grid {spec.grid}"
    )


def _score(
    model: TrainedModel, prepared: Prepared, name: str, rules: Rules, tolerance_mm: float
) -> Scores:
    case = read_case(prepared.file(name))
    truth = case.source_label if rules.grid == "scan" else case.label
    if truth is None:
        raise ValueError(f"{prepared.file(name)}: case {name} has no label to compare with")
    planes = model.planes(torch.from_numpy(case.image))
    if rules.grid == "scan":
        labels = _on_scan(planes, case)
    else:
        labels = np.stack([labels_of(plane) for plane in planes])
    spacing = np.linalg.norm(case.source_affine[:3, :3], axis=0)
    spacing_mm = float(spacing[0]), float(spacing[1]), float(spacing[2])
    return rules.score(labels, truth, prepared.spec.classes, spacing_mm, tolerance_mm)


def _on_scan(planes: Iterable[torch.Tensor], case: Case) -> NDArray[np.integer]:
    """Planes of probabilities [C, y, z] of a prepared case as labels on its scan's own grid."""
    shape = canonical_shape(case.source_affine, case.source_shape)
    labels = labels_at(planes, case.image.shape[0], shape)
    return from_canonical(labels, case.source_affine, case.source_shape)


def claim_of_run(model: TrainedModel, prepared: Prepared) -> ProtocolLabel:
    """The protocol label of the scores of a run on prepared data.

    The name of a protocol covers the training cases too: a run that was trained on other or unknown
    cases does not get it.
    """
    departures: dict[str, str] = {}
    if model.data is None:
        departures["training cases"] = (
            f"{model.checkpoint} does not say on which cases it was trained"
        )
    elif model.data != data_digest(prepared):
        departures["training cases"] = (
            f"{model.checkpoint} was trained on another split or preparation"
        )
    return claim_of(prepared.spec, prepared.split, claimed(prepared.spec), departures)
