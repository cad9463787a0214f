"""Slice viewer, uncertainty, size against shape and learning curves, as the page shows them."""

import base64
from typing import Any

from markupsafe import Markup
from matplotlib import colormaps

from pipeline.report.cases import ShownCase, mean_of_case, share_of_errors_found
from pipeline.report.content import Material
from pipeline.report.figures import draw_shapes
from pipeline.report.organ_shapes import OrganShape
from pipeline.report.panels import Panel, loss_panels, organ_panels, panel_figure
from pipeline.report.slices import pack
from pipeline.report.theme import drawing, short, svg
from pipeline.report.tiles import COLORMAP, ERRORS, LAYERS, most_wrong, picture_png, tile
from segmentation.imaging.colors import colors

UNSURE = 0.05  # share of the most uncertain voxels in the text
PLANES = (  # axis, name, then what is left, right, up and down on the screen
    (2, "Axial", "R", "L", "A", "P"),
    (1, "Coronal", "R", "L", "S", "I"),
    (0, "Sagittal", "A", "P", "S", "I"),
)
_WORDS = {
    "missed": "missed: the organ is there, the prediction has none",
    "added": "added: an organ where there is none",
    "exchanged": "exchanged: one organ taken for another",
}


def error_legend() -> list[tuple[str, str, str]]:
    """Kind of error, its color, and its meaning."""
    return [(kind, _css(color), _WORDS[kind]) for kind, color in ERRORS.items()]


def viewer(material: Material) -> dict[str, Any] | None:
    """The context of the slice viewer; None without cases."""
    if not material.cases:
        return None
    spec = material.first.spec
    glow = [[int(255 * part) for part in colormaps[COLORMAP](i)[:3]] for i in range(256)]
    slices = [pack(case, spec.classes) for case in material.cases]
    for packed in slices:
        joined = " x ".join(map(str, packed.factor))
        packed.about["note"] = (
            "" if packed.factor == (1, 1, 1) else f"Shown with {joined} voxels joined into one."
        )
    sides = " x ".join(f"{side:.3g}" for side in slices[0].about["spacing"])
    return {
        "choices": case_choices(material),
        "planes": PLANES,
        "errors": error_legend(),
        "ramp": ", ".join(_css(glow[step]) for step in range(0, 256, 51)),
        "organs": [
            {"name": name, "label": label, "color": _css(colors(spec.classes)[label])}
            for label, name in enumerate(spec.classes)
            if label
        ],
        "words": (
            f"By mean Dice over the organs, in run {material.first.name}. The pictures are on the "
            f"network's grid ({sides} mm); scores are those of `tak evaluate`."
        ),
        "about": {
            "classes": list(spec.classes),
            "colors": [list(color) for color in colors(spec.classes)],
            "errors": {kind: list(color) for kind, color in ERRORS.items()},
            "glow": glow,
            "window": list(spec.window_hu) if spec.scaling == "window" else None,
            "cases": [packed.about for packed in slices],
        },
        "packed": [packed.packed for packed in slices],
    }


def case_choices(material: Material) -> list[tuple[int, str]]:
    """The cases to choose from, by number."""
    return [
        (number, f"{case.rank.capitalize()}: {case.name}, {_mean(material, case)}")
        for number, case in enumerate(material.cases)
    ]


def _mean(material: Material, case: ShownCase) -> str:
    assert material.first.evaluation is not None
    return f"{short(mean_of_case(material.first.evaluation, case.name))}\u00a0%"


def doubtful(material: Material) -> ShownCase:
    """The case whose uncertainty is shown: the worst one."""
    return material.cases[-1]


