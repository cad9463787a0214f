"""Surfaces of truth and prediction that turn, as the page shows them."""

import base64
from typing import Any

from pipeline.report.content import Material
from pipeline.report.surfaces.case_surfaces import MASKS, CaseSurfaces
from pipeline.report.surfaces.still import RISE, TURN
from pipeline.report.tiles import picture_png
from pipeline.report.views.pictures import case_choices
from segmentation.imaging.colors import colors


def surfaces(material: Material) -> dict[str, Any] | None:
    """The context of the surfaces; None if there are none to show."""
    if not material.surfaces:
        return None
    classes = material.first.spec.classes
    shades = colors(classes)
    cases = [_case(one) for one in material.surfaces]
    packed = [one.packed.packed for one in material.surfaces]
    size = sum(map(len, packed)) + sum(
        len(source) for case in cases for _, source in case["stills"]
    )
    return {
        "choices": case_choices(material),
        "masks": list(MASKS.items()),
        "organs": [
            {"name": name, "label": label, "color": "rgb({} {} {})".format(*shades[label])}
            for label, name in enumerate(classes)
            if label
        ],
        "cases": cases,
        "packed": packed,
        "about": {
            "masks": list(MASKS),
            "turn": TURN,
            "rise": RISE,
            "colors": [list(color) for color in shades],
            "cases": [one.packed.about for one in material.surfaces],
        },
        "words": (
            "Surfaces of the masks on the network's grid, smoothed by less than a voxel; large "
            "organs have coarser meshes than small ones. Meshes and still pictures take "
            f"{size / 1e6:.1f} MB of this file (`--no-surfaces` leaves them out)."
        ),
    }


def _case(one: CaseSurfaces) -> dict[str, Any]:
    stills = []
    for mask, words in MASKS.items():
        content = base64.b64encode(picture_png(one.stills[mask])).decode()
        stills.append((f"{words} of case {one.name}", f"data:image/png;base64,{content}"))
    return {"stills": stills}
