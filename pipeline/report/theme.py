"""Colors of the figures, and figures as SVG that follows the theme of the page.

Figures are drawn in the light theme. In the SVG every color of the table below is replaced by
the CSS variable of its name, so that one drawing serves the light page, the dark page and the PNG.
Series colors are those of Okabe and Ito (2008) for color-blind readers, darkened for white paper.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1b1f24", "#59626d", "#dfe2e6", "#fefefd"
SERIES = ("#0067a8", "#c4560a", "#007a5c", "#9c3f85", "#7d6608", "#4f5863")
MARKERS = ("o", "s", "^", "D", "v", "P")
GAIN, LOSS = "#c1121f", "#2a5db0"  # in the chart of size and shape alone, after the TAK paper
ALIKE, OPPOSED = "#3f5f8a", "#a8642a"
SOFTWARE = "tak-seg report"
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    PAPER: "paper",
    GAIN: "gain",
    LOSS: "loss",
    **{color: f"series-{number}" for number, color in enumerate(SERIES)},
}
_STYLE = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 12,
    "font.size": 10.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType, so that text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "tak",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}


class SeriesStyle(NamedTuple):
    """The style of an arm in every chart: the numbers of its color and of its marker."""

    series: int
    marker: int

    @property
    def color(self) -> str:
        """The color on paper."""
        return SERIES[self.series]

    @property
    def shape(self) -> str:
        """The marker, by its name in matplotlib."""
        return MARKERS[self.marker]


def look_of(number: int) -> SeriesStyle:
    """The style of the arm of that number; the first 36 arms all differ."""
    rounds, series = divmod(number, len(SERIES))
    return SeriesStyle(series, (series + rounds) % len(MARKERS))


@contextmanager
def drawing(width: float, height: float, *, fitted: bool = True) -> Iterator[Figure]:
    """A figure of that many pixels of the page in the style of the report, with fitted margins."""
    with mpl.rc_context(_STYLE):
        size = width / 72, height / 72
        figure = Figure(figsize=size, layout="constrained" if fitted else None)
        FigureCanvasAgg(figure)
        yield figure


def png(figure: Figure) -> bytes:
    """The figure on paper, at twice the page's resolution, marked as a figure of a report."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor=PAPER, metadata={"Software": SOFTWARE})
    return buffer.getvalue()


def is_ours(content: bytes) -> bool:
    """Whether a PNG carries the mark of a report's figure."""
    return f"tEXtSoftware\0{SOFTWARE}".encode() in content[:256]


def svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as inline SVG in the theme's colors.

    Args:
        name: unique prefix of its ids in the page.
        description: alternative text for screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<title>.*?</title>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    # In `font` or, since matplotlib 3.11, in `font-family`.
    text = re.sub(r"(font(?:-family)?:[^;\"]*?)'?DejaVu Sans'?[^;\"]*", r"\1var(--sans)", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    opening = text[: text.index(">")]
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box is not None
    rest = text[text.index(">") + 1 :]
    label = escape(description)
    return Markup(f'<svg {box[0]} role="img" aria-label="{label}">{rest}')


def signed(points: float) -> str:
    """A difference in points with its sign; no sign if it rounds to 0, a dash if unknown."""
    if points != points:
        return "–"
    shown = f"{points:+.1f}"
    return "0.0" if float(shown) == 0 else shown.replace("-", "−")


def short(value: float, digits: int = 1) -> str:
    """A share in percent, or a dash where it is unknown."""
    return "–" if value != value else f"{100 * value:.{digits}f}"
