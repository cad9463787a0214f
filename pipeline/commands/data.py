"""Commands of the data: phantom, prepare."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands that make and prepare scans."""
    app.command()(phantom)
    app.command()(prepare)


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for the population; new, or unfinished.")],
    descriptor: Annotated[
        str, typer.Option(help="A shipped data set name, or a TOML file: which organs to draw.")
    ] = "phantom",
    labeled: Annotated[int, typer.Option(help="Training cases with a mask.")] = 4,
    unlabeled: Annotated[int, typer.Option(help="Training cases without a mask file.")] = 8,
    validation: Annotated[int, typer.Option(help="Cases that choose the checkpoint.")] = 2,
    test: Annotated[int, typer.Option(help="Cases that training never sees.")] = 4,
    shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="X Y Z", help="Voxels along the patient's axes; or --spacing."),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Voxel size about which scans vary. [default: 5.5]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides every subject, with its number.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Make a population of abdominal "CT" scans, as NIfTI in nnU-Net's raw layout.

    Every subject differs in shape, pose, orientation and voxel size. A descriptor, `dataset.toml`,
    and the lists of cases lie with the scans. A second call makes only what is missing.

    Example: `tak phantom phantoms --labeled 4 --unlabeled 8 --jobs 2`
    """
    from pipeline import shipped
    from pipeline.progress import counted
    from segmentation.dataset import DatasetSpec
    from segmentation.phantom import Population, make_population

    spec = DatasetSpec.read(shipped.find("data", descriptor))
    if shape is None and spacing is None:
        spacing = 5.5
    population = Population(labeled, unlabeled, validation, test, spacing, shape, seed)
    total = sum(map(len, population.parts().values()))
    with counted("scans", total) as tick:
        made = make_population(spec, out, population, jobs=jobs, progress=tick)
    kept = f", {total - made} were there" if made < total else ""
    typer.echo(f"{out}: {made} scans made{kept}; {len(spec.organs)} organs")


def prepare(
    root: Annotated[Path, typer.Argument(help="Folder of the data set as downloaded.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the prepared cases.")],
    descriptor: Annotated[
        str | None,
        typer.Option(
            help="A shipped data set name, or a TOML file. [default: ROOT/dataset.toml]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="A split of the descriptor, or a folder of lists; default: the only."),
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="X Y Z", help="Another grid than the descriptor's, in mm."),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Also redo what is finished.")] = False,
) -> None:
    """Bring a raw data set to one orientation, window and grid, ready for training.

    Reads AMOS22, Synapse/BTCV and nnU-Net's raw layout. Masks of unlabeled cases are never
    opened. A second call does only what is missing or has changed.

    Example: `tak prepare AMOS22 -o prepared/amos --descriptor amos --split 5p --jobs 8`
    """
    from pipeline import shipped
    from pipeline.progress import counted
    from segmentation.dataset import DatasetSpec
    from segmentation.prepare import prepare as prepare_all

    own = root / "dataset.toml"
    if descriptor is None and not own.is_file():
        known = ", ".join(shipped.names("data"))
        raise ValueError(
            f"{root} has no dataset.toml; name a data set by --descriptor: {known}, or a TOML file"
        )
    path = own if descriptor is None else shipped.find("data", descriptor)
    spec = DatasetSpec.read(path)
    if spacing is not None:
        spec = spec.with_spacing(spacing)
    parts = spec.split(split, root)
    with counted("cases", len(parts.cases)) as tick:
        prepared = prepare_all(spec, root, out, parts, jobs=jobs, force=force, progress=tick)
    counts = ", ".join(f"{len(cases)} {part}" for part, cases in prepared.split.parts().items())
    typer.echo(f"{out}: {counts}; {len(spec.organs)} organs, protocol {spec.protocol}")
