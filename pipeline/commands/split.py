"""`tak split`: draw the lists of a split, or only its labeled training cases."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.datasets.split_drawing import Drawn

KEPT = "lists are complete or absent; the same command starts again"  # after a signal


def split(
    data: Annotated[Path, typer.Argument(help="Prepared folder, or data set as downloaded.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="New folder for the lists.")],
    labeled: Annotated[
        str | None,
        typer.Option(
            help="Labeled training cases: a share, 5%, or a number. [default: all with a mask]"
        ),
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="Validation cases: share or number of cases with a mask.")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Test cases: share or number of cases with a mask.")
    ] = None,
    folds: Annotated[
        int, typer.Option(help="Number of folds for cross-validation; each is the test part once.")
    ] = 0,
    patients: Annotated[
        Path | None,
        typer.Option(
            help="File with a case and its patient per line. [default: DATA/patients.txt]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    descriptor: Annotated[
        str | None,
        typer.Option(help="A shipped data set name, or a TOML file. [default: DATA/dataset.toml]"),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--split", help="Split whose training, validation and test cases to keep."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the draw as JSON.")] = False,
) -> None:
    """Draw train, labeled, validation and test cases, so that every organ occurs among the labeled.

    With --test, --validation or --folds, or for data without lists (20% test, 10% validation),
    all lists are drawn: every part gets its share of each organ, and the cases of a patient stay
    together. Otherwise only the labeled part is drawn and the other lists stay the same. Cases
    without a mask are unlabeled training cases. The lists are for `tak prepare --split`.

    Examples: `tak split phantoms --test 2 --validation 1 --labeled 1 -o lists`, and
    `tak split AMOS22 --descriptor amos --split 5p --labeled 5% --seed 1 -o lists`
    """
    import json
    from functools import partial

    from rich.console import Console

    from pipeline.datasets.split_drawing import draw, read_candidates
    from pipeline.datasets.split_sizes import SplitRequest
    from pipeline.datasets.tables import draw_table
    from pipeline.files.outputs import require_writable_folder
    from pipeline.terminal.progress import counted
    from segmentation.common.files import replacing_folder

    if require_writable_folder(output).exists() and any(output.iterdir()):
        raise FileExistsError(
            f"{output} is not empty; expected a new or empty folder for the lists"
        )
    request = SplitRequest(labeled, validation, test, folds, patients)
    candidates = read_candidates(data, descriptor, base, request, partial(counted, stderr=as_json))
    if candidates.drafted:
        typer.echo(candidates.drafted, err=True)
    splits = draw(candidates, request, seed)
    with replacing_folder(output) as new:  # all lists or none
        for fold, drawn in enumerate(splits):
            drawn.split.write(new / f"fold-{fold}" if folds else new)
    if as_json:
        content = [drawn.content() for drawn in splits]
        typer.echo(json.dumps({"folds": content} if folds else content[0], indent=2))
        return
    for fold, drawn in enumerate(splits):
        folder = output / f"fold-{fold}" if folds else output
        if not folds:
            Console().print(draw_table(drawn))
        _report(folder, drawn, kept=candidates.base is not None)


def _report(folder: Path, drawn: "Drawn", *, kept: bool) -> None:
    """Print the drawn lists and warnings."""
    lists = drawn.split
    typer.echo(
        f"{folder}: {len(lists.labeled)} of {len(lists.train)} training cases labeled "
        f"({drawn.with_mask} have a mask): {', '.join(lists.labeled)}"
    )
    if not kept:
        parts = {"validation": lists.validation, "test": lists.test}
        shown = [
            f"{len(names)} {part}" + (f": {', '.join(names)}" if names else "")
            for part, names in parts.items()
        ]
        typer.echo("; ".join(shown))
    if drawn.rare:
        typer.echo(f"rare organs that a uniform draw would often miss: {', '.join(drawn.rare)}")
    if drawn.never_labeled:
        names = drawn.never_labeled
        more = f" and {len(names) - 12} more" if len(names) > 12 else ""
        typer.echo(f"warning: in no labeled case: {', '.join(names[:12])}{more}", err=True)
    if drawn.left_out:
        typer.echo(
            f"omitted, since their patients are in validation or test: {', '.join(drawn.left_out)}"
        )
