"""Phantoms exported as other repositories share their arrays, by nibabel and scipy alone."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from scipy.ndimage import zoom

ORIENTATION = {"npy-ga": "LPS", "npy-dhc": "SPR", "h5-magicnet": "RAS"}


def upright(path: Path, spacing_mm: float, order: int) -> np.ndarray:
    """A NIfTI file in RAS+ at about that spacing over the same field of view, float32."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    array = np.asarray(image.dataobj, dtype=np.float32)
    extent = np.multiply(array.shape, image.header.get_zooms())
    factors = np.rint(extent / spacing_mm) / array.shape
    return zoom(array, factors, order=order, mode="nearest", grid_mode=True)


def pairs(root: Path, spacing_mm: float = 7.0) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Image and mask of every scan of a population, in RAS+, by case."""
    found = {}
    for path in sorted(root.glob("images*/*.nii.gz")):
        case = path.name.removesuffix("_0000.nii.gz")
        mask = next(root.glob(f"labels*/{case}.nii.gz"), None)
        labels = None if mask is None else upright(mask, spacing_mm, 0)
        found[case] = upright(path, spacing_mm, 1), labels
    return found


def turned(array: np.ndarray, codes: str) -> np.ndarray:
    """An array in RAS+ with its axes running as `codes` says."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    return np.ascontiguousarray(apply_orientation(array, turn))


def store(folder: Path, case: str, layout: str, image: np.ndarray, labels: np.ndarray) -> None:
    """Write one case, in the axes that it has; labels as float32, as DHC does."""
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "h5-magicnet":
        with h5py.File(folder / f"{case}.h5", "w") as file:
            file["image"], file["label"] = image, labels.astype(np.uint8)
        return
    np.save(folder / f"{case}_image.npy", image)
    np.save(folder / f"{case}_label.npy", labels.astype(np.float32))


def export(root: Path, out: Path, layout: str, *, codes: str | None = None) -> None:
    """A whole population as a shared folder, with its descriptor and its lists of cases.

    Cases without a mask get one that is empty; MagicNet's intensities become mean 0, deviation 1.
    """
    for case, (image, labels) in pairs(root).items():
        if layout == "h5-magicnet":
            image = (image - image.mean()) / image.std()
        labels = np.zeros(image.shape) if labels is None else labels
        way = codes or ORIENTATION[layout]
        store(out, case, layout, turned(image, way), turned(labels, way))
    (out / "dataset.toml").write_text((root / "dataset.toml").read_text())
    (out / "splits").mkdir()
    for path in (root / "splits").iterdir():
        (out / "splits" / path.name).write_text(path.read_text())
