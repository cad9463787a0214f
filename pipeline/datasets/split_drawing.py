"""Drawing of splits: all lists, or only the labeled part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.descriptors import OWN, find_descriptor
from pipeline.datasets.opening import Counted, DataFolder, open_data
from pipeline.datasets.split_sizes import (
    SplitRequest,
    check_numbers,
    check_request,
    count_of,
    labeled_number,
    part_sizes,
)
from pipeline.files.kinds import kind_of
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.label_selection import (
    assign_parts,
    cases_with,
    chance_missed,
    draw_labeled,
)
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.data.readers import Reader
from segmentation.data.split import PATIENTS, Split, read_patients

RARE = 0.05  # an organ that a uniform draw misses with a higher probability is rare


@dataclass(frozen=True)
class Candidates:
    """The cases to draw from.

    Attributes:
        base: the split whose other lists are kept; None if all lists are drawn.
        cases: names of all cases.
        voxels: voxels per class of the cases with a mask; of a base split its training cases.
        patients: patient by case, where known.
        drafted: what descriptor was made up; None if there was one.
    """

    spec: DatasetSpec
    base: Split | None
    cases: tuple[str, ...]
    voxels: dict[str, list[int]]
    patients: dict[str, str] = field(default_factory=dict)
    drafted: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A drawn split.

    Attributes:
        with_mask: number of training cases with a mask.
        organs: per organ the number of training cases that have it, how many of them are labeled,
            the probability that a uniform draw misses it, and the cases per drawn part.
        left_out: cases without a mask whose patient is in validation or test.
    """

    split: Split
    with_mask: int
    seed: int
    organs: dict[str, dict[str, float]]
    left_out: tuple[str, ...] = ()

    @property
    def rare(self) -> list[str]:
        """The organs that a uniform draw would often miss."""
        return [name for name, facts in self.organs.items() if facts["chance_missed"] > RARE]

    @property
    def never_labeled(self) -> list[str]:
        """The organs that no labeled case has."""
        return [name for name, facts in self.organs.items() if not facts["drawn"]]

    def content(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "seed": self.seed,
            "train": len(self.split.train),
            "with_mask": self.with_mask,
            "labeled": list(self.split.labeled),
            "validation": list(self.split.validation),
            "test": list(self.split.test),
            "left_out": list(self.left_out),
            "rare": self.rare,
            "organs": self.organs,
        }


def read_candidates(
    folder: Path,
    descriptor: str | None,
    split: str | None,
    request: SplitRequest,
    counted: Counted,
) -> Candidates:
    """The cases of a prepared or raw data set, with voxels per class of those with a mask.

    A prepared data set records the voxels; of a raw one every mask is read, after everything else
    is checked.

    Raises:
        FileNotFoundError, LookupError, ValueError: no data set there, or which one is not said; no
            such share, or more cases than have a mask.
    """
    check_request(request, split)
    draws_all = _draws_all(folder, descriptor, split, request)
    data = open_data(folder, descriptor, split, accept=("prepared", "raw", "arrays"),
                     require_split=not draws_all, trust_headers=True, draft=True,
                     counted=counted)  # fmt: skip
    assert data.spec is not None
    base = None if draws_all else data.split
    if data.prepared is not None:
        recorded = {c: r["voxels_per_class"] for c, r in data.prepared.cases.items()}
        cases = tuple(recorded) if base is None else base.train
        voxels = {case: list(recorded[case]) for case in cases if recorded[case] is not None}
        check_numbers(request, base, len(cases), len(voxels))
    else:
        cases, voxels = _raw_voxels(data, base, request, counted)
    patients = _patients(folder, request, base or data.split)
    return Candidates(data.spec, base, cases, voxels, patients, data.drafted)


def _draws_all(
    folder: Path, descriptor: str | None, split: str | None, request: SplitRequest
) -> bool:
    """Whether all lists are drawn: by an option, or because the data have none."""
    if request.draws_all:
        return True
    if split is not None or not folder.is_dir() or (folder / "splits").is_dir():
        return False
    if descriptor is None and (kind_of(folder) == "prepared" or not (folder / OWN).is_file()):
        return kind_of(folder) != "prepared"
    return find_descriptor(folder, descriptor).splits == "data"


def _raw_voxels(
    data: DataFolder, base: Split | None, request: SplitRequest, counted: Counted
) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    assert data.reader is not None
    assert data.spec is not None
    known = find_cases(data.spec, data.root, data.reader.layout)
    names = tuple(known) if base is None else base.train
    masks = [known[case] for case in names if case in known and known[case].label is not None]
    check_numbers(request, base, len(names), len(masks))
    with counted("masks", len(masks)) as tick:
        return names, dict(_counts(masks, data.reader, len(data.spec.classes), tick))


