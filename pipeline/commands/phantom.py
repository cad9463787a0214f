"""`tak phantom`: synthetic CT scans with organ masks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.shared.options import Jobs

KEPT = "finished scans are kept; the same command continues"  # after a signal


def phantom(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="New folder for the scans, or one to resume.")],
    descriptor: Annotated[
        str, typer.Option(help="Organs: a shipped data set name, or a TOML file.")
    ] = "phantom",
    labeled: Annotated[int, typer.Option(help="Number of training cases with a mask.")] = 4,
    unlabeled: Annotated[int, typer.Option(help="Number of training cases without a mask.")] = 8,
    validation: Annotated[int, typer.Option(help="Number of validation cases.")] = 2,
    test: Annotated[int, typer.Option(help="Number of test cases.")] = 4,
    shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            metavar="X Y Z", help="Voxels along the patient's axes (instead of --spacing)."
        ),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="MM", help="Mean voxel size. [default: 5.5]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    variety: Annotated[
        Literal["plain", "clinical"],
        typer.Option(
            help="Variety of subjects: small, or as among patients, with overlapping HU.",
        ),
    ] = "plain",
    masks: Annotated[
        Literal["labeled", "all"], typer.Option(help="Cases that get a mask.")
    ] = "labeled",
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="A shipped benchmark, such as phantom-amos, or a TOML file; it sets all options."
        ),
    ] = None,
    jobs: Jobs = 1,
) -> None:
    """Generate a population of synthetic abdominal CT scans (NIfTI, nnU-Net's raw layout).

    Subjects differ in shape, pose, orientation and voxel size. The folder also gets a descriptor,
    `dataset.toml`, and the lists of cases. A second call generates only missing scans.

    Examples: `tak phantom phantoms --labeled 4 --unlabeled 8 --jobs 2`,
    `tak phantom amos --benchmark phantom-amos-small --jobs 2`
    """
    from pipeline.files import shipped
    from pipeline.terminal.progress import counted
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.phantom.benchmark import Benchmark, digest
    from segmentation.phantom.population import Population, make_population

    if benchmark is not None:
        for name in context.params:
            source = context.get_parameter_source(name)
            given = source is not None and source.name == "COMMANDLINE"
            if given and name not in ("out", "benchmark", "jobs"):
                raise ValueError(f"--{name}: a benchmark sets it; omit it")
        chosen = Benchmark.read(shipped.find("benchmarks", benchmark))
        spec = DatasetSpec.read(shipped.find("data", chosen.descriptor))
        spec = spec.with_spacing(chosen.spacing_mm)
        population = chosen.population
    else:
        spec = DatasetSpec.read(shipped.find("data", descriptor))
        if shape is None and spacing is None:
            spacing = 5.5
        population = Population(
            labeled, unlabeled, validation, test, spacing, shape, seed, variety, masks
        )
    total = sum(map(len, population.parts().values()))
    with counted("scans", total) as tick:
        number = make_population(spec, out, population, jobs=jobs, progress=tick)
    present = f", {total - number} existed" if number < total else ""
    typer.echo(f"{out}: {number} scans written{present}; {len(spec.organs)} organs")
    if benchmark is not None:
        with counted("checked", total) as tick:
            sha256 = digest(out, population, jobs=jobs, progress=tick)
        if sha256 == chosen.sha256:
            typer.echo(f"the voxels are those of {chosen.name} {chosen.version} (sha256 verified)")
        elif not chosen.sha256:
            typer.echo(f"{benchmark} states no sha256; that of these voxels is {sha256}")
        else:
            typer.echo(
                f"warning: the voxels differ from those of {chosen.name} {chosen.version}: sha256 "
                f"{sha256}, expected {chosen.sha256}. Other processors and "
                "library versions round single voxels differently; report this with results",
                err=True,
            )