def uncertainty(material: Material) -> dict[str, Any] | None:
    """The context of the uncertainty map; None without cases."""
    if not material.cases:
        return None
    case, classes = doubtful(material), material.first.spec.classes
    cut = most_wrong(case, 2)
    share = share_of_errors_found(case, UNSURE)
    words = (
        "Entropy of the class probabilities: 0 where the network is sure of one class, 1 where "
        "all classes are equally likely. "
    )
    if share == share:
        wrong, right = (case.entropy[where].mean() for where in (case.wrong, ~case.wrong))
        words += (
            f"In case {case.name} it is {wrong:.2f} on average where the prediction is wrong and "
            f"{right:.2f} where it is right; the {100 * UNSURE:.0f}\u00a0% most uncertain voxels "
            f"hold {100 * share:.0f}\u00a0% of all wrong ones."
        )
    low, high = case.entropy_scale
    place = f"axial slice {cut.place + 1} of {case.truth.shape[2]}"
    return {
        "case": case.name,
        "place": place,
        "words": words,
        "tiles": [
            (LAYERS[layer], _source(picture_png(tile(case, cut, layer, classes, side=480))))
            for layer in ("truth", "prediction", "error", "uncertainty")
        ],
        "errors": error_legend(),
        "caption": f"The {case.rank} case, {case.name}; {place}, the one with most wrong voxels. "
        f"Colors of the uncertainty go from {low:.2f}, dark, to {high:.2f}, bright. The patient's "
        "right is on the left.",
    }


def known_shapes(material: Material) -> dict[str, OrganShape]:
    """The shapes of organs that at least one measured scan shows."""
    return {name: one for name, one in material.shapes.items() if one.share == one.share}


def shapes(material: Material) -> dict[str, Any] | None:
    """The context of size against shape; None if no organ was measured."""
    known, gains = known_shapes(material), gains_in_points(material)
    if not known:
        return None
    with drawing(660, 470) as figure:
        draw_shapes(figure.subplots(), known, gains)
        chart = svg(figure, "shapes", "Voxel share and hull emptiness of every organ")
    unseen = [name for name in material.shapes if name not in known]
    caption = (
        f"Means over {material.shape_cases} labeled scans. The area of a point grows with the "
        "share. A box or a ball leaves nothing of its convex hull empty, a curved tube most of it."
    )
    caption += (
        f" Behind each name: the change in Dice points from {material.arms[1].label}; here a gain "
        "is red, as in the paper's figure, and a loss blue."
        if gains
        else " A second RUN that was scored adds the gain over it."
    )
    caption += f" In none of these scans: {', '.join(unseen)}." * bool(unseen)
    return {
        "words": "Few voxels and a shape far from convex make an organ hard to learn from a few "
        "labels. This is Figure 1 of the TAK paper (arXiv 2501.13470) for the data at hand.",
        "svg": chart,
        "caption": caption,
    }


def gains_in_points(material: Material) -> dict[str, float]:
    """Gain per organ in Dice points; empty without a baseline."""
    return {name: 100 * row.difference for name, row in material.gains.items()}


def learning(material: Material) -> dict[str, Any]:
    """The context of the learning curves."""
    arm = material.arms[0]
    losses, organs = loss_panels(arm), organ_panels(material.arms)
    seeds = f"one line per seed ({', '.join(map(str, arm.seeds))})" if len(arm.runs) > 1 else ""
    warmup = arm.first.config.training.warmup_steps
    words = ["Weighted terms, as they add up to the total, against the step", seeds]
    words += ["a running median over the raw values where these are many"]
    words += [f"dotted: unlabeled scans join in after step {warmup}"] * bool(warmup)
    return {
        "loss_panels": [_panel(panel, f"loss-{n}") for n, panel in enumerate(losses)],
        "curve_panels": [_panel(panel, f"dice-{n}") for n, panel in enumerate(organs)],
        "loss_words": "; ".join(word for word in words if word) + ".",
    }


def _panel(panel: Panel, name: str) -> Markup:
    with panel_figure(panel) as figure:
        return svg(figure, name, f"{panel.title} over the steps, last value {panel.last}")


def _source(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _css(color: Any) -> str:
    red, green, blue = color
    return f"rgb({red} {green} {blue})"
