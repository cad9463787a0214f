import pytest
import torch
from torch.nn import functional as F

from segmentation.losses import GA, DiceCE
from segmentation.methods.base.cubes import partition, recover
from segmentation.methods.base.method import Batch, MethodContext
from segmentation.methods.magicnet import MagicNet
from segmentation.methods.supervised import Supervised
from segmentation.networks.alignments.contrast import Contrast
from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.heads.text import TextHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet

CLASSES, SIDE, CUBE = 5, 32, 16
LATE = 40  # of 100 steps: blending and contrast are on


def build(head="text", contrast=True):
    def make():
        vnet = VNet(width=4, levels=4)
        vectors = 3 * torch.randn(CLASSES, 2, 12)
        deep = vnet.widths[-3:]
        text = head == "text"
        aligned = Contrast(deep, 12, own_deepest=not text, samples=(4, 3, 2))
        chosen = TextHead(4, deep, 2, 12) if text else ConvHead(4, CLASSES)
        return Network(vnet, chosen, aligned if contrast else None, vectors)

    return make


def context_of(build, loss=None, warmup_steps=0):
    return MethodContext(build, loss or GA(), 100, CLASSES, (SIDE,) * 3, warmup_steps=warmup_steps)


def method(head="text", contrast=True, loss=None, *, warmup_steps=0, **options):
    torch.manual_seed(0)
    sizes = {"cube": CUBE, "location_hidden": 32, **options}
    return MagicNet(context_of(build(head, contrast), loss, warmup_steps), **sizes)


def batch(seed=0, labeled=2, unlabeled=2):
    g = torch.Generator().manual_seed(seed)
    shape = (SIDE,) * 3
    return Batch(
        image=torch.rand(labeled, 1, *shape, generator=g),
        label=torch.randint(0, CLASSES, (labeled, *shape), generator=g),
        unlabeled=torch.rand(unlabeled, 1, *shape, generator=g),
    )


@pytest.mark.parametrize("head", ["conv", "text"])
@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("loss", [GA(), DiceCE()])
def test_every_term_teaches(head, contrast, loss):
    net = method(head, contrast, loss)
    net.losses(batch(), 0)  # counts organs, so that blending has weights
    terms = net.losses(batch(), LATE)
    assert ("contrast" in terms) == contrast
    for name, value in terms.items():
        assert value.requires_grad, name
        assert value > 0, name
        weights = [p for p in net.parameters() if p.requires_grad]
        reached = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        assert sum(float(g.abs().sum()) for g in reached if g is not None) > 0, name


def test_every_parameter_learns_and_the_teacher_does_not():
    net = method()
    sum(net.losses(batch(), LATE).values()).backward()
    for name, parameter in net.network.named_parameters():
        assert parameter.grad is not None, name
    assert all(parameter.grad is None for parameter in net.teacher.parameters())


