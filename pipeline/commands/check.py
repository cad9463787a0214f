"""Commands that look at labeled scans: check, render."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(render)


def check(
    descriptions: Annotated[Path, typer.Argument(help="Descriptions made by `tak describe`.")],
    scans: Annotated[Path, typer.Option(help="Prepared folder, raw data set, or folder of masks.")],
    descriptor: Annotated[
        str | None, typer.Option(help="Which label is which organ. [default: SCANS/dataset.toml]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split whose labeled cases are used.")] = None,
    cases: Annotated[int, typer.Option(min=0, help="At most so many cases; 0: all.")] = 0,
    report: Annotated[Path | None, typer.Option(help="Write the outcome as JSON.")] = None,
    record: Annotated[
        bool, typer.Option(help="Note the share of supported claims in DESCRIPTIONS.")
    ] = True,
) -> None:
    """Test every claim of a description set on labeled scans.

    Says for each claim whether it is supported, contradicted or untestable, in how many cases,
    by how many mm; and what contradicts itself, names no organ of the list, or mixes up left and
    right. Ends with exit code 1 when something is wrong.

    Example: `tak check descriptions/phantom.json --scans phantoms`
    """
    from knowledge.descriptions import DescriptionSet
    from knowledge.grounding.claims import check as check_claims
    from pipeline.datasets.labeled_scans import find_labeled
    from pipeline.files.kinds import expect
    from pipeline.terminal.progress import counted
    from pipeline.texts.tables import show_report

    described = DescriptionSet.read(expect(descriptions, "descriptions"))
    labeled = find_labeled(scans, descriptor=descriptor, split=split, limit=cases)
    with counted("cases", len(labeled.cases)) as tick:
        outcome = check_claims(described, labeled.scenes(), progress=tick)
    show_report(outcome)
    if report is not None:
        outcome.write(report)
    if record:
        share = {"supported_share": outcome.supported_share}
        described.model_copy(update=share).write(descriptions)
    if outcome.problems or outcome.count("contradicted"):
        raise typer.Exit(1)


def render(
    scans: Annotated[
        Path, typer.Argument(help="Prepared folder, raw data set, or folder of masks.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path(
        "renderings"
    ),
    descriptor: Annotated[
        str | None, typer.Option(help="Which label is which organ. [default: SCANS/dataset.toml]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split whose labeled cases are used.")] = None,
    case: Annotated[
        str | None, typer.Option(help="Which labeled case. [default: the first]")
    ] = None,
    size: Annotated[int, typer.Option(min=64, help="Width and height in pixels.")] = 512,
) -> None:
    """Draw the organs of a labeled training case from four sides, each highlighted in turn.

    The pictures are what `tak describe --images multi --renderings FOLDER` sends. Only labeled
    training cases are ever drawn. Needs no display; needs the extra `render`.

    Example: `tak render phantoms -o renderings`
    """
    from pipeline.datasets.labeled_scans import find_labeled
    from pipeline.terminal.progress import counted

    if importlib.util.find_spec("pyvista") is None:
        raise OSError("rendering needs PyVista: pip install 'tak-seg[render]'")
    from knowledge.questions.rendering import Scenery, render_all

    labeled = find_labeled(scans, descriptor=descriptor, split=split)
    chosen = case or next(iter(labeled.cases))
    if chosen not in labeled.cases:
        raise LookupError(f"no labeled case {chosen!r}; there is {', '.join(labeled.cases)}")
    labels, affine = labeled.cases[chosen]()
    scenery = Scenery(labels, affine, labeled.labels)
    with counted("organs", len(scenery.organs) + 1) as tick:
        made = render_all(scenery, chosen, out, size=size, progress=tick)
    number = sum(len(files) for files in made.pictures.values())
    typer.echo(f"{out}: {number} pictures of case {chosen}")
