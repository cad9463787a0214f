"""Writing of a report: the page, its figures as PNG, and the summary as JSON."""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from knowledge.common.files import write_whole
from pipeline.report.content import Material
from pipeline.report.figures import draw_dice, draw_maps, draw_shapes
from pipeline.report.page import render
from pipeline.report.panels import loss_panels, organ_panels, panel_sheet
from pipeline.report.runs.arms import Arm
from pipeline.report.theme import drawing, is_ours, look_of, png
from pipeline.report.tiles import LAYERS, most_wrong, tile_figure
from pipeline.report.views.measures import other_metrics
from pipeline.report.views.pictures import doubtful, gains_in_points, known_shapes
from pipeline.report.views.texts import cosine_maps
from pipeline.results.scores import GROUPS

FIGURES = ("losses", "curves", "dice", "shapes", "cases", "uncertainty", "vectors")


def places_of(output: Path) -> tuple[Path, Path]:
    """The page's file and the folder of its figures, for a folder or a file ending in .html."""
    if output.suffix.lower() in (".html", ".htm"):
        return output, output.with_name(f"{output.stem}-figures")
    return output / "report.html", output / "figures"


def write_report(material: Material, output: Path) -> list[Path]:
    """Write page and figures, each atomically; returns the written files.

    Figures of an earlier report that this one does not have are removed.
    """
    page, folder = places_of(output)
    figures = _figures(material)
    content = render(material)
    _remove_old(folder, figures)
    for name, picture in figures.items():
        write_whole(folder / f"{name}.png", picture)
    write_whole(page, content)
    return [page, *(folder / f"{name}.png" for name in figures)]


def _remove_old(folder: Path, figures: Collection[str]) -> None:
    """Remove the figures of an earlier report, by name and mark, that are not replaced."""
    for name in FIGURES:
        path = folder / f"{name}.png"
        if name not in figures and path.is_file() and is_ours(path.read_bytes()):
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _figures(material: Material) -> dict[str, bytes]:
    """Name -> PNG of every figure that has content."""
    drawn = {
        "losses": _losses,
        "curves": _curves,
        "dice": _dice,
        "shapes": _shapes,
        "cases": _cases,
        "uncertainty": _uncertainty,
        "vectors": _vectors,
    }
    assert tuple(drawn) == FIGURES
    sections = {name: draw(material) for name, draw in drawn.items()}
    return {name: content for name, content in sections.items() if content is not None}


def _losses(material: Material) -> bytes | None:
    arm = material.arms[0]
    panels = loss_panels(arm)
    if not panels:
        return None
    words = f"Weighted loss terms against the step; {arm.label}"
    with panel_sheet(panels, words, []) as figure:
        return png(figure)


def _curves(material: Material) -> bytes | None:
    panels = organ_panels(material.arms)
    if not panels:
        return None
    legend = [(arm.label, look_of(arm.number)) for arm in material.arms]
    with panel_sheet(panels, "Validation Dice in percent against the step", legend) as figure:
        return png(figure)


def _dice(material: Material) -> bytes | None:
    if not material.arms[0].evaluations:
        return None
    scored = [arm for arm in material.arms if arm.evaluations]
    rows = len(scored[0].evaluations[0].groups["all"])
    entries = len(scored) + len(material.published.methods)
    with drawing(640, 70 + 18 * entries + rows * max(30, 8 + 9 * len(scored))) as figure:
        draw_dice(figure.subplots(), scored, material.published.methods)
        return png(figure)


def _shapes(material: Material) -> bytes | None:
    if not known_shapes(material):
        return None
    with drawing(660, 470) as figure:
        draw_shapes(figure.subplots(), known_shapes(material), gains_in_points(material))
        return png(figure)


def _cases(material: Material) -> bytes | None:
    if not material.cases:
        return None
    rows = [(f"{case.rank}: {case.name}", case, most_wrong(case, 2)) for case in material.cases]
    with tile_figure(rows, list(LAYERS), material.first.spec.classes) as figure:
        return png(figure)


def _uncertainty(material: Material) -> bytes | None:
    if not material.cases:
        return None
    case = doubtful(material)
    planes = (2, "axial"), (1, "coronal"), (0, "sagittal")
    rows = [(f"{case.name}, {words}", case, most_wrong(case, axis)) for axis, words in planes]
    layers = ["truth", "prediction", "error", "uncertainty"]
    with tile_figure(rows, layers, material.first.spec.classes) as figure:
        return png(figure)


def _vectors(material: Material) -> bytes | None:
    maps = cosine_maps(material)
    if not maps:
        return None
    aspects = len({each["aspect"] for each in maps})
    columns = aspects if aspects > 1 else len(maps)
    side = 130 + 24 * len(maps[0]["names"])
    with drawing(columns * (side + 40), -(-len(maps) // columns) * side) as figure:
        draw_maps(figure, maps, columns)
        return png(figure)


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
            "metrics": {one.key: _metric(arm, one.key) for one in other_metrics([arm])},
            "training": [run.training and asdict(run.training) for run in arm.runs],
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


def _metric(arm: Arm, metric: str) -> dict[str, Any]:
    """Mean, deviation and number of scored values by organ and group."""
    result = {}
    for name in (*GROUPS, *arm.first.spec.classes[1:]):
        mean, deviation = arm.over_seeds(name, metric)
        count, _ = arm.counted(name, metric)
        result[name] = {"mean": _number(mean), "deviation": _number(deviation), "count": count}
    return result


def _number(value: float) -> float | None:
    return None if value != value else value
