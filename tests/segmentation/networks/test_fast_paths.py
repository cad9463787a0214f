"""What is fast on a CPU against the plain way: values, gradients, layouts of memory."""

import pytest
import torch
from torch.nn import functional as F

from segmentation.losses import most_probable
from segmentation.methods.base.cubes import draw_exchange, exchange, partition, recover
from segmentation.networks.instance_norm import instance_norm_relu
from segmentation.networks.narrow_conv import is_narrow, narrow_conv3d
from segmentation.networks.vnet import VNet, channels_last

LAST = torch.channels_last_3d


def compare(fast, plain, inputs, **tolerance):
    """Both results and all gradients of a random weighting of them."""
    results = []
    for function in (fast, plain):
        leaves = [value.detach().clone().requires_grad_() for value in inputs]
        made = function(*leaves)
        weight = torch.randn(made.shape, generator=torch.Generator().manual_seed(0)).to(made)
        results.append((made, *torch.autograd.grad((made * weight).sum(), leaves)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def plain_norm(features, scale=None, shift=None):
    return F.relu(F.instance_norm(features, weight=scale, bias=shift, eps=1e-5))


@pytest.mark.parametrize(
    "shape", [(3, 8, 16, 16, 16), (2, 6, 15, 13, 11), (5, 64, 2, 2, 2), (2, 16, 40, 32, 32)]
)
@pytest.mark.parametrize("affine", [False, True])
def test_norm_and_relu_in_one_step_are_those_of_torch(shape, affine):
    features = (torch.randn(shape, dtype=torch.float64) + 2).contiguous(memory_format=LAST)
    vectors = [torch.randn(shape[1], dtype=torch.float64) for _ in range(2 * affine)]
    compare(instance_norm_relu, plain_norm, [features, *vectors])


def test_norm_is_as_exact_in_fp32_as_torch_where_most_of_the_gradient_cancels():
    features = torch.randn(2, 8, 24, 24, 24) + 3
    gradient = 1 + 0.5 * features + 0.01 * torch.randn_like(features)
    faults, results = [], []
    for function, kind in [(plain_norm, torch.float64), (plain_norm, torch.float32),
                           (instance_norm_relu, torch.float32)]:  # fmt: skip
        leaf = features.to(kind).requires_grad_()
        results.append(torch.autograd.grad(function(leaf), leaf, gradient.to(kind))[0].double())
    for result in results[1:]:
        faults.append((result - results[0]).norm())
    assert faults[1] < 2 * faults[0]


def test_norm_of_features_that_never_vary_is_zero():
    features = torch.full((1, 8, 16, 16, 16), 3.0)
    assert instance_norm_relu(features).abs().max() < 1e-6


def test_norm_of_a_single_voxel_is_refused():
    with pytest.raises(ValueError, match="one voxel"):
        instance_norm_relu(torch.rand(2, 3, 1, 1, 1))


@pytest.mark.parametrize("shape", [(2, 8, 6, 5, 4), (1, 4, 3, 3, 8), (3, 2, 4, 2, 2)])
def test_a_paired_convolution_is_the_plain_one(shape):
    channels = shape[1]
    inputs = [torch.randn(shape), torch.randn(channels, channels, 3, 3, 3), torch.randn(channels)]
    compare(
        narrow_conv3d, lambda x, w, b: F.conv3d(x, w, b, padding=1), [v.double() for v in inputs]
    )
    assert narrow_conv3d(*inputs).is_contiguous(memory_format=LAST)


def test_only_few_channels_and_even_sides_are_paired():
    def asked(channels, z, **options):
        convolution = torch.nn.Conv3d(
            channels, channels, **{"kernel_size": 3, "padding": 1} | options
        )
        return is_narrow(convolution, torch.rand(1, channels, 4, 4, z))

    assert asked(8, 4)
    assert not asked(8, 5)
    assert not asked(16, 4)
    assert not asked(8, 4, kernel_size=2, stride=2, padding=0)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_network_is_the_same_in_either_layout_of_memory(norm):
    torch.manual_seed(0)
    net = VNet(width=8, levels=4, norm=norm).double()
    image = torch.rand(2, 1, 16, 16, 32, dtype=torch.float64)

    def plain(image):
        """Convolution, norm and ReLU of every unit as modules."""

        def unit(part, x):
            for module in part:
                x = module(x)
            return x

        def stage(parts, x):
            for part in parts:
                x = unit(part, x)
            return x

        levels = [stage(net.encoder[0], image)]
        for down, encoder in zip(net.down, net.encoder[1:], strict=True):
            levels.append(stage(encoder, unit(down, levels[-1])))
        current = levels[-1]
        for level in reversed(range(3)):
            current = stage(net.decoder[level], unit(net.up[level], current) + levels[level])
        return current

    weights = [weight for name, weight in net.named_parameters() if name.endswith("weight")]
    found = [(made, *torch.autograd.grad(made.square().sum(), weights))
             for made in (net(image), plain(image))]  # fmt: skip
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_convolution_stays_in_channels_last_memory_whatever_the_channels(channels):
    volume = torch.randn(2, channels, 12, 10, 8, dtype=torch.float64)
    weight = torch.randn(8, channels, 3, 3, 3, dtype=torch.float64)
    for given in (volume, volume.contiguous(memory_format=LAST), volume.flip(-1)[..., ::2]):
        convolved = F.conv3d(channels_last(given.float()), weight.float())
        assert convolved.is_contiguous(memory_format=LAST)

    def fast(volume, weight):
        return F.conv3d(channels_last(volume), weight, padding=1)

    def plain(volume, weight):
        return F.conv3d(volume, weight, padding=1)

    compare(fast, plain, [volume, weight])


@pytest.mark.parametrize("grid", [(2, 2, 2), (1, 2, 3)])
def test_cubes_are_the_same_in_either_layout_of_memory(grid):
    volumes = torch.rand(3, 4, *(4 * count for count in grid))
    last = volumes.contiguous(memory_format=LAST)
    sources = draw_exchange(3, grid[0] * grid[1] * grid[2], torch.Generator().manual_seed(0))
    assert torch.equal(partition(last, grid), partition(volumes, grid))
    assert torch.equal(exchange(last, sources, grid), exchange(volumes, sources, grid))
    assert exchange(last, sources, grid).is_contiguous(memory_format=LAST)
    joined = recover(partition(last, grid), grid)
    assert joined.is_contiguous(memory_format=LAST)
    assert torch.equal(joined, volumes)


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_the_gradient_of_an_exchange_goes_back_to_where_the_voxel_came_from(layout):
    volumes = torch.rand(4, 2, 4, 4, 4, dtype=torch.float64).contiguous(memory_format=layout)
    sources = draw_exchange(4, 8, torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(
        lambda x: exchange(x, sources, (2, 2, 2)), volumes.requires_grad_()
    )


def test_the_most_probable_class_is_the_first_of_the_largest():
    scores = torch.randint(0, 4, (2, 14, 5, 6, 7)).float()  # many ties
    assert torch.equal(most_probable(scores), scores.argmax(1))
    many = torch.randint(0, 3, (1, 300, 5, 4, 3)).float()  # more classes than a byte counts
    assert torch.equal(most_probable(many), many.argmax(1))
    scores[0, :, 0] = float("nan")
    assert most_probable(scores).max() < 14  # an index still, so that the loss can say NaN


def test_recomputed_stages_give_the_same_values_and_gradients():
    torch.manual_seed(0)
    plain = VNet(width=4, levels=4)
    again = VNet(width=4, levels=4, recompute=True)
    again.load_state_dict(plain.state_dict())
    image = torch.rand(2, 1, 16, 16, 16)
    found = [
        (made, *torch.autograd.grad(made.square().sum(), list(net.parameters())))
        for net in (plain, again)
        for made in [net(image)]
    ]
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_recomputing_keeps_fewer_bytes_for_the_backward_pass():
    def kept(**options):
        held = {}

        def remember(tensor):
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        net, image = VNet(width=8, levels=4, **options), torch.rand(2, 1, 32, 32, 32)
        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            made = net(image)
        assert made.requires_grad
        return sum(held.values())

    assert kept(recompute=True) < 0.6 * kept()


def test_recomputing_with_batch_norm_is_refused():
    with pytest.raises(ValueError, match="twice"):
        VNet(norm="batch", recompute=True)
