"""Comparison of a prepared data set with shared arrays: per case, in sentences, as JSON."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from segmentation.common.processes import map_processes
from segmentation.data.array_difference import CaseDifference, Line, difference
from segmentation.data.case_files import Prepared, read_case
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.data.shared_arrays import FORMS, layouts_in, read_array
from segmentation.imaging.volume import Volume, checked_volume, label_volume

ALIKE = 0.85  # rank correlation above which two images are taken for the same body
SAME_DICE = 0.999
SAME_HISTOGRAM = 0.005  # of the range [0, 1]
HU_SLOPE, HU_OFFSET = 0.15, 10.0  # tolerance for slope 1 and offset 0 after resampling


@dataclass(frozen=True)
class Comparison:
    """The differences of all common cases; the verdict is a list of sentences."""

    prepared: Path
    folder: Path
    cases: tuple[CaseDifference, ...]
    only_here: tuple[str, ...]
    verdict: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return {
            "prepared": str(self.prepared),
            "folder": str(self.folder),
            "verdict": list(self.verdict),
            "only_prepared": list(self.only_here),
            "cases": {case.case: _plain(case) for case in self.cases},
        }


def compare_folder(
    prepared: Prepared,
    folder: Path,
    *,
    jobs: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare every case that a folder of shared arrays has too.

    Raises:
        FileNotFoundError: no such folder, or no case in common.
        ValueError: no shared arrays in it, a damaged one, or prepared data that are arrays
            themselves.
    """
    spec = prepared.spec
    if spec.scaling == "stored":
        raise ValueError(f"{prepared.root} holds shared arrays as they are; nothing to compare")
    layouts = layouts_in(folder) if folder.is_dir() else ()
    if not layouts:
        raise FileNotFoundError(
            f"{folder}: no shared arrays here; expected NAME_image.npy, or NAME.h5"
        )
    known = find_cases(spec, folder, layouts[0])
    both = [known[case] for case in prepared.split.cases if case in known]
    only = tuple(case for case in prepared.split.cases if case not in known)
    if not both:
        raise FileNotFoundError(
            f"{folder}: no case of {prepared.root} ({', '.join(prepared.split.cases[:3])} ...); "
            f"there is {', '.join(list(known)[:3])} ..."
        )
    differences = []
    work = partial(_compared, prepared=prepared, in_hu=FORMS[layouts[0]].in_hu)
    for one in map_processes(work, both, jobs):
        differences.append(one)
        if progress:
            progress(one.case)
    differences.sort(key=lambda one: one.case)
    return Comparison(prepared.root, folder, tuple(differences), only, verdict(differences))


def _compared(task: RawCase, prepared: Prepared, in_hu: bool) -> CaseDifference:
    ours = read_case(prepared.file(task.name))
    image = _array(task.image, "image").voxels
    labels = None
    if ours.label is not None and task.label is not None:
        labels = label_volume(task.label, _array(task.label, "label")).voxels
        if labels.shape != image.shape:
            raise ValueError(
                f"case {task.name}: {task.image} has shape {image.shape}, "
                f"{task.label} has {labels.shape}"
            )
    return difference(task.name, ours, image, labels, prepared.spec, in_hu=in_hu)


def _array(path: Path, kind: str) -> Volume:
    return checked_volume(path, read_array(path, kind), np.eye(4))


def verdict(cases: Sequence[CaseDifference]) -> tuple[str, ...]:
    """A summary of all cases; the last sentence says whether training data are the same."""
    strange = [case.case for case in cases if case.likeness[0] < ALIKE]
    sentences = [_axes(cases), _grid(cases), _intensities(cases), *_labels(cases)]
    differs = [
        name
        for name, same in (
            ("the grid", all(_same_grid(case) for case in cases)),
            (
                "intensities",
                all(
                    case.histogram is not None and case.histogram < SAME_HISTOGRAM for case in cases
                ),
            ),
            ("labels", all(case.dice is None or case.dice > SAME_DICE for case in cases)),
        )
        if not same
    ]
    if strange:
        sentences.append(
            f"Another body, or damaged: {', '.join(strange)} (pictures correlate by less than "
            f"{ALIKE:g})."
        )
    end = f"Training would see a difference in {', '.join(differs)}."
    return (*sentences, end if differs else "Training on either sees the same.")


