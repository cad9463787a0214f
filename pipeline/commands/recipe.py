"""`tak recipe`: one recipe, fully resolved and explained."""

from typing import Annotated

import typer

KEPT = "nothing was changed"  # after a signal


def recipe(
    name: Annotated[str, typer.Argument(help="A shipped recipe, or a TOML file.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change of the recipe: table.key=value.")
    ] = None,
) -> None:
    """Print a recipe as TOML, fully resolved, with the meaning of every key.

    The output is itself a recipe: `tak recipe tak > mine.toml`, then
    `tak train --recipe mine.toml`.
    """
    from pipeline.config.annotated import annotated
    from pipeline.config.recipe_files import read_config
    from pipeline.files import shipped

    config = read_config(shipped.find("recipes", name), changes or ())
    typer.echo(annotated(config), nl=False)
