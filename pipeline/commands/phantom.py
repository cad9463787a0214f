"""`tak phantom`: made-up CT scans with organ masks."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.shared.options import Jobs


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
    jobs: Jobs = 1,
) -> None:
    """Make a population of abdominal "CT" scans, as NIfTI in nnU-Net's raw layout.

    Every subject differs in shape, pose, orientation and voxel size. A descriptor, `dataset.toml`,
    and the lists of cases lie with the scans. A second call makes only what is missing.

    Example: `tak phantom phantoms --labeled 4 --unlabeled 8 --jobs 2`
    """
    from pipeline.files import shipped
    from pipeline.terminal.progress import counted
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.phantom.population import Population, make_population

    spec = DatasetSpec.read(shipped.find("data", descriptor))
    if shape is None and spacing is None:
        spacing = 5.5
    population = Population(labeled, unlabeled, validation, test, spacing, shape, seed)
    total = sum(map(len, population.parts().values()))
    with counted("scans", total) as tick:
        made = make_population(spec, out, population, jobs=jobs, progress=tick)
    kept = f", {total - made} were there" if made < total else ""
    typer.echo(f"{out}: {made} scans made{kept}; {len(spec.organs)} organs")
