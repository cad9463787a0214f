"""`tak sweep`: variants of a recipe and several seeds, trained and scored, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.experiments.sweep import SweepRun, SweepSetup


PreparedFolder = Annotated[Path, typer.Argument(help="Folder that `tak prepare` wrote.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of all runs.")]
Recipe = Annotated[str, typer.Option(help="A shipped recipe or a TOML file.")]
Variants = Annotated[
    str | None,
    typer.Option(help="Shipped variants or a TOML file: a table of changes each."),
]
Seeds = Annotated[
    list[int] | None, typer.Option(help="One run each; all words up to the next option.")
]
BankFile = Annotated[
    Path | None, typer.Option("--bank", help="Text vectors, where a variant reads text.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change the recipe of every variant.")
]
Part = Annotated[str, typer.Option(help="Part to score: validation or test.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def sweep(
    prepared: PreparedFolder,
    output: Out,
    recipe: Recipe = "tak",
    variants: Variants = None,
    seeds: Seeds = None,
    bank: BankFile = None,
    changes: Changes = None,
    part: Part = "test",
    device: Device = "auto",
) -> None:
    """Train and score a recipe with several seeds, or variants of it, and tabulate the means.

    Every run lies in OUT/VARIANT/seed-N as `tak train` leaves it; `sweep.csv`, `sweep.json` and
    `sweep.md` hold mean and deviation over seeds. Interrupted or repeated, it does only what is
    missing. A run that fails is named at the end, with exit code 1; the others go on.

    Example: `tak sweep prepared --recipe tak --bank bank.h5 --seeds 0 1 2 -o runs/tak`
    """
    from rich.console import Console

    from pipeline.experiments import sweep as sweeping
    from pipeline.experiments.results.tables import sweep_table
    from pipeline.files import shipped
    from pipeline.files.kinds import require_kind
    from pipeline.files.outputs import require_writable_folder
    from pipeline.runs.devices import select_device
    from segmentation.data.preparation import load_prepared

    if part not in ("validation", "test"):
        raise LookupError(f"no part {part!r} to score; there is validation, test")
    chosen: dict[str, list[str]] = {sweeping.SINGLE: []}
    if variants is not None:
        chosen = sweeping.read_variants(shipped.find("variants", variants))
    path = shipped.find("recipes", recipe)
    cells = sweeping.cells_of(path, chosen, seeds or [0], output, changes or ())
    data = load_prepared(require_kind(prepared, "prepared"))
    bench = sweeping.SweepSetup(data, bank, select_device(device), part)
    bench.check(cells)
    require_writable_folder(output)
    notes: dict[str, list[str]] = {name: [] for name in chosen}
    for number, cell in enumerate(cells, start=1):
        typer.echo(f"{number} of {len(cells)}: {cell.variant}, seed {cell.seed}, in {cell.folder}")
        if fault := _filled(cell, bench):
            notes[cell.variant].append(f"seed {cell.seed}: {fault}")
    rows = [
        sweeping.row_of(name, [cell for cell in cells if cell.variant == name], part, notes[name])
        for name in chosen
    ]
    heading = sweeping.heading_of(bench)
    Console().print(sweep_table(rows, heading))
    typer.echo(f"wrote {', '.join(map(str, sweeping.write_table(rows, output, heading)))}")
    for row in rows:
        for note in row.notes:
            typer.echo(f"{row.variant}, {note}", err=True)
    if any(row.notes for row in rows):
        raise typer.Exit(1)


def _filled(cell: "SweepRun", bench: "SweepSetup") -> str:
    """Finish one run; what kept it from being finished, or nothing."""
    from pipeline.experiments.sweep import fill
    from pipeline.terminal.live_table import watching

    try:
        with watching(cell.config.training.steps) as watcher:
            finished = fill(cell, bench, watcher.report, watcher.recall)
    except ValueError as fault:
        return str(fault)
    except (LookupError, OSError, RuntimeError) as fault:  # a full disk, a GPU without memory
        return f"{type(fault).__name__}: {fault}"
    if not finished:
        typer.echo("stopped; the same command goes on")
        raise typer.Exit(130)
    return ""
