"""Violations and filtered labels against voxel pairs that are counted one by one."""

import itertools

import numpy as np
import pytest
import torch

from segmentation.relations import SURE, ClaimFilter, Relation, RelationLoss, violations

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


def filtered_voxel_by_voxel(label, probabilities, relations, *, share, margin, least):
    """Whether each label is kept: the other organ's mass on the wrong side, counted per voxel."""
    mass = np.where(probabilities > 0.3, probabilities**2, 0)
    kept = np.ones(label.shape, dtype=bool)
    cells = list(itertools.product(*map(range, label.shape[1:])))
    for patch, cell in itertools.product(range(len(label)), cells):
        for high, low, axis, *_ in relations:
            own = label[(patch, *cell)]
            if own not in (high, low) or min(mass[patch, [high, low]].sum((1, 2, 3))) < least:
                continue
            other = mass[patch, low if own == high else high]
            ahead = 1 if own == high else -1  # the side on which the other organ must not lie
            wrong = sum(
                other[place] for place in cells if ahead * (place[axis] - cell[axis]) > margin
            )
            kept[(patch, *cell)] &= wrong <= share * other.sum()
    return kept


@pytest.mark.parametrize(("share", "margin", "least"), [(0.5, 0, 1.0), (0.7, 1, 1.0), (0.5, 0, 9)])
def test_a_filtered_label_has_too_much_of_the_other_organ_on_its_wrong_side(share, margin, least):
    generator = torch.Generator().manual_seed(1)
    probabilities = torch.rand(3, 4, 5, 3, 4, generator=generator) * torch.linspace(0.4, 1, 5).view(
        5, 1, 1
    )
    label = torch.randint(-1, 4, (3, 5, 3, 4), generator=generator)  # -1: no label anyway
    options = {"share": share, "margin": margin, "least": least}
    keep = ClaimFilter(RELATIONS, threshold=0.3, sharpness=2.0, **options)
    expected = filtered_voxel_by_voxel(
        label.numpy(), probabilities.double().numpy(), RELATIONS, **options
    )
    assert np.array_equal(keep(label, probabilities), expected)
    assert expected[label.numpy() <= 0].all()
    assert 0.02 < 1 - expected.mean() < 0.9


def test_a_few_misplaced_voxels_are_ignored_and_the_organs_stay():
    label = torch.zeros(1, 12, 4, 4, dtype=torch.int64)
    label[:, 8:], label[:, 2:5] = 1, 2
    label[:, 0, 0] = 1  # four voxels of organ 1 left of organ 2, which it must be right of
    keep = ClaimFilter((Relation(1, 2, 0),))
    kept = keep(label, one_hot(label, 3))
    assert (~kept).nonzero()[:, 1:3].tolist() == [[0, 0]] * 4
    turned = ClaimFilter((Relation(2, 1, 0),))(label, one_hot(label, 3))
    assert not turned[label == 2].any()
    assert turned[label == 1].tolist() == [True] * 4 + [False] * 64


def one_hot(label, classes):
    return torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_no_more_voxels_are_ignored_than_markovs_inequality_allows(share):
    generator = torch.Generator().manual_seed(2)
    for _ in range(30):
        first, second = torch.randint(0, 12, (2,), generator=generator).tolist()
        label = torch.zeros(1, 24, 3, 3, dtype=torch.int64)
        label[:, first : first + 9], label[:, second : second + 6] = 1, 2
        mask, relation = one_hot(label, 3), (Relation(1, 2, 0),)
        violation = float(violations(mask, relation).values)
        kept = ClaimFilter(relation, share=share)(label, mask)
        for organ in (1, 2):
            ignored = float((~kept[label == organ]).float().mean())
            assert ignored <= violation / share + 1e-6


def test_only_sure_relations_filter():
    label = torch.zeros(1, 8, 4, 4, dtype=torch.int64)
    label[:, :3], label[:, 5:] = 1, 2
    sure, unsure = Relation(1, 2, 0, allowed=SURE), Relation(1, 2, 0, allowed=SURE + 0.01)
    other = Relation(1, 2, 1)
    assert not ClaimFilter((sure,))(label, one_hot(label, 3))[label > 0].any()
    assert ClaimFilter((unsure, other))(label, one_hot(label, 3)).all()
    with pytest.raises(ValueError, match=r"a relation with an allowed violation up to 0\.1"):
        ClaimFilter((unsure,))


def test_relations_are_no_part_of_a_state():
    modules = (ClaimFilter((Relation(1, 2, 0),)), RelationLoss((Relation(1, 2, 0),)))
    assert [list(module.state_dict()) for module in modules] == [[], []]
