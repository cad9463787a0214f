"""Strict models: unknown keys, NaN and many problems, all in one line."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from segmentation.common.models import Strict, explain


class Inner(Strict):
    """A table in a list."""

    size: int = 1


class Outer(Strict):
    """A model with a list of tables."""

    name: str
    inner: tuple[Inner, ...] = ()
    share: float = 0.0


def fault_of(**content):
    with pytest.raises(ValidationError) as fault:
        Outer.model_validate(content)
    return explain(fault.value, Path("own.toml"), Outer, {"name": 'name = "x"'})


def test_every_problem_has_its_key_and_a_hint():
    line = fault_of(inner=[{"sise": 2}], share=float("nan"))
    assert line.startswith("own.toml: name: missing key; write name = ")
    assert "inner.0.sise: unknown key; did you mean size?" in line
    assert "share: Input should be a finite number, not nan" in line


def test_a_message_stays_one_line_of_limited_length():
    line = fault_of(name="x\n" * 900, inner=[{f"key\n{n}": n} for n in range(300)])
    assert "\n" not in line
    assert len(line) < 450
