"""`tak bank`: inspect, diff, plot, merge, import, export, control."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from knowledge.bank.control_kinds import KINDS, WORDED
from pipeline.commands.shared.interrupts import stoppable

if TYPE_CHECKING:
    from knowledge.bank.bank import Bank

KEPT = "unfinished files were removed; the same command starts again"  # after a signal
BankFile = Annotated[Path, typer.Argument(help="A bank (HDF5).")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Bank to write.")]


def inspect(
    bank: BankFile,
    texts: Annotated[bool, typer.Option(help="Print the texts.")] = True,
    pairs: Annotated[int, typer.Option(min=0, help="Number of most similar pairs.")] = 5,
) -> None:
    """Print the contents of a bank and the separability of its classes.

    Names, encoder, origin, token counts, texts; norms, mean cosine, the pairs most easily
    confused, effective rank, left/right separation. Example: `tak bank inspect bank.h5`
    """
    from knowledge.bank.bank import Bank
    from pipeline.files.hub import local
    from pipeline.texts.tables import show_bank, show_statistics

    content = Bank.read(local(bank, "bank"))
    show_bank(content, texts=texts)
    show_statistics(content, pairs)


def diff(one: BankFile, other: BankFile) -> None:
    """Compare two banks of the same encoder, class by class.

    Example: `tak bank diff bank.h5 terse.h5`
    """
    from knowledge.bank.bank import Bank
    from knowledge.bank.merge import difference
    from pipeline.files.hub import local
    from pipeline.texts.tables import show_difference

    first, second = Bank.read(local(one, "bank")), Bank.read(local(other, "bank"))
    show_difference(first, second, difference(first, second))


def plot(
    bank: BankFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG.")] = Path("bank.png"),
) -> None:
    """Draw heat maps of cosines and a 2-D map of the classes.

    Example: `tak bank plot bank.h5 -o bank.png`
    """
    from knowledge.bank.bank import Bank
    from knowledge.bank.plot import plot as draw
    from knowledge.descriptions import BACKGROUND
    from pipeline.files.hub import local
    from pipeline.files.outputs import require_writable
    from segmentation.imaging.colors import colors

    if out.suffix.lower() != ".png":
        raise ValueError(f"-o {out}: the plot is a PNG; its name ends in .png")
    require_writable(out, "picture")
    content = Bank.read(local(bank, "bank"))
    organs = [name for name in content.classes if name != BACKGROUND]
    black, *shades = colors((BACKGROUND, *organs))
    of_class = {BACKGROUND: black, **dict(zip(organs, shades, strict=True))}
    draw(content, out, [of_class[name] for name in content.classes])
    typer.echo(f"{out}")


def merge(
    one: BankFile,
    other: BankFile,
    out: Out = Path("merged.h5"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the second bank's vector where both have one.")
    ] = False,
) -> None:
    """Merge two banks of the same encoder: more classes, or more aspects.

    Example: `tak bank merge abdomen.h5 pelvis.h5 -o both.h5`
    """
    from knowledge.bank.bank import Bank
    from knowledge.bank.merge import merge as join
    from pipeline.files.hub import local
    from pipeline.files.outputs import require_writable
    from pipeline.texts.encoders import line

    require_writable(out, "bank", one, other)
    merged = join(
        Bank.read(local(one, "bank")),
        Bank.read(local(other, "bank")),
        replace=replace,
    )
    merged.write(out)
    typer.echo(f"{out}: {line(merged)}")


def import_(
    tensor: Annotated[Path, typer.Argument(help="A .pth file with one tensor [rows, width].")],
    classes: Annotated[
        str, typer.Option(help="Data set name, a file that lists organs, or names in a .txt file.")
    ],
    aspects: Annotated[
        str, typer.Option(help="Aspects in the order of the tensor's blocks, comma-separated.")
    ],
    out: Out = Path("imported.h5"),
) -> None:
    """Make a bank from a published tensor, whose rows are all classes, aspect by aspect.

    TAK's: `tak bank import amos_embedding_shape_location.pth --classes amos --aspects
    shape,position -o published.h5`. The Universal Model's has one aspect and
    32 other classes, named line by line in a file: `tak bank import txt_encoding.pth --classes
    universal.txt --aspects name`
    """
    from knowledge.bank.tensors import import_tensor
    from pipeline.datasets.organ_lists import read_organ_list
    from pipeline.files.outputs import require_writable
    from pipeline.texts.encoders import line

    require_writable(out, "bank", tensor)
    imported = import_tensor(tensor, read_organ_list(classes).classes, _listed(aspects))
    imported.write(out)
    typer.echo(f"{out}: {line(imported)}")


def export(
    bank: BankFile,
    out: Annotated[Path, typer.Option("--out", "-o", help=".pth file to write.")],
    classes: Annotated[
        str | None, typer.Option(help="Order of the classes: a class list. [default: the bank's]")
    ] = None,
    aspects: Annotated[
        str | None, typer.Option(help="Order of the blocks. [default: the bank's]")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
) -> None:
    """Export a bank as a plain tensor, as published code reads it.

    Example: `tak bank export bank.h5 --aspects shape,position -o embedding.pth`
    """
    from knowledge.bank.bank import Bank
    from knowledge.bank.tensors import export_tensor
    from pipeline.datasets.organ_lists import read_organ_list
    from pipeline.files.hub import local
    from pipeline.files.outputs import require_writable

    require_writable(out, "tensor", bank)
    rows, width = export_tensor(
        Bank.read(local(bank, "bank")),
        out,
        classes=read_organ_list(classes).classes if classes else None,
        aspects=_listed(aspects) if aspects else None,
        dtype=dtype,
    )
    typer.echo(f"{out}: {dtype} [{rows}, {width}]")


def _listed(aspects: str) -> tuple[str, ...]:
    """`shape, position` as names."""
    names = tuple(name.strip() for name in aspects.split(","))
    if "" in names:
        raise ValueError(f"--aspects {aspects!r}: expected names separated by commas")
    return names


def control(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}.")],
    like: Annotated[Path, typer.Option(help="Bank that the control replaces.")],
    out: Out = Path("control.h5"),
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    encoder: Annotated[
        str | None, typer.Option(help=f"For {', '.join(WORDED)}. [default: the bank's]")
    ] = None,
    scans: Annotated[
        Path | None, typer.Option(help="For geometry: prepared folder, raw data set, or masks.")
    ] = None,
    descriptor: Annotated[
        str | None, typer.Option(help="For geometry: label values. [default: SCANS/dataset.toml]")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="For geometry: split whose labeled cases are measured.")
    ] = None,
) -> None:
    """Make a control bank of the same classes, aspects, width and lengths, for honest ablations.

    No text: random, gram (the bank's cosines), onehot, etf (simplex), geometry (centroids, extents,
    volumes measured on labeled scans). Other texts: shuffled (another organ's), swapped-aspects.
    Other words, same encoder: class-name, template ("a computerized tomography of a ..."),
    scrambled, random-words, mirrored (left and right exchanged).

    Examples: `tak bank control shuffled --like bank.h5 -o shuffled.h5`,
    `tak bank control geometry --like bank.h5 --scans prepared`
    """
    from knowledge.bank.bank import Bank
    from knowledge.bank.controls import CONTROLS
    from knowledge.bank.worded_controls import worded
    from knowledge.common.suggest import unknown
    from pipeline.files.hub import local
    from pipeline.files.outputs import require_writable
    from pipeline.texts.encoders import line, make_encoder

    if kind not in KINDS:
        raise LookupError(unknown("control", kind, list(KINDS)))
    if (kind == "geometry") != (scans is not None):
        raise ValueError(f"control {kind}: --scans is for geometry, which needs it")
    original = Bank.read(local(like, "bank"))
    require_writable(out, "bank", like)
    if kind in WORDED:
        drawn = worded(original, kind, make_encoder(encoder or original.encoder), seed)
    elif scans is not None:
        drawn = _measured(original, scans, descriptor, split, seed)
    else:
        drawn = CONTROLS[kind](original, seed)
    drawn.write(out)
    typer.echo(f"{out}: {line(drawn)}")


def _measured(
    original: "Bank", scans: Path, descriptor: str | None, split: str | None, seed: int
) -> "Bank":
    from knowledge.bank.geometry import geometry
    from pipeline.datasets.labeled_scans import find_labeled

    labeled = find_labeled(scans, descriptor=descriptor, split=split)
    cases = (read() for read in labeled.cases.values())
    return geometry(original, cases, labeled.labels, seed)


bank = typer.Typer(no_args_is_help=True, help="Inspect, compare, merge and control text banks.")
for _name, _verb in (
    ("inspect", inspect),
    ("diff", diff),
    ("plot", plot),
    ("merge", merge),
    ("import", import_),
    ("export", export),
    ("control", control),
):
    bank.command(_name)(stoppable(_verb, KEPT))
