"""The page of a study: its tables, a forest plot and the shares of variance, in one HTML file."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.files import shipped

_LEFT, _RIGHT = 260.0, 780.0  # of the plot in an SVG that is 800 wide; names are on the left


def render_study(content: Mapping[str, Any]) -> str:
    """The page as HTML. All texts of models, files and users are escaped.

    Args:
        content: title, question, notes; headings and rows of the tables of arms, organs and banks;
            baseline, margin, components, and differences as (arm, mean, low, high).
    """
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None
    style = environment.loader.get_source(environment, "page.css")[0]
    return environment.get_template("study.html.j2").render(
        **content,
        forest=forest(content["differences"], content["margin"]),
        version=shipped.version(),
        style=Markup(style),
    )


def forest(
    differences: Sequence[tuple[str, float | None, float | None, float | None]], margin: float
) -> dict[str, Any] | None:
    """Places of means and intervals in the plot; None if there is no difference to show."""
    shown = [each for each in differences if each[1] is not None]
    if not shown:
        return None
    values = [abs(x) for _, *numbers in shown for x in numbers if x is not None]
    reach = max(1.1 * max(values), 1.5 * margin)

    def place(value: float) -> float:
        return round(_LEFT + (value / reach + 1) / 2 * (_RIGHT - _LEFT), 1)

    marks = [
        {
            "arm": arm,
            "mean": place(mean or 0.0),
            "low": None if low is None or high is None else place(low),
            "high": None if low is None or high is None else place(high),
            "words": _words(mean, low, high),
        }
        for arm, mean, low, high in shown
    ]
    return {
        "marks": marks,
        "zero": place(0.0),
        "margin": (place(-margin), place(margin)),
        "ticks": [(place(x), f"{x:+.1f}") for x in (-0.8 * reach, 0.0, 0.8 * reach)],
    }


def _words(mean: float | None, low: float | None, high: float | None) -> str:
    interval = "" if low is None or high is None else f" ({low:+.1f} to {high:+.1f})"
    return f"{mean or 0.0:+.1f}{interval}"
