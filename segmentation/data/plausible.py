"""Whether organs are as large as organs are: what notices a wrong voxel size."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import geometric_mean

Bounds = tuple[float, float, float]
_FEWEST = 3  # organs that must be judged


def read_bounds(path: Path) -> dict[str, Bounds]:
    """Least, usual and most volume in ml by organ name, from a TOML file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        name: (float(low), float(usual), float(most)) for name, (low, usual, most) in table.items()
    }


def doubt_of_spacing(
    volumes_ml: Mapping[str, float],
    spacing_mm: tuple[float, float, float],
    bounds: Mapping[str, Bounds],
) -> str | None:
    """Why a voxel size can hardly be right: most organs are too large by it, or most too small.

    Args:
        volumes_ml: of each organ, typical of the cases.
        spacing_mm: that the volumes were measured with.
        bounds: by organ name; others are passed over.

    Returns:
        The factor and the voxel size that would explain it; None where nothing is amiss, or too
        few organs are known.
    """
    known = {name: volumes_ml[name] for name in bounds if volumes_ml.get(name, 0) > 0}
    large = [name for name, volume in known.items() if volume > bounds[name][2]]
    small = [name for name, volume in known.items() if volume < bounds[name][0]]
    wrong = max(large, small, key=len)
    if len(known) < _FEWEST or 2 * len(wrong) <= len(known):
        return None
    factor = geometric_mean(volume / bounds[name][1] for name, volume in known.items())
    likely = " x ".join(f"{side / factor ** (1 / 3):.2g}" for side in spacing_mm)
    told = ", ".join(
        f"{name} {known[name]:.3g} ml ({bounds[name][0]:g} to {bounds[name][2]:g})"
        for name in wrong[:3]
    )
    return (
        f"with voxels of {' x '.join(f'{side:g}' for side in spacing_mm)} mm the organs have "
        f"{factor:.2g} times the volume of an adult's: {told}; a spacing of about {likely} mm "
        "would explain it, and --spacing X Y Z says it"
    )
