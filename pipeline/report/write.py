"""Writing of a report: the page, its figures, and the summary as JSON."""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from knowledge.common.files import write_whole
from pipeline.report.content import Material
from pipeline.report.figure_files import DRAWINGS, figures_of, paper_pdf, paper_svg
from pipeline.report.page import render
from pipeline.report.runs.arms import Arm
from pipeline.report.theme import is_ours, png
from pipeline.report.views.measures import other_metrics
from pipeline.results.scores import GROUPS


def places_of(output: Path) -> tuple[Path, Path]:
    """The page's file and the folder of its figures, for a folder or a file ending in .html."""
    if output.suffix.lower() in (".html", ".htm"):
        return output, output.with_name(f"{output.stem}-figures")
    return output / "report.html", output / "figures"


def write_report(material: Material, output: Path, paper: Path | None = None) -> list[Path]:
    """Write page and figures, each atomically; returns the written files.

    Figures of an earlier report that this one does not have are removed.

    Args:
        paper: folder for the figures as SVG and PDF.
    """
    page, folder = places_of(output)
    contents: dict[Path, bytes] = {}
    for name, drawn in figures_of(material).items():
        with drawn as figure:
            contents[folder / f"{name}.png"] = png(figure)
            if paper is not None:
                contents[paper / f"{name}.svg"] = paper_svg(figure)
                contents[paper / f"{name}.pdf"] = paper_pdf(figure)
    html = render(material)
    _remove_old(folder, {path.stem for path in contents})
    for path, content in contents.items():
        write_whole(path, content)
    write_whole(page, html)
    return [page, *contents]


def _remove_old(folder: Path, figures: Collection[str]) -> None:
    """Remove the figures of an earlier report, by name and mark, that are not replaced."""
    for name in DRAWINGS:
        path = folder / f"{name}.png"
        if name not in figures and path.is_file() and is_ours(path.read_bytes()):
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


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
