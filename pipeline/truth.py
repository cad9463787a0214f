"""The outcome of `tak check` as a table; what rendering needs."""

import importlib.util

from rich.console import Console
from rich.table import Table

from knowledge.check import Report

_COLORS = {"supported": "green", "contradicted": "red", "untestable": "yellow"}


def show(report: Report) -> None:
    """Print every claim with its verdict, then problems, then the sums."""
    console = Console()
    table = Table("claim", "verdict", "cases", "measured")
    for result in report.results:
        told = result.supported + result.contradicted
        measured = "" if result.measured is None else f"{result.measured:.1f} {result.unit}"
        color = _COLORS[result.verdict]
        cases = f"{result.supported} of {told}"
        if result.untestable:
            cases += f" ({result.untestable} cannot tell)"
        table.add_row(str(result.claim), f"[{color}]{result.verdict}[/]", cases, measured)
    console.print(table)
    for problem in report.problems:
        console.print(f"problem: {problem}", markup=False)
    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in _COLORS)
    share = report.supported_share
    shown = "no testable claim" if share is None else f"supported share {share:.3f}"
    console.print(
        f"{len(report.results)} claims on {len(report.cases)} cases: {counts}; {shown}",
        soft_wrap=True,
    )


def need_pyvista() -> None:
    """Refuse to render without PyVista, which comes with the extra `render`."""
    if importlib.util.find_spec("pyvista") is None:
        raise OSError("rendering needs PyVista: pip install 'tak-seg[render]'")
