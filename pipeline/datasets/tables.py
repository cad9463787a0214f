"""Tables of data sets for the terminal: comparison of arrays, drawn labels."""

from statistics import median

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipeline.datasets.array_comparison import Comparison
from pipeline.datasets.split_drawing import Drawn


def tables_of(comparison: Comparison) -> list[Table]:
    """A row per case, and a row per organ."""
    cases = _table(f"{comparison.folder} beside {comparison.prepared}")
    for name in ("case", "shape", "theirs", "axes", "alike", "slope", "offset", "hist.", "Dice %"):
        cases.add_column(name, justify="left" if name in ("case", "axes") else "right")
    for case in comparison.cases:
        line = case.line
        cases.add_row(
            case.case,
            "x".join(map(str, case.our_shape)),
            "x".join(map(str, case.their_shape)),
            case.orientation,
            f"{case.likeness[0]:.3f}",
            f"{line.slope:.3g}" if line else "-",
            f"{line.offset:.3g}" if line else "-",
            "-" if case.histogram is None else f"{case.histogram:.3f}",
            "-" if case.dice is None else f"{100 * case.dice:.1f}",
        )
    return [cases, _organ_table(comparison)]


def _table(title: str) -> Table:
    return Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _organ_table(comparison: Comparison) -> Table:
    table = _table("Labels, theirs beside ours")
    for name in ("organ", "cases", "volume ratio", "Dice %", "lowest"):
        table.add_column(name, justify="left" if name == "organ" else "right")
    names = dict.fromkeys(name for case in comparison.cases for name in case.organs)
    for name in names:
        organs = [case.organs[name] for case in comparison.cases if name in case.organs]
        ratios = [organ.volume_ratio for organ in organs if organ.volume_ratio is not None]
        dices = [organ.dice for organ in organs if organ.dice is not None]
        table.add_row(
            name,
            str(len(dices)),
            f"{median(ratios):.3f}" if ratios else "-",
            f"{100 * float(np.mean(dices)):.1f}" if dices else "-",
            f"{100 * min(dices):.1f}" if dices else "-",
        )
    return table


def draw_table(drawn: Drawn) -> Table:
    """A table of organs and the number of cases that have them."""
    table = Table("organ", box=SIMPLE_HEAD)
    for column in ("cases", "drawn", "missed by a plain draw"):
        table.add_column(column, justify="right")
    for name, facts in drawn.organs.items():
        missed = f"{100 * facts['chance_missed']:.1f} %"
        style = "bold yellow" if name in drawn.rare else None
        table.add_row(name, f"{facts['cases']}", f"{facts['drawn']}", missed, style=style)
    return table
