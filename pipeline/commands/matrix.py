"""`tak matrix`: compare wordings and models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.experiments.matrix import MatrixRow

# Columns beside the names of the measures that fit 80 characters.
_CELLS_PER_TABLE = 4


def matrix(
    file: Annotated[
        Path, typer.Argument(help="Matrix file: templates, models and encoder (TOML).")
    ],
    cache: Annotated[Path | None, typer.Option(help="Folder of cached answers.")] = None,
) -> None:
    """Compare prompt wordings and models before any GPU time is spent.

    For each wording and model: descriptions, a bank, and a row of one table: validity, supported
    claims, words and tokens, overflow, agreement between samples, separability, cost. Answers are
    cached; a second run asks only for what is missing. Ends with exit code 1 when a cell failed.

    Example, with no key: a file `matrix.toml` with the lines

        organs = "phantom"

        templates = ["paper", "detailed", "terse", "class-name"]

        encoder = "hashing:512"

        models = [{ name = "shipped", provider = "recorded" }]

    and then `tak matrix matrix.toml`. `scans = "phantoms"` adds the truth of the claims;
    `max_tokens_total = 200000` and `max_cost = 2.5` (US dollars) stop all cells together before
    they are passed, and a second run resumes.
    """
    from pipeline.experiments.matrix import Cells, run
    from pipeline.files.kinds import require_kind
    from pipeline.terminal.progress import counted
    from pipeline.texts.services import answer_cache

    cells = Cells(require_kind(file, "matrix"), answer_cache(cache))
    with counted("cells", len(list(cells))) as tick:
        rows = run(cells, tick)
    _show(rows)
    spent = cells.spent
    line = f"{cells.out / 'table.csv'}: {len(rows)} rows"
    line += f"; this run: {spent.calls} calls, {spent.tokens} tokens" if cells.budgets else ""
    typer.echo(line)
    if any(row.note for row in rows):
        raise typer.Exit(1)


def _show(rows: "list[MatrixRow]") -> None:
    """Print a row per measure and a column per cell, in tables of 80 characters; then failures."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.experiments.matrix import COLUMNS
    from pipeline.texts.tables import plain

    measures = [
        name
        for name in COLUMNS
        if name not in ("template", "model", "note")
        and any(getattr(row, name) is not None for row in rows)
    ]
    console = Console()
    for start in range(0, len(rows), _CELLS_PER_TABLE):
        cells = rows[start : start + _CELLS_PER_TABLE]
        table = Table("measure")
        for row in cells:
            table.add_column(plain(f"{row.template}, {row.model}"))
        for name in measures:
            values = [_in_words(getattr(row, name)) for row in cells]
            table.add_row(name.replace("_", " "), *map(plain, values))
        console.print(table)
    for row in rows:
        if row.note:
            console.print(plain(f"{row.template}, {row.model}: {row.note}"), soft_wrap=True)


def _in_words(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
