"""Class probabilities of a scan as one NIfTI file per organ, written without holding them all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segmentation.common.files import replacing_folder
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.io import write_image
from segmentation.imaging.volume import Volume, canonical_shape, from_canonical
from segmentation.inference.prediction import PlaneSink

STEPS = 255  # probabilities are stored as whole numbers of 1 / STEPS


def file_of(folder: Path, organ: str) -> Path:
    """`right_kidney.nii.gz` in the folder."""
    return folder / f"{'_'.join(organ.split())}.nii.gz"


@contextmanager
def kept_probabilities(
    folder: Path | None, scan: Volume, spec: DatasetSpec, organs: Sequence[str]
) -> Iterator[PlaneSink | None]:
    """A function that writes planes of probabilities to `folder`/ORGAN.nii.gz; None for None.

    Until the end they lie in a file beside the folder, one byte per voxel and organ, not in
    memory. The files hold whole numbers and the scale 1/255 in their header, as readers of NIfTI
    apply it. The folder appears when all went well and replaces an earlier one.
    """
    if folder is None:
        yield None
        return
    shape = canonical_shape(scan.affine, scan.voxels.shape)
    labels = [spec.labels[name] for name in organs]
    with replacing_folder(folder) as new:
        raw = new / ".raw"
        # Written as a file, not through memory: where a disk is full, that ends the process.
        with raw.open("wb") as file:

            def keep(x: int, plane: Tensor) -> None:
                steps = (plane[labels] * STEPS).round().to(torch.uint8).cpu().numpy()
                file.seek(x * steps.nbytes)
                file.write(steps.tobytes())

            yield keep
        maps = np.memmap(raw, np.uint8, "r", shape=(shape[0], len(labels), *shape[1:]))
        for place, name in enumerate(organs):
            back = from_canonical(np.asarray(maps[:, place]), scan.affine, scan.voxels.shape)
            write_image(file_of(new, name), back, scan.affine, scale=1 / STEPS)
        del maps  # Windows removes no file that is mapped
        raw.unlink()
