"""The figures of a report as drawings, and as SVG and PDF for a paper."""

import base64
import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont

from pipeline.report.content import Material
from pipeline.report.figures import draw_dice, draw_maps, draw_measures, draw_shapes
from pipeline.report.panels import loss_panels, organ_panels, panel_sheet
from pipeline.report.runs.arms import Arm
from pipeline.report.surfaces.case_surfaces import MASKS
from pipeline.report.theme import SOFTWARE, drawing, look_of
from pipeline.report.tiles import LAYERS, most_wrong, still_figure, tile_figure
from pipeline.report.views.measures import other_metrics
from pipeline.report.views.pictures import doubtful, gains_in_points, known_shapes
from pipeline.report.views.texts import cosine_maps
from segmentation.evaluation.rules import Metric

Drawn = AbstractContextManager[Figure]
_FONT = "DejaVu Sans"
_DOTS_PER_INCH = 300  # of coarse pictures within a figure
_FINE = 100  # pixels along a side


def figures_of(material: Material) -> dict[str, Drawn]:
    """Name -> drawing of every figure that has content."""
    drawn = {name: draw(material) for name, draw in DRAWINGS.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _losses(material: Material) -> Drawn | None:
    arm = material.arms[0]
    words = f"Weighted loss terms against the step; {arm.label}"
    panels = loss_panels(arm)
    return panel_sheet(panels, words, []) if panels else None


def _curves(material: Material) -> Drawn | None:
    panels = organ_panels(material.arms)
    legend = [(arm.label, look_of(arm.number)) for arm in material.arms]
    words = "Validation Dice in percent against the step"
    return panel_sheet(panels, words, legend) if panels else None


def _dice(material: Material) -> Drawn | None:
    return _dice_figure(material) if material.arms[0].evaluations else None


@contextmanager
def _dice_figure(material: Material) -> Iterator[Figure]:
    scored = [arm for arm in material.arms if arm.evaluations]
    rows = len(scored[0].evaluations[0].groups["all"])
    entries = len(scored) + len(material.published.methods)
    with drawing(640, 70 + 18 * entries + rows * max(30, 8 + 9 * len(scored))) as figure:
        draw_dice(figure.subplots(), scored, material.published.methods)
        yield figure


def _measures(material: Material) -> Drawn | None:
    scored = [arm for arm in material.arms if arm.evaluations]
    metrics = other_metrics(scored)
    return _measures_figure(scored, metrics) if material.arms[0].evaluations and metrics else None


@contextmanager
def _measures_figure(scored: Sequence[Arm], metrics: Sequence[Metric]) -> Iterator[Figure]:
    rows = len(scored[0].evaluations[0].groups["all"])
    height = 60 + 18 * len(scored) + rows * max(24, 8 + 9 * len(scored))
    with drawing(150 + 200 * len(metrics), height) as figure:
        draw_measures(figure, scored, metrics)
        yield figure


def _shapes(material: Material) -> Drawn | None:
    return _shapes_figure(material) if known_shapes(material) else None


@contextmanager
def _shapes_figure(material: Material) -> Iterator[Figure]:
    with drawing(660, 470) as figure:
        draw_shapes(figure.subplots(), known_shapes(material), gains_in_points(material))
        yield figure


def _cases(material: Material) -> Drawn | None:
    if not material.cases:
        return None
    rows = [(f"{case.rank}: {case.name}", case, most_wrong(case, 2)) for case in material.cases]
    return tile_figure(rows, list(LAYERS), material.first.spec.classes)


def _surfaces(material: Material) -> Drawn | None:
    if not material.surfaces:
        return None
    rows = [(f"{one.rank}: {one.name}", one.stills) for one in material.surfaces]
    return still_figure(rows, MASKS, material.first.spec.classes)


def _uncertainty(material: Material) -> Drawn | None:
    if not material.cases:
        return None
    case = doubtful(material)
    planes = (2, "axial"), (1, "coronal"), (0, "sagittal")
    rows = [(f"{case.name}, {words}", case, most_wrong(case, axis)) for axis, words in planes]
    layers = ["truth", "prediction", "error", "uncertainty"]
    return tile_figure(rows, layers, material.first.spec.classes)


def _vectors(material: Material) -> Drawn | None:
    return _vectors_figure(material) if cosine_maps(material) else None


@contextmanager
def _vectors_figure(material: Material) -> Iterator[Figure]:
    maps = cosine_maps(material)
    aspects = len({each["aspect"] for each in maps})
    columns = aspects if aspects > 1 else len(maps)
    side = 130 + 24 * len(maps[0]["names"])
    with drawing(columns * (side + 40), -(-len(maps) // columns) * side) as figure:
        draw_maps(figure, maps, columns)
        yield figure


DRAWINGS: dict[str, Callable[[Material], Drawn | None]] = {
    "losses": _losses,
    "curves": _curves,
    "dice": _dice,
    "measures": _measures,
    "shapes": _shapes,
    "cases": _cases,
    "surfaces": _surfaces,
    "uncertainty": _uncertainty,
    "vectors": _vectors,
}


def paper_pdf(figure: Figure) -> bytes:
    """The figure as PDF: text is text, its fonts are embedded."""
    _keep_pixels(figure)
    buffer = io.BytesIO()
    about = {"Creator": SOFTWARE, "CreationDate": None}
    figure.savefig(buffer, format="pdf", dpi=_DOTS_PER_INCH, metadata=about)
    return buffer.getvalue()


def paper_svg(figure: Figure) -> bytes:
    """The figure as SVG: text is text, the characters of its fonts are embedded."""
    _keep_pixels(figure)
    buffer = io.StringIO()
    about = {"Creator": SOFTWARE, "Date": None}
    figure.savefig(buffer, format="svg", dpi=_DOTS_PER_INCH, metadata=about)
    text = buffer.getvalue()
    labels = re.findall(r"<text[^>]*>(.*?)</text>", text, flags=re.DOTALL)
    characters = html.unescape("".join(labels))
    weights = ["normal", *["bold"] * bool(re.search(r"font(-weight)?: (bold|700)", text))]
    faces = "".join(_font_face(weight, characters) for weight in weights)
    return text.replace("<defs>", f"<defs>\n  <style>{faces}</style>", 1).encode()


def _keep_pixels(figure: Figure) -> None:
    """Embed pictures as they are; coarse ones are drawn finer, or viewers would blur them."""
    for axes in figure.axes:
        for image in axes.images:
            if min(image.get_size()) >= _FINE:
                image.set_interpolation("none")


def _font_face(weight: str, characters: str) -> str:
    """A rule of CSS that holds those characters of a font."""
    path = findfont(FontProperties(family=_FONT, weight=weight))
    font = TTFont(path, recalcTimestamp=False)  # the same figure gives the same bytes
    options = Options()
    options.drop_tables += ["FFTM"]  # dates of FontForge
    subsetter = Subsetter(options)
    subsetter.populate(text=characters)
    subsetter.subset(font)
    font.flavor = "woff"
    buffer = io.BytesIO()
    font.save(buffer)
    content = base64.b64encode(buffer.getvalue()).decode()
    return (
        f"@font-face {{font-family: '{_FONT}'; font-weight: {weight}; "
        f"src: url(data:font/woff;base64,{content})}}"
    )
