"""The command that compares wordings and models: matrix."""

from pathlib import Path
from typing import Annotated

import typer


def matrix(
    file: Annotated[Path, typer.Argument(help="Templates, models and encoder (TOML).")],
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
    they are passed, and a second run goes on.
    """
    from pipeline.experiments.matrix import Cells, run, show_matrix
    from pipeline.files.kinds import require_kind
    from pipeline.terminal.progress import counted
    from pipeline.texts.services import answer_cache

    cells = Cells(require_kind(file, "matrix"), answer_cache(cache))
    with counted("cells", len(list(cells))) as tick:
        rows = run(cells, tick)
    show_matrix(rows)
    spent = cells.spent
    line = f"{cells.out / 'table.csv'}: {len(rows)} rows"
    line += f"; this run: {spent.calls} calls, {spent.tokens} tokens" if cells.budgets else ""
    typer.echo(line)
    if any(row.note for row in rows):
        raise typer.Exit(1)
