"""Truth and prediction of a case as surfaces: packed meshes, and still pictures of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.report.cases import ShownCase
from pipeline.report.surfaces.meshes import case_meshes
from pipeline.report.surfaces.packing import PackedMeshes, pack_meshes
from pipeline.report.surfaces.still import still
from segmentation.imaging.colors import colors

MASKS = {"truth": "Truth", "prediction": "Prediction"}


@dataclass(frozen=True, eq=False)
class CaseSurfaces:
    """One case for the view that turns.

    Attributes:
        stills: of `truth` and `prediction`, [size, size, RGBA], framed alike.
    """

    name: str
    rank: str
    packed: PackedMeshes
    stills: dict[str, NDArray[np.uint8]]


def case_surfaces(case: ShownCase, classes: Sequence[str]) -> CaseSurfaces:
    """The surfaces of all organs of a case."""
    meshes = case_meshes(case, classes)
    frame = [mesh.points for each in meshes.values() for mesh in each.values()]
    frame = frame or [np.zeros((1, 3))]
    shades = colors(classes)
    stills = {name: still(meshes[name], shades, frame=frame) for name in MASKS}
    return CaseSurfaces(case.name, case.rank, pack_meshes(meshes), stills)
