"""Every key of a recipe, and every option of its choices, is documented in the code."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from pipeline.config import documentation, options, recipe

CHOICES = [
    (table, name) for table in ("method", "loss", "alignment") for name in options.choices(table)
]
TABLES = (
    recipe.RunConfig,
    recipe.NetworkConfig,
    recipe.HeadConfig,
    recipe.TextConfig,
    recipe.RelationsConfig,
    recipe.Training,
    recipe.InferenceConfig,
)


@pytest.mark.parametrize(("table", "name"), CHOICES)
def test_every_option_of_a_choice_has_a_meaning(table, name):
    kind = options.constructor(table, name)
    keys = documentation.options_of(kind, options.RESERVED) if kind else []
    assert [key.name for key in keys if not key.meaning] == [], f"Args: of {kind.__name__}"
    assert [key.name for key in keys] == (options.option_names(kind) if kind else [])
    if kind:
        assert documentation.summary(kind)


@pytest.mark.parametrize("table", TABLES)
def test_every_key_of_a_table_has_a_meaning(table):
    keys = documentation.keys_of(table)
    assert [key.name for key in keys if not key.meaning] == [], f"Attributes: of {table.__name__}"
    assert {key.name for key in keys} == set(table.model_fields)


class Parent:
    """Parent.

    Args:
        given: inherited.
        other: replaced.
    """


class Child(Parent):
    """A child of two lines
    in its summary.

    Args:
        first, second: share one
            meaning: with a colon.
        other: its own.
    """

    def __init__(self, *, given: int = 1, first: float, second: str | None = None) -> None:
        """Keys only."""


def test_args_are_read_over_lines_names_and_parents():
    assert documentation.summary(Child) == "A child of two lines in its summary."
    keys = {key.name: key for key in documentation.options_of(Child)}
    shared = "share one meaning: with a colon."
    assert (keys["given"].meaning, keys["given"].default) == ("inherited.", 1)
    assert (keys["first"].meaning, keys["second"].meaning) == (shared, shared)
    assert (keys["first"].required, keys["second"].required) == (True, False)


class Model(BaseModel):
    """Attributes of many types."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    sides: tuple[int, int, int]
    mode: Literal["a", "b"] = "a"
    words: tuple[str, ...] | None = Field(default=None, min_length=1, description="Words.")


def test_types_and_limits_are_written_as_a_reader_of_a_recipe_needs_them():
    keys = {key.name: key for key in documentation.keys_of(Model)}
    assert keys["share"].kind == "float, >= 0, < 1"
    assert (keys["sides"].kind, keys["sides"].required) == ("3 x int", True)
    assert keys["mode"].kind == "a | b"
    assert (keys["words"].kind, keys["words"].meaning) == ("list of text, at least 1", "Words.")
