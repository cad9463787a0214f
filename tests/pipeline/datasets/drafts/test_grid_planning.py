"""Grid, patch and cube from a fingerprint."""

from math import prod

import numpy as np
import pytest

from pipeline.datasets.drafts.fingerprint import CaseMeasures, Fingerprint, OrganMeasures
from pipeline.datasets.drafts.grid_planning import MEASURED_GIB, plan, size_of, window_hu


def fingerprint(spacing_mm, shape, thinnest_mm=20.0, values=(-80.0, 0.0, 200.0)):
    organ = OrganMeasures(50.0, (0.0, 0.0, 0.0), (40.0, thinnest_mm, 60.0))
    case = CaseMeasures("a", shape, spacing_mm, "LPS", np.array(values), {1: organ})
    return Fingerprint((case,), 1)


CLINICAL = fingerprint((0.7, 0.7, 2.5), (512, 512, 160))


@pytest.mark.parametrize("memory", [2, 4, 8, 10, 24, 80])
@pytest.mark.parametrize(
    "found", [CLINICAL, fingerprint((5.0, 5.0, 5.0), (70, 60, 50)),
              fingerprint((0.7, 0.7, 5.0), (512, 512, 20))],
)  # fmt: skip
def test_a_patch_is_whole_cubes_that_magicnet_takes(found, memory):
    made = plan(found, memory)
    assert made.cube >= 2 * 2 ** (made.levels - 1)
    assert not any(side % made.cube for side in made.patch)
    assert prod(side // made.cube for side in made.patch) >= 2
    assert prod(made.patch) <= max(memory / MEASURED_GIB * 96**3, 2 * made.cube**3)


def test_more_memory_gives_larger_patches_and_finer_grids():
    plans = [plan(CLINICAL, memory) for memory in (4, 10, 40)]
    assert [prod(one.patch) for one in plans] == sorted(prod(one.patch) for one in plans)
    assert [one.spacing_mm[0] for one in plans] == sorted(
        (p.spacing_mm[0] for p in plans), reverse=True
    )
    assert plans[0].coarser
    assert all(one.spacing_mm[0] == one.spacing_mm[1] for one in plans)
    assert plans[1].share >= 0.1


def test_a_coarser_grid_keeps_the_thinnest_organ():
    assert max(plan(fingerprint((0.5, 0.5, 0.5), (800, 800, 800), 4.0), 2).spacing_mm) <= 1.0


def test_the_window_ends_at_tens_outward_of_the_percentiles():
    assert window_hu(CLINICAL) == (-80, 200)
    assert window_hu(fingerprint((1.0, 1.0, 1.0), (9, 9, 9), values=(7.0, 7.0))) == (0, 10)
    with pytest.raises(ValueError, match="no voxel of any organ"):
        window_hu(fingerprint((1.0, 1.0, 1.0), (9, 9, 9), values=()))


def test_sizes_follow_the_volume():
    assert [size_of(volume) for volume in (5.0, 110.0, 155.0)] == ["small", "small", "large"]
