"""Options with several words: as if the option were repeated."""

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from pipeline.commands.shared.many_words import ManyWords

app = typer.Typer()


@app.command(cls=ManyWords)
def main(
    scans: Annotated[list[str], typer.Argument()],
    classes: Annotated[list[str] | None, typer.Option()] = None,
    out: Annotated[str, typer.Option("--out", "-o")] = "",
) -> None:
    """Print what was understood."""
    typer.echo(f"{scans} {classes} {out}")


@pytest.mark.parametrize(
    ("words", "understood"),
    [
        (["ct", "--classes", "liver", "spleen", "-o", "m"], "['ct'] ['liver', 'spleen'] m"),
        (["ct", "--classes", "liver", "--classes", "spleen"], "['ct'] ['liver', 'spleen'] "),
        (["a", "b", "--classes", "liver"], "['a', 'b'] ['liver'] "),
        (["a", "b", "-o", "m"], "['a', 'b'] None m"),
    ],
)
def test_words_up_to_the_next_option_belong_to_the_first(words, understood):
    assert CliRunner().invoke(app, words).output.rstrip("\n") == understood