def _same_grid(case: CaseDifference) -> bool:
    return case.edges_mm is None and tuple(sorted(case.our_shape)) == tuple(
        sorted(case.their_shape)
    )


def _axes(cases: Sequence[CaseDifference]) -> str:
    counts = Counter(case.orientation for case in cases)
    codes = ", ".join(f"{way} in {count}" for way, count in counts.most_common())
    return f"Axes of the folder: {codes} of {len(cases)} cases; ours are RAS."


def _grid(cases: Sequence[CaseDifference]) -> str:
    same = sum(_same_grid(case) for case in cases)
    spacing = [median(case.spacing_mm[axis] for case in cases) for axis in range(3)]
    sentence = f"Grid: the same in {same} of {len(cases)} cases; theirs has {_sides(spacing)} mm"
    cut = [case for case in cases if case.edges_mm is not None]
    if cut:
        most = max(abs(edge) for case in cut for pair in case.edges_mm or () for edge in pair)
        sentence += f"; another field of view in {len(cut)} cases, by up to {most:.0f} mm"
    return sentence + "."


def _intensities(cases: Sequence[CaseDifference]) -> str:
    lines = [case.line for case in cases if case.line]
    if not lines:
        return "Intensities: no line leads from ours to theirs."
    slope, offset = median(line.slope for line in lines), median(line.offset for line in lines)
    unit = "HU" if lines[0].in_hu else "ours"
    sentence = f"Intensities: {slope:.4g} x {unit} {'-' if offset < 0 else '+'} {abs(offset):.3f}"
    spread = max(abs(line.slope / slope - 1) for line in lines)
    if spread > HU_SLOPE:
        sentence += f", the slope differing by up to {100 * spread:.0f} % from case to case"
    elif lines[0].in_hu and abs(slope - 1) < HU_SLOPE and abs(offset) < HU_OFFSET:
        sentence += ", which is HU itself"
    ends = _ends(lines)
    sentence += f"; clipped {ends} {unit}" if ends else "; not clipped"
    residual = median(line.residual for line in lines)
    return f"{sentence}; {residual:.2f} {unit} of the histogram are not explained by that."


def _ends(lines: Sequence[Line]) -> str:
    words = []
    for word, end in (("below", 0), ("above", 1)):
        known = [line.window[end] for line in lines]
        values = [value for value in known if value is not None]
        if len(values) > len(lines) / 2:
            words.append(f"{word} {median(values):.1f}")
    return " and ".join(words)


def _labels(cases: Sequence[CaseDifference]) -> list[str]:
    dices: dict[str, list[float]] = {}
    for case in cases:
        for name, organ in case.organs.items():
            if organ.dice is not None:
                dices.setdefault(name, []).append(organ.dice)
    if not dices:
        return _one_sided(cases)
    means = {name: float(np.mean(values)) for name, values in dices.items()}
    worst = min(means, key=lambda name: means[name])
    mean = float(np.mean(list(means.values())))
    return [
        f"Labels: mean Dice {100 * mean:.1f} %, lowest {worst} with {100 * means[worst]:.1f} %.",
        *_one_sided(cases),
    ]


def _one_sided(cases: Sequence[CaseDifference]) -> list[str]:
    """Cases with organs in one of their two masks and none in the other."""
    ours: list[str] = []
    theirs: list[str] = []
    for case in cases:
        here = any(organ.our_voxels for organ in case.organs.values())
        there = any(organ.their_voxels for organ in case.organs.values())
        if here != there:
            (theirs if here else ours).append(case.case)
    sides = (("prepared", ours), ("folder's", theirs))
    return [
        f"Empty, though the other has organs: the {side} mask of {', '.join(names)}."
        for side, names in sides
        if names
    ]


def _sides(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:.3g}" for side in sides)


def _plain(case: CaseDifference) -> dict[str, Any]:
    content = asdict(case)
    content["line"] = case.line and case.line._asdict()
    content["organs"] = {name: organ._asdict() for name, organ in case.organs.items()}
    return {**content, "dice": case.dice}
