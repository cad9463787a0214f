"""Random selection of the labeled training cases such that every organ occurs in one of them."""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np

_TRIES = 1000


def draw_labeled(
    voxels: Mapping[str, Sequence[int]], organs: Sequence[str], number: int, seed: int
) -> tuple[str, ...]:
    """Draw `number` cases that together contain every organ; deterministic in the seed.

    Organs are visited from the rarest to the most common: if no drawn case has the organ yet, one
    of the cases that have it is drawn. The remaining cases are drawn uniformly.

    Args:
        voxels: of each class, background first, in every case that can be labeled.
        organs: names of the classes without background.
        number: of cases to draw.

    Returns:
        The cases, sorted.

    Raises:
        ValueError: more cases than there are, an organ that no case has, or too few cases for
            all organs.
    """
    cases = sorted(voxels)
    if not 0 < number <= len(cases):
        raise ValueError(f"{number} labeled cases are to be drawn from {len(cases)} with a mask")
    holders = cases_with(voxels, organs)
    missing = [organ for organ in organs if not holders[organ]]
    if missing:
        raise ValueError(f"no training case with a mask has {', '.join(missing)}")
    rarest_first = sorted(organs, key=lambda organ: len(holders[organ]))
    random = np.random.default_rng(seed)
    needed = len(cases)
    for _ in range(_TRIES):
        drawn: set[str] = set()
        for organ in rarest_first:
            if drawn.isdisjoint(holders[organ]):
                drawn.add(str(random.choice(holders[organ])))
        needed = min(needed, len(drawn))
        if len(drawn) <= number:
            rest = [case for case in cases if case not in drawn]
            more = random.permutation(len(rest))[: number - len(drawn)]
            return tuple(sorted(drawn | {rest[index] for index in more}))
    raise ValueError(
        f"{number} cases do not hold every organ: of {_TRIES} random choices the smallest that "
        f"does has {needed}; rarest are "
        + ", ".join(f"{organ} (in {len(holders[organ])} cases)" for organ in rarest_first[:3])
    )


def cases_with(voxels: Mapping[str, Sequence[int]], organs: Sequence[str]) -> dict[str, list[str]]:
    """The cases, sorted, in which each organ has a voxel."""
    return {
        organ: [case for case in sorted(voxels) if voxels[case][index]]
        for index, organ in enumerate(organs, start=1)
    }


def chance_missed(cases: int, holders: int, number: int) -> float:
    """Probability that a uniform draw of `number` of `cases` misses all `holders` of an organ."""
    return comb(cases - holders, number) / comb(cases, number)
