"""Random selection of labeled cases with every organ, and of parts with their share of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb

import numpy as np

_TRIES = 1000


def draw_labeled(
    voxels: Mapping[str, Sequence[int]],
    organs: Sequence[str],
    number: int,
    seed: int,
    *,
    required: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Draw `number` cases that together contain every organ; deterministic in the seed.

    Organs are visited from the rarest to the most common: if no drawn case has the organ yet, one
    of the cases that have it is drawn. The remaining cases are drawn uniformly.

    Args:
        voxels: of each class, background first, in every case that can be labeled.
        organs: names of the classes without background.
        number: of cases to draw.
        required: organs that must occur; all by default.

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
    organs = organs if required is None else required
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


def assign_parts(
    groups: Mapping[str, Sequence[str]],
    organs: Mapping[str, frozenset[str]],
    sizes: Mapping[str, int],
    seed: int,
) -> dict[str, tuple[str, ...]]:
    """Assign groups of cases to parts such that every part gets its share of every organ.

    Iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML 2011) with capacities: the organ
    with the fewest unassigned cases comes first, and each of its groups goes to the part that
    still lacks it most. Sizes are met exactly if every group is a single case.

    Args:
        groups: cases of each patient; they stay together.
        organs: organs of each case.
        sizes: number of cases of each part; together all cases.

    Returns:
        The sorted cases of each part.
    """
    random = np.random.default_rng(seed)
    total = sum(len(cases) for cases in groups.values())
    counts = {patient: _organ_counts(cases, organs) for patient, cases in groups.items()}
    holders: Counter[str] = sum(counts.values(), Counter())
    wanted = {
        part: {organ: number * size / total for organ, number in holders.items()}
        for part, size in sizes.items()
    }
    free = dict(sizes)
    parts: dict[str, list[str]] = {part: [] for part in sizes}
    # Larger groups first, while there is room for them; random among equals.
    order = [str(patient) for patient in random.permutation(sorted(groups))]
    waiting = sorted(order, key=lambda patient: -len(groups[patient]))
    while waiting:
        left: Counter[str] = sum((counts[patient] for patient in waiting), Counter())
        rarest = min(left, key=lambda organ: (left[organ], organ), default=None)
        patient = next(p for p in waiting if rarest is None or counts[p][rarest])
        waiting.remove(patient)
        size = len(groups[patient])
        roomy = [part for part in sizes if free[part] >= size] or [max(free, key=lambda p: free[p])]
        lack = {part: wanted[part][rarest] if rarest else 0.0 for part in roomy}
        part = max(roomy, key=lambda p: (lack[p], free[p] / max(sizes[p], 1), random.random()))
        parts[part] += groups[patient]
        free[part] -= size
        for organ, number in counts[patient].items():
            wanted[part][organ] -= number
    return {part: tuple(sorted(cases)) for part, cases in parts.items()}


def _organ_counts(cases: Sequence[str], organs: Mapping[str, frozenset[str]]) -> Counter[str]:
    """Number of cases with each organ."""
    return Counter(organ for case in cases for organ in organs[case])
