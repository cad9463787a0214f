"""DICOM series written by SimpleITK, and an oblique image to write."""

import locale

import numpy as np
import SimpleITK
from scipy.spatial.transform import Rotation

OBLIQUE = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()


def oblique_image(shape=(7, 6, 5)) -> SimpleITK.Image:
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape[::-1]) - 100
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((0.8, 1.1, 2.5))
    image.SetOrigin((-40.0, 25.0, 7.0))
    image.SetDirection(OBLIQUE.ravel().tolist())
    return image


SLOPE, INTERCEPT = 2.0, -1024.0


def write_series(
    folder, image: SimpleITK.Image, series="1.2.826.0.1.3680043.2.1125.1", tilt=0.0
) -> None:
    """One file per slice; their names run against their positions."""
    folder.mkdir(exist_ok=True)
    # The writer of GDCM leaves the locale C, in which later tests would read ASCII alone.
    before = locale.setlocale(locale.LC_ALL)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.array(image.GetDirection()).reshape(3, 3)
    depth = image.GetSize()[2]
    for k in range(depth):
        flat = image[:, :, k]
        position = image.TransformIndexToPhysicalPoint((0, 0, k))
        position = (position[0], position[1] + 2.5 * tilt * k, position[2])
        tags = {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0020|000e": series,
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
            "0008|0018": f"{series}.{k + 1}",
            "0020|0032": "\\".join(f"{value:.6f}" for value in position),
            "0020|0037": "\\".join(f"{value:.8f}" for value in direction.T[:2].ravel()),
            "0020|0013": str(depth - k),
            "0020|0052": "1.2.826.0.1.3680043.2.1125.4",
            "0028|1052": str(INTERCEPT),
            "0028|1053": str(SLOPE),
        }
        for tag, value in tags.items():
            flat.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"slice{depth - k:03}{series[-1]}.dcm"))
        writer.Execute(flat)
    locale.setlocale(locale.LC_ALL, before)
