"""The work of `tak split`: draw a labeled part with every organ; other lists stay unchanged."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.opening import Counted, open_data
from segmentation.data.descriptor import DatasetSpec
from segmentation.data.label_selection import cases_with, chance_missed, draw_labeled
from segmentation.data.raw_cases import RawCase, find_cases
from segmentation.data.readers import Reader
from segmentation.data.split import Split

RARE = 0.05  # an organ that a uniform draw misses with a higher probability is rare


@dataclass(frozen=True)
class Candidates:
    """A base split, and the voxels per class of its training cases with a mask.

    Attributes:
        number: number of cases to draw.
    """

    spec: DatasetSpec
    split: Split
    number: int
    voxels: dict[str, list[int]]


@dataclass(frozen=True)
class Drawn:
    """The drawn split.

    Attributes:
        organs: per organ the number of cases that have it, how many of them were drawn, and the
            probability that a uniform draw misses it.
    """

    split: Split
    with_mask: int
    seed: int
    organs: dict[str, dict[str, float]]

    @property
    def rare(self) -> list[str]:
        """The organs that a uniform draw would often miss."""
        return [name for name, facts in self.organs.items() if facts["chance_missed"] > RARE]

    def content(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "seed": self.seed,
            "train": len(self.split.train),
            "with_mask": self.with_mask,
            "labeled": list(self.split.labeled),
            "rare": self.rare,
            "organs": self.organs,
        }


def read_candidates(
    folder: Path, descriptor: str | None, split: str | None, labeled: str, counted: Counted
) -> Candidates:
    """The training cases of a prepared or raw data set, with voxels per class.

    A prepared data set records those of its labeled cases; of a raw one every training mask is
    read, after everything else is checked.

    Args:
        labeled: a share of the training cases, `5%`, rounded down, or a number of them.

    Raises:
        FileNotFoundError, LookupError, ValueError: no data set there, or which one is not said; no
            such share, or more cases than have a mask.
    """
    data = open_data(folder, descriptor, split, accept=("prepared", "raw", "arrays"),
                     trust_headers=True, counted=counted)  # fmt: skip
    spec, base = data.spec, data.split
    assert spec is not None
    assert base is not None
    if data.prepared is not None:
        recorded = {case: data.prepared.cases[case]["voxels_per_class"] for case in base.train}
        voxels = {case: list(counts) for case, counts in recorded.items() if counts is not None}
        return Candidates(spec, base, _number(labeled, base, len(voxels)), voxels)
    assert data.reader is not None
    cases = find_cases(spec, folder, data.reader.layout)
    masks = [cases[case] for case in base.train if case in cases and cases[case].label is not None]
    number = _number(labeled, base, len(masks))
    with counted("masks", len(masks)) as tick:
        voxels = dict(_counts(masks, data.reader, len(spec.classes), tick))
    return Candidates(spec, base, number, voxels)


def _counts(
    masks: Sequence[RawCase], reader: Reader, classes: int, tick: Callable[[str], None]
) -> Iterator[tuple[str, list[int]]]:
    for case in masks:
        values = np.asarray(reader.mask(case).voxels).ravel()
        yield case.name, np.bincount(values, minlength=classes)[:classes].tolist()
        tick(case.name)


def draw(candidates: Candidates, seed: int) -> Drawn:
    """Draw a new labeled part.

    Raises:
        ValueError: no choice of so many cases holds every organ.
    """
    organs, base, number = candidates.spec.classes[1:], candidates.split, candidates.number
    chosen = draw_labeled(candidates.voxels, organs, number, seed)
    split = Split.derive(
        tuple(sorted(base.train)), chosen, base.validation, base.test, base.patients
    )
    holders = cases_with(candidates.voxels, organs)
    facts = {
        organ: {
            "cases": len(holders[organ]),
            "drawn": len(set(holders[organ]) & set(chosen)),
            "chance_missed": chance_missed(len(candidates.voxels), len(holders[organ]), number),
        }
        for organ in organs
    }
    return Drawn(split, len(candidates.voxels), seed, facts)


def _number(text: str, split: Split, with_mask: int) -> int:
    """The number of cases to draw, checked against those with a mask."""
    number = _parsed_number(text, len(split.train))
    if not 1 <= number <= with_mask:
        raise ValueError(
            f"--labeled {text}: that is {number} cases, and {with_mask} of the "
            f"{len(split.train)} training cases have a mask; draw 1 to {with_mask}"
        )
    return number


def _parsed_number(text: str, cases: int) -> int:
    try:
        if not text.endswith("%"):
            return int(text)
        share = Decimal(text.removesuffix("%"))
    except (ValueError, InvalidOperation):
        raise ValueError(f"--labeled {text}: write a share such as 5% or a number") from None
    if not 0 < share <= 100:
        raise ValueError(f"--labeled {text}: a share lies above 0% and up to 100%")
    return max(int(share * cases / 100), 1)
