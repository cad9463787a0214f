"""Relations tested on labeled patches that are made up, and on those of phantoms."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from segmentation.methods.base.method import Batch
from segmentation.relations import ClaimFilter, Relation
from segmentation.training.patches import PatchStream
from segmentation.training.relation_limits import measure_relations


class Stream:
    """Two patches a step: organ 1 right of organ 2, but in every tenth step; organ 3 is absent."""

    def __getitem__(self, step):
        label = torch.zeros(2, 8, 4, 4, dtype=torch.int64)
        right, left = (slice(6, 8), slice(1, 3)) if step % 10 else (slice(1, 3), slice(6, 8))
        label[:, right], label[:, left] = 1, 2
        return Batch(torch.zeros(2, 1, 8, 4, 4), label, torch.zeros(0, 1, 8, 4, 4))


def measure(*relations):
    return measure_relations(Stream(), relations, classes=4, steps=20)


def test_a_relation_that_holds_in_nine_of_ten_patches_has_that_mean_and_no_room():
    (tested,) = measure(Relation(1, 2, 0))
    assert (tested.patches, tested.mean) == (40, pytest.approx(0.1))
    assert tested.allowed == 1  # more than 5 % of the patches turn it around
    assert not tested.holds


def test_the_reverse_and_organs_that_no_patch_shows_do_not_hold():
    reverse, absent = measure(Relation(2, 1, 0), Relation(1, 3, 0))
    assert (reverse.mean, reverse.holds) == (pytest.approx(0.9), False)
    assert (absent.patches, math.isnan(absent.mean), absent.holds) == (0, True, False)


def test_a_relation_that_holds_gets_a_limit_and_the_weight_that_it_leaves():
    class True_(Stream):
        def __getitem__(self, step):
            return super().__getitem__(1)

    (tested,) = measure_relations(True_(), [Relation(1, 2, 0)], classes=4, steps=5)
    assert tested.holds
    assert tested.usable == Relation(1, 2, 0, allowed=0.0, weight=1.0)


def test_no_candidates_are_no_relations():
    assert measure() == []


def phantom_stream(prepared, cases, seed):
    return PatchStream(
        [prepared.file(case) for case in cases], [], patch=(16, 16, 16), labeled_per_step=2,
        unlabeled_per_step=0, seed=seed,
    )  # fmt: skip


def test_true_labels_of_phantoms_lose_almost_nothing_by_sure_relations_and_much_by_turned_ones(
    prepared,
):
    split, classes = prepared.split, len(prepared.spec.classes)
    pairs = itertools.permutations(range(1, classes), 2)
    candidates = [Relation(*pair, axis) for pair in pairs for axis in range(3)]
    labeled = phantom_stream(prepared, split.labeled, seed=0)
    tested = measure_relations(labeled, candidates, classes=classes, steps=100)
    sure = [each.usable for each in tested if each.sure]
    turned = [each._replace(high=each.low, low=each.high) for each in sure]
    others = phantom_stream(prepared, (*split.labeled, *split.test), seed=7)
    label = torch.cat([others[step].label for step in range(50)])
    mask = F.one_hot(label, classes).movedim(-1, 1).float()
    lost = [
        float((~ClaimFilter(relations)(label, mask))[label > 0].float().mean())
        for relations in (sure, turned)
    ]
    assert lost[0] < 0.01
    assert lost[1] > 0.5