def test_terms_are_the_ones_of_the_paper_put_together_slowly():
    """Cubes one by one, images one by one, no shared passes (conv head, squared Dice)."""
    net = method("conv", False, DiceCE()).eval()  # BatchNorm of the location MLP: fixed statistics
    data = batch()
    terms = net.losses(data, LATE)
    images = torch.cat([data.image, data.unlabeled])
    g = net.generator(LATE, images.device)
    noise = torch.rand(4, 8, generator=g)
    sources = noise.argsort(0)
    mixed = torch.zeros_like(images)
    places = [(x, y, z) for x in (0, 16) for y in (0, 16) for z in (0, 16)]
    for i, (x, y, z) in enumerate(places):
        where = (slice(None), slice(x, x + 16), slice(y, y + 16), slice(z, z + 16))
        for b in range(4):
            mixed[b][where] = images[sources[b, i]][where]
    decoded = torch.cat([net.network.vnet(image[None]) for image in mixed])
    crossed = torch.zeros_like(decoded)
    for i, (x, y, z) in enumerate(places):
        where = (slice(None), slice(x, x + 16), slice(y, y + 16), slice(z, z + 16))
        for b in range(4):
            crossed[sources[b, i]][where] = decoded[b][where]
    logits = net.network.logits(crossed[:2], [])
    expected = net.loss.dice(logits, data.label) / 4
    torch.testing.assert_close(terms["cross_dice"], expected, atol=1e-5, rtol=1e-4)

    within, guesses = torch.zeros(2, 4, *(SIDE,) * 3), []
    for b in range(4):
        for x, y, z in places:
            cube = images[b : b + 1, :, x : x + 16, y : y + 16, z : z + 16]
            features = net.network.encode(cube)
            guesses.append(net.location(features[-1].flatten(1)))
            if b < 2:
                part = net.network.decode(features)[0]
                within[b, :, x : x + 16, y : y + 16, z : z + 16] = part
    expected = net.loss.dice(net.network.logits(within, []), data.label) / 4
    torch.testing.assert_close(terms["within_dice"], expected, atol=1e-5, rtol=1e-4)
    location = F.cross_entropy(torch.cat(guesses), torch.arange(8).repeat(4))
    torch.testing.assert_close(terms["location"], 0.1 * location, atol=1e-5, rtol=1e-4)

    plain = net.network(data.image).logits
    torch.testing.assert_close(
        terms["cross_entropy"], F.cross_entropy(plain, data.label) / 4, atol=1e-5, rtol=1e-4
    )


def test_the_published_order_scores_cubes_against_the_wrong_labels():
    label = batch().label[:1]
    perfect = 50.0 * F.one_hot(label, CLASSES).movedim(-1, 1).float()
    cubes = partition(perfect, (2, 2, 2))
    loss = DiceCE()
    assert loss.dice(recover(cubes, (2, 2, 2)), label) < 1e-5
    assert loss.dice(recover(cubes, (2, 2, 2), "published"), label) > 0.2
    right = method("conv", False).losses(batch(), LATE)["within_dice"]
    wrong = method("conv", False, cube_order="published").losses(batch(), LATE)["within_dice"]
    assert not torch.isclose(right, wrong, rtol=1e-6)


def test_the_most_frequent_class_comes_from_the_cubes_and_a_rare_one_from_the_teacher():
    net = method("conv", False)
    net.organ_counts.copy_(torch.tensor([1000.0, 0, 0, 0, 0]))
    data = batch()
    g = net.generator(LATE, torch.device("cpu"))
    pseudo = net._teacher_pass(data.unlabeled, g)
    images = torch.cat([data.image, data.unlabeled])
    cubes = net.network.encode(partition(images, net.grid).flatten(0, 1))
    blended = net._blended_logits(data, cubes, pseudo)
    rare = (pseudo.label > 0)[:, None].expand_as(pseudo.logits)
    torch.testing.assert_close(blended[rare], pseudo.logits[rare])
    own = net._recovered_logits(net.network, [level[16:] for level in cubes])
    frequent = (pseudo.label == 0)[:, None].expand_as(pseudo.logits)
    torch.testing.assert_close(blended[frequent], own[frequent])


@pytest.mark.parametrize("blend", ["student", "teacher", "mixed"])
@pytest.mark.parametrize("controller", ["image", "cube"])
def test_every_way_of_blending_runs_and_they_differ(blend, controller):
    def value(**options):
        net = method(**options)
        for parameter in net.teacher.parameters():
            parameter.data.mul_(0.9)
        net.organ_counts.fill_(1)
        data = batch()
        pseudo = net._teacher_pass(data.unlabeled, net.generator(0, torch.device("cpu")))
        cubes = net.network.encode(
            partition(torch.cat([data.image, data.unlabeled]), net.grid).flatten(0, 1)
        )
        return net._blended_logits(data, cubes, pseudo)

    found = value(blend=blend, blend_controller=controller)
    assert torch.isfinite(found).all()
    if (blend, controller) != ("student", "image"):
        assert not torch.allclose(found, value(), atol=1e-4)


