"""A report on disk: the page, its figures as PNG, and the summary as JSON."""

import json
from pathlib import Path
from typing import Any

from knowledge.files import write_whole
from knowledge.plot import plot
from pipeline.evaluate import GROUPS
from pipeline.report.figures import (
    draw_dice,
    draw_shapes,
    loss_panels,
    organ_panels,
    panel_figure,
)
from pipeline.report.material import Material
from pipeline.report.page import render
from pipeline.report.theme import drawing, png
from pipeline.report.tiles import LAYERS, draw_tiles, most_wrong
from pipeline.report.view_pictures import doubtful, gains_in_points


def places_of(output: Path) -> tuple[Path, Path]:
    """The page's file and the folder of its figures, for a folder or a file ending in .html."""
    if output.suffix.lower() in (".html", ".htm"):
        return output, output.with_name(f"{output.stem}-figures")
    return output / "report.html", output / "figures"


def write_report(material: Material, output: Path) -> list[Path]:
    """Write page and figures, each whole or not at all; returns what was written."""
    page, folder = places_of(output)
    figures = _figures(material)
    write_whole(page, render(material))
    written = [page]
    for name, content in figures.items():
        write_whole(folder / f"{name}.png", content)
        written.append(folder / f"{name}.png")
    if material.bank is not None:
        plot(material.bank, folder / "vectors.png")
        written.append(folder / "vectors.png")
    return written


def _figures(material: Material) -> dict[str, bytes]:
    """Name -> PNG, of those that there is something to draw for."""
    arms, classes = material.arms, material.first.spec.classes
    found = {}
    for name, panels in (("losses", loss_panels(arms[0])), ("curves", organ_panels(arms))):
        if panels:
            with panel_figure(panels, columns=min(4, len(panels))) as figure:
                found[name] = png(figure)
    if arms[0].evaluations:
        rows = len(arms[0].evaluations[0].groups["all"])
        with drawing(640, 110 + 30 * rows) as figure:
            draw_dice(
                figure.subplots(),
                [arm for arm in arms if arm.evaluations],
                material.published.methods,
            )
            found["dice"] = png(figure)
    if material.shapes:
        with drawing(660, 470) as figure:
            draw_shapes(figure.subplots(), material.shapes, gains_in_points(material))
            found["shapes"] = png(figure)
    if material.cases:
        layers = list(LAYERS)
        lines = [
            (f"{case.rank}: {case.name}", case, most_wrong(case, 2)) for case in material.cases
        ]
        with drawing(200 * len(layers), 190 * len(lines)) as figure:
            draw_tiles(figure, lines, layers, classes)
            found["cases"] = png(figure)
        case = doubtful(material)
        lines = [(words, case, most_wrong(case, axis)) for axis, words in
                 ((2, "axial"), (1, "coronal"), (0, "sagittal"))]  # fmt: skip
        with drawing(200 * 4, 190 * 3) as figure:
            draw_tiles(figure, lines, ["truth", "prediction", "error", "uncertainty"], classes)
            found["uncertainty"] = png(figure)
    return found


def as_json(material: Material, written: list[Path]) -> str:
    """The summary for a script: scores as shares, None for what was not scored."""
    arms = [
        {
            "label": arm.label,
            "runs": [str(run.path) for run in arm.runs],
            "seeds": list(arm.seeds),
            "dice": {
                name: dict(zip(("mean", "deviation"), map(_number, pair), strict=True))
                for name in (*GROUPS, *arm.first.spec.classes[1:])
                if arm.evaluations and (pair := arm.over_seeds(name, "dice"))
            },
        }
        for arm in material.arms
    ]
    content: dict[str, Any] = {
        "title": material.first.config.title,
        "protocol": material.first.spec.protocol,
        "part": material.part,
        "arms": arms,
        "gain": {name: _number(row.difference) for name, row in material.gains.items()},
        "cases": {case.rank: case.name for case in material.cases},
        "files": [str(path) for path in written],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _number(value: float) -> float | None:
    return None if value != value else value