def _counts(
    masks: Sequence[RawCase], reader: Reader, classes: int, tick: Callable[[str], None]
) -> Iterator[tuple[str, list[int]]]:
    for case in masks:
        values = np.asarray(reader.mask(case).voxels).ravel()
        yield case.name, np.bincount(values, minlength=classes)[:classes].tolist()
        tick(case.name)


def _patients(folder: Path, request: SplitRequest, split: Split | None) -> dict[str, str]:
    """The patient of each case: from the given file, the split, or the folder."""
    if request.patients is not None:
        if not request.patients.is_file():
            raise FileNotFoundError(f"--patients {request.patients}: there is no such file")
        return read_patients(request.patients)
    if split and split.patients:
        return split.patients
    files = [place / PATIENTS for place in (folder, folder / "splits")]
    return read_patients(next((file for file in files if file.is_file()), files[0]))


def draw(candidates: Candidates, request: SplitRequest, seed: int) -> list[Drawn]:
    """Draw a split, or one per fold.

    Raises:
        ValueError: no choice of so many cases holds every organ, or too few cases.
    """
    base = candidates.base
    if base is not None:
        return [_labeled(candidates, request, base.train, base.validation, base.test, seed)]
    masked = sorted(candidates.voxels)
    if not request.folds:
        sizes = part_sizes(request, len(masked))
        parts = _stratified(candidates, masked, sizes, seed)
        train, validation, test = (parts[part] for part in ("train", "validation", "test"))
        return [_labeled(candidates, request, train, validation, test, seed)]
    if request.folds > len(_groups(candidates, masked)):
        raise ValueError(
            f"--folds {request.folds}: only {len(_groups(candidates, masked))} patients have a mask"
        )
    quotient, rest = divmod(len(masked), request.folds)
    sizes = {f"{fold}": quotient + (fold < rest) for fold in range(request.folds)}
    folds = _stratified(candidates, masked, sizes, seed)
    drawn = []
    for test in folds.values():
        others = sorted(set(masked) - set(test))
        number = count_of("--validation", request.validation or "0", len(others))
        sizes = {"train": len(others) - number, "validation": number}
        parts = _stratified(candidates, others, sizes, seed)
        drawn.append(_labeled(candidates, request, parts["train"], parts["validation"], test, seed))
    return drawn


def _stratified(
    candidates: Candidates, cases: Sequence[str], sizes: Mapping[str, int], seed: int
) -> dict[str, tuple[str, ...]]:
    names = candidates.spec.classes
    organs = {
        case: frozenset(name for name, n in zip(names[1:], candidates.voxels[case][1:], strict=True)
                        if n)
        for case in cases
    }  # fmt: skip
    return assign_parts(_groups(candidates, cases), organs, sizes, seed)


def _groups(candidates: Candidates, cases: Sequence[str]) -> dict[str, list[str]]:
    """The cases of each patient; a case without a known one is its own."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        known = candidates.patients.get(case)
        groups.setdefault(f"case {case}" if known is None else f"patient {known}", []).append(case)
    return groups


def _labeled(
    candidates: Candidates,
    request: SplitRequest,
    train: Sequence[str],
    validation: tuple[str, ...],
    test: tuple[str, ...],
    seed: int,
) -> Drawn:
    """The split with a drawn labeled part; cases without a mask join the training cases."""
    voxels = {case: candidates.voxels[case] for case in train if case in candidates.voxels}
    held = {candidates.patients.get(case) for case in (*validation, *test)} - {None}
    bare = [case for case in candidates.cases if case not in candidates.voxels]
    left_out: list[str] = []
    if candidates.base is None:
        left_out = [case for case in bare if candidates.patients.get(case) in held]
        train = [*train, *(case for case in bare if case not in left_out)]
    number = len(voxels)
    if request.labeled is not None:
        number = labeled_number(request.labeled, len(train), len(voxels))
    organs = candidates.spec.classes[1:]
    holders = cases_with(voxels, organs)
    # Of all lists drawn anew, an organ of test cases alone is reported; kept lists must have all.
    required = None if candidates.base else [organ for organ in organs if holders[organ]]
    chosen = draw_labeled(voxels, organs, number, seed, required=required)
    mentioned = {*train, *validation, *test}
    patients = {case: who for case, who in candidates.patients.items() if case in mentioned}
    patients = patients if candidates.base is None else candidates.base.patients
    split = Split.derive(tuple(sorted(train)), chosen, validation, test, patients)
    facts = {
        organ: {
            "cases": len(having),
            "drawn": len(set(having) & set(chosen)),
            "chance_missed": chance_missed(len(voxels), len(having), number) if having else 0.0,
        }
        for organ, having in holders.items()
    }
    return Drawn(split, len(voxels), seed, facts, tuple(left_out))
