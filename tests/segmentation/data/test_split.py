"""Splits: patients that stay on one side, lists written and read, labeled parts drawn."""

from itertools import combinations

import numpy as np
import pytest

from segmentation.data.label_selection import assign_parts, chance_missed, draw_labeled
from segmentation.data.split import Split

ORGANS = ("liver", "gallbladder", "duodenum")


def population(cases=40, seed=0):
    """Voxels per class: everybody has a liver, every fifth case the second organ, two the last."""
    random = np.random.default_rng(seed)
    holders = random.permutation(cases)[:2]
    return {
        f"c{case:02}": [900, 90, 9 * (case % 5 == 0), 3 * (case in holders)]
        for case in range(cases)
    }


def test_lists_that_were_written_are_read_again(tmp_path):
    split = Split.derive(("a", "b", "c"), ("b",), ("d",), ("e",), {"a": "1", "b": "1", "d": "2"})
    split.write(tmp_path)
    found = Split.read(tmp_path)
    assert found == split
    assert (found.labeled, found.unlabeled) == (("b",), ("a", "c"))


def test_a_patient_on_two_sides_is_named_with_the_cases(tmp_path):
    Split.derive(("a", "b"), ("a",), ("c",), ("d",)).write(tmp_path)
    (tmp_path / "patients.txt").write_text("a p1\nb p2\nc p3\nd p2\nelsewhere p1\n")
    with pytest.raises(ValueError, match=r"belongs to .* only; shared are p2 \(train: b; test: d"):
        Split.read(tmp_path)


def test_a_patient_may_have_labeled_and_unlabeled_scans(tmp_path):
    Split.derive(("a", "b"), ("a",), ("c",), ("d",)).write(tmp_path)
    (tmp_path / "patients.txt").write_text("a p1\nb p1\n\n")
    assert Split.read(tmp_path).patients == {"a": "p1", "b": "p1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("a\n", "'a' is not a case and its patient"), ("a 1\na 2\n", "a is of 1 and of 2")],
)
def test_a_list_of_patients_that_says_nothing_is_refused(tmp_path, text, message):
    Split.derive(("a", "b"), ("a",), (), ()).write(tmp_path)
    (tmp_path / "patients.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        Split.read(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_every_organ_occurs_among_the_drawn_cases(seed):
    voxels = population()
    drawn = draw_labeled(voxels, ORGANS, 4, seed)
    assert len(set(drawn)) == 4
    for index in (1, 2, 3):
        assert any(voxels[case][index] for case in drawn)
    shuffled = dict(sorted(voxels.items(), reverse=True))
    assert draw_labeled(shuffled, ORGANS, 4, seed) == drawn


def test_where_all_cases_have_all_organs_all_choices_are_as_likely():
    voxels = {case: [9, 1, 1, 1] for case in "abcde"}
    drawn = [draw_labeled(voxels, ORGANS, 2, seed) for seed in range(2000)]
    shares = [drawn.count(pair) / len(drawn) for pair in combinations("abcde", 2)]
    assert np.allclose(shares, 0.1, atol=0.03)


def test_a_draw_that_is_impossible_says_why():
    voxels = population()
    bare = {case: [*counts[:3], 0] for case, counts in voxels.items()}
    with pytest.raises(ValueError, match="no training case with a mask has duodenum"):
        draw_labeled(bare, ORGANS, 4, 0)
    with pytest.raises(ValueError, match="41 labeled cases are to be drawn from 40"):
        draw_labeled(voxels, ORGANS, 41, 0)
    apart = {"a": [9, 1, 0, 0], "b": [9, 0, 1, 0], "c": [9, 0, 0, 1]}
    with pytest.raises(ValueError, match=r"2 cases do not hold every organ: .* has 3; rarest are"):
        draw_labeled(apart, ORGANS, 2, 0)


@pytest.mark.parametrize(("cases", "holders", "number"), [(7, 2, 3), (6, 1, 1), (5, 4, 3)])
def test_the_chance_to_miss_an_organ_is_that_of_counting_all_choices(cases, holders, number):
    choices = list(combinations(range(cases), number))
    missed = sum(all(case >= holders for case in choice) for choice in choices)
    assert chance_missed(cases, holders, number) == pytest.approx(missed / len(choices))


def organs_of(voxels):
    return {
        case: frozenset(o for o, count in zip(ORGANS, counts[1:], strict=True) if count)
        for case, counts in voxels.items()
    }


@pytest.mark.parametrize("seed", range(10))
def test_parts_get_their_share_of_every_organ(seed):
    voxels = population(cases=60, seed=seed)
    organs = organs_of(voxels)
    sizes = {"train": 36, "validation": 9, "test": 15}
    parts = assign_parts({case: [case] for case in voxels}, organs, sizes, seed)
    assert {part: len(cases) for part, cases in parts.items()} == sizes
    assert sorted(case for cases in parts.values() for case in cases) == sorted(voxels)
    for organ in ORGANS:
        total = sum(organ in own for own in organs.values())
        for part, cases in parts.items():
            share = sum(organ in organs[case] for case in cases)
            assert abs(share - total * sizes[part] / 60) <= 1.01


def test_parts_are_drawn_by_the_seed_alone():
    voxels = population()
    organs, sizes = organs_of(voxels), {"a": 20, "b": 20}
    groups = {case: [case] for case in voxels}
    backward = dict(sorted(groups.items(), reverse=True))
    assert assign_parts(groups, organs, sizes, 1) == assign_parts(backward, organs, sizes, 1)
    assert assign_parts(groups, organs, sizes, 1) != assign_parts(groups, organs, sizes, 2)


@pytest.mark.parametrize("seed", range(10))
def test_cases_of_a_patient_stay_together(seed):
    voxels = population(cases=40)
    groups = {str(n): [f"c{case:02}" for case in range(n, 40, 15)] for n in range(15)}
    sizes = {"train": 24, "test": 16}
    parts = assign_parts(groups, organs_of(voxels), sizes, seed)
    for cases in groups.values():
        assert sum(not set(cases).isdisjoint(part) for part in parts.values()) == 1
    assert abs(len(parts["test"]) - 16) <= 2