def test_organ_counts_are_refreshed_on_schedule_from_what_was_stored():
    net = method("conv", False, count_every=3)
    seen = []
    for step in range(4):
        before = net.organ_counts.clone()
        net.losses(batch(step), step)
        seen.append(not torch.equal(before, net.organ_counts))
    assert seen == [True, False, False, True]
    assert net.organ_counts.sum() == 3 * 2 * SIDE**3  # steps 1, 2, 3 with two patches each


def test_the_same_step_draws_the_same_and_another_step_draws_anew():
    first, again, other = (method().losses(batch(), step) for step in (LATE, LATE, LATE + 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["cross_dice"], other["cross_dice"])


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 1), (2, 1), (1, 3)])
def test_any_number_of_patches_works(labeled, unlabeled):
    terms = method().losses(batch(0, labeled, unlabeled), LATE)
    assert all(torch.isfinite(value) for value in terms.values())


def test_patches_of_background_alone_give_finite_losses():
    data = batch()
    empty = Batch(data.image, torch.zeros_like(data.label), data.unlabeled)
    terms = method().losses(empty, LATE)
    assert all(torch.isfinite(value) for value in terms.values())


def test_the_warm_up_learns_from_labels_alone_and_keeps_the_teacher_close():
    net = method(warmup_steps=5)
    assert set(net(batch(), 4)) == {"cross_entropy", "dice"}
    assert "consistency" in net(batch(), 5)
    for parameter in net.network.parameters():
        parameter.data.add_(0.1)
    net.after_step(4)
    assert all(
        torch.equal(a, b)
        for a, b in zip(net.teacher.parameters(), net.network.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cube": 24}, r"training\.patch = .* cannot be cut into cubes of method\.cube = 24"),
        ({"cube": 32}, r"is a single cube of method\.cube = 32.*; method\.cube = 16 fits"),
        ({"blend": "both"}, "there is student, teacher, mixed"),
        ({"cube_order": "fixed"}, "there is correct, published"),
        ({"warmup_steps": 100}, "warmup_steps: expected 0 to"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises((ValueError, LookupError), match=message):
        method(**options)


def test_supervised_takes_the_contrast_when_its_share_of_the_run_has_come():
    net = Supervised(context_of(build()))
    data = Batch(batch().image, batch().label, torch.zeros(0, 1, SIDE, SIDE, SIDE))
    assert set(net.losses(data, 0)) == {"cross_entropy", "dice"}
    assert net.losses(data, LATE)["contrast"] > 0


def test_an_unknown_predictor_is_answered_with_the_known_ones():
    with pytest.raises(LookupError, match="student, teacher"):
        method().predict(batch().image, "mentor")


def test_a_fresh_teacher_is_random_in_the_first_step_and_the_student_from_the_second():
    fresh = method(teacher_start="fresh")
    same = [torch.equal(a, b) for a, b in zip(
        fresh.teacher.parameters(), fresh.network.parameters(), strict=True
    )]  # fmt: skip
    assert not all(same)
    fresh.after_step(0)
    for teacher, student in zip(
        fresh.teacher.parameters(), fresh.network.parameters(), strict=True
    ):
        assert torch.equal(teacher, student)
    with pytest.raises(LookupError, match="no teacher_start 'old'; there is copy, fresh"):
        method(teacher_start="old")


def test_blending_begins_after_a_number_of_steps(monkeypatch):
    """The released code blends from the step with index 101 on, whatever the length of the run."""
    late, blended = method("conv", False, blend_after=3), []
    blend = late._blended_logits
    monkeypatch.setattr(late, "_blended_logits", lambda *given: blended.append(1) or blend(*given))
    counts = []
    for step in range(2, 6):
        late.losses(batch(), step)
        counts.append(len(blended))
    assert counts == [0, 0, 1, 2]
