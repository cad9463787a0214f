"""`tak split`: draw the labeled training cases."""

from pathlib import Path
from typing import Annotated

import typer


def split(
    data: Annotated[Path, typer.Argument(help="Prepared folder, or data set as downloaded.")],
    labeled: Annotated[str, typer.Option(help="Share of the training cases, 5%, or a number.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="New folder for the lists.")],
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    descriptor: Annotated[
        str | None,
        typer.Option(help="A shipped data set name, or a TOML file. [default: DATA/dataset.toml]"),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--split", help="Split whose training, validation and test cases are kept."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the draw as JSON.")] = False,
) -> None:
    """Draw which training cases are labeled, so that every organ occurs among them.

    Writes train.txt, labeled.txt, validation.txt and test.txt for `tak prepare --split`. Cases
    are drawn from the training cases with a mask; validation and test cases stay the same.

    Example: `tak split AMOS22 --descriptor amos --split 5p --labeled 5% --seed 1 -o lists`
    """
    import json
    from functools import partial

    from rich.console import Console

    from pipeline.datasets.split_drawing import draw, read_candidates
    from pipeline.datasets.tables import draw_table
    from pipeline.files.outputs import require_writable_folder
    from pipeline.terminal.progress import counted

    if require_writable_folder(output).exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty; the lists need a new or empty folder")
    candidates = read_candidates(data, descriptor, base, labeled, partial(counted, stderr=as_json))
    drawn = draw(candidates, seed)
    drawn.split.write(output)
    if as_json:
        typer.echo(json.dumps(drawn.content(), indent=2))
        return
    Console().print(draw_table(drawn))
    typer.echo(
        f"{output}: {len(drawn.split.labeled)} of {len(drawn.split.train)} training cases labeled "
        f"({drawn.with_mask} have a mask): {', '.join(drawn.split.labeled)}"
    )
    if drawn.rare:
        typer.echo(f"rare, a uniform draw would often miss them: {', '.join(drawn.rare)}")
