"""`tak render`: organs in labeled scans as pictures for a multimodal model."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from knowledge.common.suggest import unknown

KEPT = "finished pictures are kept; the same command starts again"  # after a signal


def render(
    scans: Annotated[
        Path, typer.Argument(help="Prepared folder, raw data set, or folder of masks.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path(
        "renderings"
    ),
    descriptor: Annotated[
        str | None, typer.Option(help="Data set descriptor. [default: SCANS/dataset.toml]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split that names the labeled cases.")] = None,
    case: Annotated[str | None, typer.Option(help="Labeled case. [default: the first]")] = None,
    size: Annotated[int, typer.Option(min=64, help="Width and height in pixels.")] = 512,
) -> None:
    """Draw the organs of a labeled training case from four sides, each highlighted in turn.

    The highlighted organ is red and on top, small ones are magnified in an inset, the others are
    outlines; CT scans add body and spine. Views that hardly show an organ are omitted and named.
    `tak describe --images multi --renderings FOLDER` sends the pictures. Needs the extra `render`,
    but no display.

    Example: `tak render phantoms -o renderings`
    """
    from pipeline.datasets.labeled_scans import find_labeled
    from pipeline.terminal.progress import counted

    if importlib.util.find_spec("pyvista") is None:
        raise OSError("rendering needs PyVista: pip install 'tak-seg[render]'")
    from knowledge.questions.rendering import Scenery, render_all
    from knowledge.questions.surroundings import find_surroundings
    from segmentation.imaging.colors import colors

    labeled = find_labeled(scans, descriptor=descriptor, split=split)
    chosen = case or next(iter(labeled.cases))
    if chosen not in labeled.cases:
        raise LookupError(unknown("labeled case", chosen, tuple(labeled.cases)))
    labels, affine = labeled.cases[chosen]()
    surroundings = None
    if chosen in labeled.ct:
        scan = labeled.ct[chosen]()
        if scan.shape == labels.shape:
            surroundings = find_surroundings(scan, labels, affine)
        else:
            typer.echo(
                f"no body and spine: the scan of case {chosen} has shape {scan.shape}, its mask "
                f"{labels.shape}",
                err=True,
            )
    shades = colors(range(max(labeled.labels.values()) + 1))
    of_organs = {organ: shades[label] for organ, label in labeled.labels.items()}
    scenery = Scenery(labels, affine, labeled.labels, surroundings, colors=of_organs)
    with counted("organs", len(scenery.organs) + 1) as tick:
        index, left_out = render_all(scenery, chosen, out, size=size, progress=tick)
    number = sum(len(files) for files in index.pictures.values())
    typer.echo(f"{out}: {number} pictures of case {chosen}")
    for view in left_out:
        typer.echo(f"omitted, the organ is hardly visible: {view}")
