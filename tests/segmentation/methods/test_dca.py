"""DCA: groups, label split, stitched logits, and where gradients go."""

import math

import pytest
import torch
from torch.nn import functional as F

from segmentation.methods.dca import DCA, ExpertMixture, class_groups
from segmentation.networks.vnet import Unit
from tests.support.small_parts import CLASSES, LATE, batch, builder, context_of, make, make_tiny


def groups(*organs):
    return class_groups([1e6, *organs])[1:]


def test_the_largest_gaps_of_the_logarithms_separate_the_groups():
    # Sorted: 90000 70000 | 2000 1500 1100 | 60 50; gaps 0.25, 3.56, 0.29, 0.31, 2.91, 0.18.
    assert groups(1500, 90_000, 60, 2000, 70_000, 50, 1100) == [1, 0, 2, 1, 0, 2, 1]


def test_the_second_border_lies_after_the_first_even_where_the_last_gap_is_the_largest():
    assert groups(1000, 800, 700, 1) == [0, 1, 1, 2]


def test_an_organ_without_a_voxel_is_a_tail_class_and_background_has_no_group():
    assert class_groups([9e9, 1000, 0, 10]) == [-1, 0, 2, 1]


def test_fewer_than_three_organs_are_refused():
    with pytest.raises(ValueError, match="at least 3 organs, one per group, got 2"):
        groups(5, 6)


def test_experts_have_the_published_depths_and_dilations():
    method = make("dca")

    def stages(expert):
        return [[unit[0] for unit in stage if isinstance(unit, Unit)] for stage in expert.decoder]

    counts = [[len(stage) for stage in stages(expert)] for expert in method.experts]
    assert counts == [[1, 1], [1, 2], [2, 3]]
    dilations = [stages(expert)[0][0].dilation[0] for expert in method.experts]
    assert dilations == [2, 1, 1]


def expert_logits(method, images):
    features = method.network.encode(images)
    return method._expert_logits(features, method._pyramids(features))


def test_an_expert_learns_labels_in_which_organs_of_other_groups_are_background():
    method, patches = make("dca"), batch()
    terms = method.losses(patches, LATE)
    expected = 0.0
    with torch.no_grad():
        for number, logits in enumerate(expert_logits(method, patches.image)):
            label = patches.label.clone()
            for index in range(CLASSES):
                if method.group[index] != number:
                    label[label == index] = 0
            expected += 0.5 * float(F.cross_entropy(logits, label))
    assert terms["cross_entropy"].item() == pytest.approx(expected, rel=1e-4)


def test_stitched_logits_are_those_of_the_responsible_expert():
    method = make("dca")
    logits = [torch.randn(2, CLASSES, 3, 4, 5) for _ in range(3)]
    stitched = method._stitched(logits)
    for index in range(1, CLASSES):
        assert torch.equal(stitched[:, index], logits[int(method.group[index])][:, index])
    torch.testing.assert_close(stitched[:, 0], sum(each[:, 0] for each in logits) / 3)


def test_the_aggregator_learns_the_stitched_labels_of_unlabeled_patches():
    method, patches = make("dca", consistency_ramp=0), batch()
    terms = method.losses(patches, LATE)
    with torch.no_grad():
        # Instance norm: every patch is normalized alone, so the batch does not matter.
        stitched = method._stitched(expert_logits(method, patches.unlabeled))
        joined = method.predict(patches.unlabeled)
        target = stitched.argmax(1)
        loss = F.cross_entropy(joined, target) + method.loss.dice(joined, target)
    assert terms["pseudo"].item() == pytest.approx(10 * 0.5 * float(loss), rel=1e-4)


@pytest.mark.parametrize("encoder_learns", [True, False])
def test_no_gradient_of_the_pseudo_labels_reaches_an_expert(encoder_learns):
    method = make("dca", encoder_learns=encoder_learns)
    method.losses(batch(), LATE)["pseudo"].backward()
    assert all(weight.grad is None for weight in method.experts.parameters())
    assert all(weight.grad is not None for weight in method.mixtures.parameters())
    reached = [weight.grad is not None for weight in method.network.vnet.encoder.parameters()]
    assert all(reached) if encoder_learns else not any(reached)


def test_a_mixture_is_a_weighted_mean_of_projected_features():
    mixture = ExpertMixture(4)
    features = [torch.randn(1, 4, 3, 3, 3) for _ in range(3)]
    projected = torch.stack([p(f) for p, f in zip(mixture.projections, features, strict=True)])
    mixed = mixture(features)
    assert (mixed <= projected.amax(0) + 1e-5).all()
    assert (mixed >= projected.amin(0) - 1e-5).all()
    with torch.no_grad():
        mixture.weights[-1].weight.zero_()
        mixture.weights[-1].bias.copy_(torch.tensor([0.0, math.log(3), -50]))
    expected = 0.25 * projected[0] + 0.75 * projected[1]
    torch.testing.assert_close(mixture(features), expected, atol=1e-5, rtol=1e-4)


def test_both_predictors_can_be_scored_and_differ():
    method, image = make_tiny("dca"), batch().image
    aggregate, experts = (method.predict(image, name) for name in ("aggregate", "experts"))
    assert aggregate.shape == experts.shape == (2, CLASSES, *image.shape[2:])
    assert not torch.allclose(aggregate, experts)
    torch.testing.assert_close(method.predict(image), aggregate)


def test_groups_come_with_the_state():
    one, other = make("dca"), make("dca", seed=1)
    other.group.fill_(0)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.group, other.group)


def test_counts_of_the_labeled_cases_are_needed():
    with pytest.raises(ValueError, match="voxels in the labeled cases"):
        DCA(context_of(builder(), voxels=None))
