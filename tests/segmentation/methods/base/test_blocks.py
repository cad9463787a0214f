import pytest
import torch

from segmentation.methods.base.blocks import sort_into_blocks


@pytest.mark.parametrize("most", [0, 1, 3, 4])
@pytest.mark.parametrize("vectors", [1, 255, 256, 257, 3000])
def test_every_vector_of_an_organ_has_one_place_in_a_block_of_that_organ(vectors, most):
    g = torch.Generator().manual_seed(vectors)
    kinds = torch.randint(most, 5, (vectors,), generator=g)  # the last organ alone: the worst case
    blocks = sort_into_blocks(kinds, 4)
    places = [
        (row, organ + 1)
        for organ, rows, there in zip(*(part.tolist() for part in blocks[:3]), strict=True)
        for row, here in zip(rows, there, strict=True)
        if here
    ]
    assert sorted(places) == [(row, kind) for row, kind in enumerate(kinds.tolist()) if kind > 0]
    assert blocks.counts.tolist() == [kinds.tolist().count(organ) for organ in (1, 2, 3, 4)]
    values = torch.randn(vectors, 3, generator=g)
    sums = torch.stack([values[kinds == organ].sum(0) for organ in (1, 2, 3, 4)])
    torch.testing.assert_close(blocks.sums(blocks.gather(values)), sums, atol=1e-4, rtol=1e-4)
