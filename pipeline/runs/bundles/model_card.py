"""The model card of a bundle, in Markdown."""

import math
from collections.abc import Mapping
from typing import Any

from knowledge.bank.origin import caveats, in_words
from pipeline.results.scores import GROUPS, Evaluation
from segmentation.data.descriptor import Grid

_USE = "Use: `tak predict THIS.zip ct.nii.gz -o mask.nii.gz`"
_MONAI_USE = """## Use

In this folder, with PyTorch and `pip install monai nibabel fire`; tak-seg is not needed:

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
        --dataset_dir scans --output_dir masks

reads every `.nii` and `.nii.gz` file in `scans`, in HU, and writes `NAME_seg.nii.gz` on its grid.
`models/network.pt2` is the network with its text as a program of `torch.export`. It holds the
probabilities of all classes at the scan's resolution in memory, 4 bytes per voxel and class, where
`tak predict` holds some planes of them. The two may differ in voxels where two classes are equally
probable to within rounding."""
_LIMITS = """## Limits

- For research. Not a medical device; not for decisions about a patient.
- Made for CT in Hounsfield units. Other modalities and shifted intensities give a warning and
  results without meaning.
- It names one organ, or background, for every voxel of every scan, also outside the region of the
  body that it was trained on.
- Absent organs, variants of anatomy, tumors and operated patients are as rare in its results as
  they were in its training data.
- Texts describe usual anatomy; they can pull predictions toward it.
"""


def model_card(
    metadata: Mapping[str, Any],
    evaluations: Mapping[str, Evaluation],
    texts: Mapping[str, Any] | None,
) -> str:
    """A model card: organs, training, texts, scores and limits.

    Args:
        metadata: as in the bundle.
        evaluations: by the name of their file.
        texts: texts and their origin, None where they are unknown.
    """
    data = metadata["dataset"]
    parts = [
        f"# {metadata['name']}\n\n{metadata['description']}. Written by tak-seg "
        f"{metadata['version']}.",
        _USE,
        _organs(data),
        _training(metadata),
        _text_origin(metadata, texts),
        _scores(evaluations),
        _sensitivity(evaluations),
        _LIMITS,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def with_monai_usage(card: str) -> str:
    """The card of a bundle that is a folder for MONAI."""
    return card.replace(_USE, _MONAI_USE)


def _organs(data: Mapping[str, Any]) -> str:
    rows = [f"| {organ['label']} | {organ['name']} | {organ['size']} |" for organ in data["organs"]]
    return "\n".join(["## Organs", "", "| label | organ | size |", "|---|---|---|", *rows])


def _training(metadata: Mapping[str, Any]) -> str:
    data, run = metadata["dataset"], metadata["run"]
    low, high = data["window_hu"]
    return "\n".join(
        [
            "## Data and training",
            "",
            f"- Data: {data['title']} (`{data['name']}`), protocol {metadata['trained_on']}",
            f"- Scans: {data['modality']}, window {low:g} to {high:g} HU, grid "
            f"{Grid.model_validate(data['grid'])}",
            f"- Method `{run['method']['name']}`, loss `{run['loss']['name']}`, head "
            f"`{run['head']['name']}`, alignment `{run['alignment']['name']}`, seed {run['seed']}",
            f"- {metadata['step']} steps done; checkpoint `{metadata['checkpoint']}`, network "
            f"`{metadata['predictor']}`",
            f"- Weights: SHA-256 `{metadata['weights_sha256']}`",
        ]
    )


def _text_origin(metadata: Mapping[str, Any], texts: Mapping[str, Any] | None) -> str:
    title = "## Texts\n\n"
    if metadata["bank_digest"] is None:
        return title + "None: neither head nor alignment reads text."
    digest = f"Text vectors are part of the weights; bank `{metadata['bank_digest']}`."
    if texts is None:
        return title + f"{digest} The texts themselves were not bundled."
    notes = [f"> **Caveat.** {sentence}\n" for sentence in caveats(texts["origin"])]
    lines = [f"- {key}: {in_words(value)}" for key, value in sorted(texts["origin"].items())]
    return title + "\n".join([digest, "", *notes, f"- encoder: `{texts['encoder']}`", *lines])


def _scores(evaluations: Mapping[str, Evaluation]) -> str:
    if not evaluations:
        return "## Scores\n\nNot evaluated before it was bundled."
    parts = ["## Scores"]
    for name, evaluation in evaluations.items():
        rows = [
            f"| {row} | {_percent(mean)} | {_percent(deviation)} |"
            for row, (mean, deviation) in _dice(evaluation).items()
        ]
        head = (
            f"`{name}`: Dice in percent over {len(evaluation.cases)} cases of the part "
            f"{evaluation.part}; protocol {evaluation.protocol}, metric rules {evaluation.rules}"
        )
        parts.append("\n".join([head, "", "| organ | mean | deviation |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _sensitivity(evaluations: Mapping[str, Evaluation]) -> str:
    """What other texts change; empty where it was never measured."""
    parts = []
    for name, evaluation in evaluations.items():
        figures = evaluation.text_sensitivity
        if not figures:
            continue
        organs = evaluation.groups["all"]
        rows = [
            [organ, *(_percent(each.dice_lost[organ]) for each in figures.values())]
            for organ in organs
        ]
        rows += [
            ["mean", *(_percent(each.mean_lost) for each in figures.values())],
            ["organ voxels changed", *(_percent(each.changed) for each in figures.values())],
        ]
        head = (
            f"`{name}`: Dice in percent that is lost on the part {evaluation.part} when another "
            "text takes the place of the model's own: rows exchanged between classes, their mean, "
            "random vectors of equal length. A model that loses nothing does not read its text."
        )
        lines = [f"| {' | '.join(row)} |" for row in [["organ", *figures], *rows]]
        lines.insert(1, "|" + "---|" * (1 + len(figures)))
        parts.append("\n".join([head, "", *lines]))
    return "\n\n".join(["## Text sensitivity", *parts]) if parts else ""


def _dice(evaluation: Evaluation) -> dict[str, tuple[float, float]]:
    """Mean and deviation of Dice by organ, then by group."""
    organs = {name: evaluation.organ(name, "dice") for name in evaluation.groups["all"]}
    return organs | {f"mean of {name}": evaluation.group(name, "dice") for name in GROUPS}


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
