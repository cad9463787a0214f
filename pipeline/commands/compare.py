"""`tak compare`: paired comparison of two evaluated runs."""

from pathlib import Path
from typing import Annotated

import typer

KEPT = "nothing was changed; the same command starts again"  # after a signal


def compare(
    first: Annotated[Path, typer.Argument(help="A run, a folder of seeds, or an evaluation JSON.")],
    second: Annotated[Path, typer.Argument(help="Another one, scored on the same cases.")],
    part: Annotated[str, typer.Option(help="validation or test.")] = "test",
    metric: Annotated[str, typer.Option(help="dice, nsd, hd95_mm or assd_mm.")] = "dice",
    label: Annotated[
        list[str] | None,
        typer.Option(help="Name of a run in the table; once for FIRST, once for SECOND."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Compare two evaluated runs case by case: the second minus the first, for every organ.

    Prints the mean paired difference with Student's t interval over cases and Wilcoxon's
    signed-rank test. The seeds of a run (folders `seed-N`) are averaged case by case first; their
    spread is not part of the interval.

    Example: `tak compare runs/magicnet runs/tak`
    """
    from rich.console import Console

    from pipeline.scoring.comparison import as_json as json_of
    from pipeline.scoring.comparison import differences
    from pipeline.scoring.seeds import read_scored
    from pipeline.scoring.tables import comparison_table

    names = label or (None, None)
    if len(names) != 2:
        raise ValueError(f"--label: expected a name for each of two runs, got {len(names)}")
    one, other = read_scored(first, part, names[0]), read_scored(second, part, names[1])
    rows = differences(one, other, metric)
    if as_json:
        typer.echo(json_of(one, other, metric, rows))
    else:
        Console().print(comparison_table(one, other, metric, rows))
