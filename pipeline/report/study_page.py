"""The page of a study: its tables, a forest plot and the shares of variance, in one HTML file."""

import math
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
    step = _round_step(reach)

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
        "ticks": [(place(x), f"{x:+g}" if x else "0") for x in (-step, 0.0, step)],
    }


def _round_step(reach: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that fits."""
    power = float(10.0 ** math.floor(math.log10(reach)))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= reach)


def _words(mean: float | None, low: float | None, high: float | None) -> str:
    interval = "" if low is None or high is None else f" ({low:+.1f} to {high:+.1f})"
    return f"{mean or 0.0:+.1f}{interval}"
