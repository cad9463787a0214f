"""Transfer of trained weights to the networks of a method."""

import pytest
import torch

from segmentation.networks.heads.conv import ConvHead
from segmentation.networks.network import Network
from segmentation.networks.vnet import VNet
from segmentation.training.transfer import networks_to_start, transfer
from tests.support.small_parts import make


def test_teachers_take_the_weights_and_a_second_student_does_not():
    source = Network(VNet(width=4, levels=3), ConvHead(4, 4)).state_dict()
    for name, taken, kept in (("ua_mt", 2, 0), ("cps", 1, 1)):
        method = make(name)
        take, keep = networks_to_start(method)
        assert (len(take), len(keep)) == (taken, kept)
        result = transfer(take[0], source, "abcd", "abcd")
        assert len(result.taken) == len(source)
        assert all(torch.equal(value, source[key]) for key, value in take[0].state_dict().items())


def test_rows_of_the_head_are_bit_equal_by_name_and_new_ones_stay():
    source = Network(VNet(width=4, levels=3), ConvHead(4, 4))
    network = Network(VNet(width=4, levels=3), ConvHead(4, 3))
    before = network.head.weight.detach().clone()
    result = transfer(network, source.state_dict(), ("background", "gut", "liver"),
                      ("background", "liver", "spleen", "stomach"))  # fmt: skip
    assert torch.equal(network.head.weight[2], source.head.weight[1])
    assert torch.equal(network.head.bias[0], source.head.bias[0])
    assert torch.equal(network.head.weight[1], before[1])
    assert not result.left


def test_rows_go_by_name_also_where_shapes_agree():
    source = Network(VNet(width=4, levels=3), ConvHead(4, 4))
    network = Network(VNet(width=4, levels=3), ConvHead(4, 4))
    transfer(network, source.state_dict(), "bcad", "abcd")
    for row, name in enumerate("bcad"):
        assert torch.equal(network.head.weight[row], source.head.weight["abcd".index(name)])


def test_a_network_that_nothing_fits_is_refused():
    source = Network(VNet(width=6, levels=3), ConvHead(6, 4)).state_dict()
    with pytest.raises(ValueError, match="no weight has a name and shape"):
        transfer(Network(VNet(width=4, levels=3), ConvHead(4, 4)), source, "abcd", "abcd")
