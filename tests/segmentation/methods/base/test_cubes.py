import pytest
import torch

from segmentation.methods.base.cubes import draw_exchange, exchange, partition, recover

GRIDS = [(3, 3, 3), (2, 2, 2), (1, 2, 3)]


def volumes(grid, side=4, batch=2, channels=3):
    return torch.rand(batch, channels, *(count * side for count in grid))


@pytest.mark.parametrize("grid", GRIDS)
def test_recovery_undoes_partition(grid):
    whole = volumes(grid)
    assert torch.equal(recover(partition(whole, grid), grid), whole)


def test_cubes_are_numbered_with_the_last_axis_fastest():
    whole = volumes((3, 3, 3))
    cubes = partition(whole, (3, 3, 3))
    for x in range(3):
        for y in range(3):
            for z in range(3):
                block = whole[:, :, 4 * x : 4 * x + 4, 4 * y : 4 * y + 4, 4 * z : 4 * z + 4]
                assert torch.equal(cubes[:, 9 * x + 3 * y + z], block)


def test_the_published_order_exchanges_first_and_last_axis_of_the_cube_grid():
    whole, grid = volumes((3, 3, 3)), (3, 3, 3)
    published = recover(partition(whole, grid), grid, "published")
    right = 0
    for x in range(3):
        for y in range(3):
            for z in range(3):
                here = (..., *(slice(4 * k, 4 * k + 4) for k in (x, y, z)))
                there = (..., *(slice(4 * k, 4 * k + 4) for k in (z, y, x)))
                assert torch.equal(published[here], whole[there])
                right += torch.equal(published[here], whole[here])
    assert right == 9  # the other 18 of 27 cubes are in the wrong place


@pytest.mark.parametrize("grid", GRIDS)
def test_an_exchange_is_undone_by_the_inverse_permutation(grid):
    whole = volumes(grid, batch=4)
    cubes = grid[0] * grid[1] * grid[2]
    sources = draw_exchange(4, cubes, torch.Generator().manual_seed(0))
    mixed = exchange(whole, sources, grid)
    assert not torch.equal(mixed, whole)
    assert torch.equal(exchange(mixed, sources.argsort(0), grid), whole)


def test_exchanged_cubes_keep_their_place_and_come_from_the_drawn_volume():
    grid = (2, 2, 2)
    whole = volumes(grid, batch=4)
    sources = draw_exchange(4, 8, torch.Generator().manual_seed(1))
    before, after = partition(whole, grid), partition(exchange(whole, sources, grid), grid)
    for b in range(4):
        for i in range(8):
            assert torch.equal(after[b, i], before[sources[b, i], i])
    assert all(sorted(sources[:, i].tolist()) == [0, 1, 2, 3] for i in range(8))


def test_the_same_exchange_works_at_the_resolution_of_features():
    grid, batch = (3, 3, 3), 4
    sources = draw_exchange(batch, 27, torch.Generator().manual_seed(2))
    fine = volumes(grid, side=8, batch=batch, channels=1)
    pooled = torch.nn.functional.avg_pool3d(fine, 4)
    torch.testing.assert_close(
        torch.nn.functional.avg_pool3d(exchange(fine, sources, grid), 4),
        exchange(pooled, sources, grid),
    )


def test_sides_that_the_grid_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="equal parts"):
        partition(torch.rand(1, 1, 10, 9, 9), (3, 3, 3))


def test_an_unknown_order_is_answered_with_the_known_ones():
    with pytest.raises(LookupError, match="correct, published"):
        recover(torch.rand(1, 8, 1, 2, 2, 2), (2, 2, 2), "fixed")
