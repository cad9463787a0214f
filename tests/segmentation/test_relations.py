"""Violations of relations against voxel pairs that are counted one by one."""

import itertools

import numpy as np
import pytest
import torch

from segmentation.relations import Relation, RelationLoss, violations

RELATIONS = (Relation(1, 2, 0), Relation(2, 1, 0), Relation(1, 2, 1), Relation(3, 1, 2))


def counted_one_by_one(mass, relation, margin):
    """P(low beyond high + margin) over all pairs of voxels, weighted by their masses."""
    wrong = total = 0.0
    cells = list(itertools.product(*map(range, mass.shape[1:])))
    for one, other in itertools.product(cells, cells):
        weight = mass[relation.high][one] * mass[relation.low][other]
        total += weight
        wrong += weight * (other[relation.axis] > one[relation.axis] + margin)
    return wrong / total


@pytest.mark.parametrize("margin", [0, 1])
def test_a_violation_is_the_share_of_voxel_pairs_on_the_wrong_side(margin):
    mass = torch.rand(2, 4, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    result = violations(mass, RELATIONS, margin=margin, least=1.0)
    assert result.counted.all()
    for patch, values in zip(mass.numpy(), result.values, strict=True):
        expected = [counted_one_by_one(patch, relation, margin) for relation in RELATIONS]
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_organs_side_by_side_give_no_violation_one_way_and_a_full_one_the_other():
    mask = torch.zeros(1, 3, 8, 4, 4)
    mask[:, 1, 5:], mask[:, 2, :3] = 1, 1
    values = violations(mask, (Relation(1, 2, 0), Relation(2, 1, 0))).values
    assert values.tolist() == [[0, 1]]


def test_an_organ_with_little_mass_does_not_count():
    mass = torch.zeros(1, 4, 8, 8, 8)
    mass[:, 1], mass[:, 2, :2], mass[:, 3, 0, 0, :7] = 1, 1, 1
    relations = (Relation(1, 2, 0), Relation(1, 3, 0), Relation(3, 2, 1))
    assert violations(mass, relations, least=8).counted.tolist() == [[True, False, False]]


def blocks(wrong):
    """Logits of two organs; the first lies where `wrong` says."""
    logits = torch.zeros(1, 3, 8, 4, 4)
    logits[:, 1, slice(0, 3) if wrong else slice(5, 8)] = 6
    logits[:, 2, 3:5] = 6
    return logits


def test_the_loss_is_zero_for_true_sides_and_falls_along_its_gradient_for_wrong_ones():
    loss = RelationLoss((Relation(1, 2, 0),), weight=2.0, threshold=0.0, sharpness=4.0)
    assert loss(blocks(wrong=False)) < 0.05
    logits = blocks(wrong=True).requires_grad_()
    before = loss(logits)
    assert before > 1.9
    before.backward()
    assert loss(logits - 50 * logits.grad) < before
    assert logits.grad[:, 1, :3].min() > 0  # less of the organ where it may not be


def test_a_violation_within_its_limit_costs_nothing_and_weights_multiply():
    logits = blocks(wrong=True)
    full = RelationLoss((Relation(1, 2, 0),), weight=1.0)(logits)
    part = RelationLoss((Relation(1, 2, 0, allowed=0.25, weight=0.5),), weight=1.0)(logits)
    assert float(full) == pytest.approx(1.0, abs=0.05)
    assert float(part) == pytest.approx(0.5 * (float(full) - 0.25), abs=1e-5)
    assert RelationLoss((Relation(1, 2, 0, allowed=1.0),))(logits) == 0


def test_without_a_confident_voxel_the_loss_is_zero_with_a_finite_gradient():
    logits = torch.zeros(1, 3, 8, 4, 4, requires_grad=True)
    loss = RelationLoss((Relation(1, 2, 0),))(logits)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
