"""The options of what a recipe chooses, checked against the constructors that take them."""

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from knowledge.common.models import Strict, problems
from knowledge.common.suggest import did_you_mean, unknown
from pipeline.config.registry import load_choice
from segmentation.losses import LOSSES
from segmentation.methods.base.method import Method
from segmentation.networks.alignment import Contrast

if TYPE_CHECKING:
    from pipeline.config.recipe import RunConfig

ALIGNMENTS = ("none", "contrast")
# What a run hands to constructors itself: no option of a recipe.
GIVEN = ("own_deepest",)


def faults_of(config: "RunConfig") -> Iterator[tuple[str, str]]:
    """Each key of method, loss and alignment that cannot be, and why."""
    try:
        method = load_choice("segmentation.methods", config.method.name, Method)
    except LookupError as fault:
        yield "method.name", str(fault)
    else:
        yield from _wrong(method, config.method.options, "method")
    if config.loss.name not in LOSSES:
        yield "loss.name", unknown("loss", config.loss.name, tuple(LOSSES))
    else:
        yield from _wrong(LOSSES[config.loss.name], config.loss.options, "loss")
    options = config.alignment.options
    if config.alignment.name not in ALIGNMENTS:
        yield "alignment.name", unknown("alignment", config.alignment.name, ALIGNMENTS)
    elif config.alignment.name == "none":
        bare = """alignment none has no options; --set 'alignment={name="none"}' leaves them away"""
        yield from ((f"alignment.{key}", bare) for key in options)
    else:
        yield from _wrong(Contrast, options, "alignment", GIVEN)


def checked_options(
    kind: type, options: dict[str, Any], table: str, reserved: Sequence[str] = ()
) -> dict[str, Any]:
    """The options of a recipe's table in their types, if the constructor knows them.

    Raises:
        ValueError: an unknown option, the message lists the known ones; or a value of another type.
    """
    for key, wrong in _wrong(kind, options, table, reserved):
        raise ValueError(f"{key}: {wrong}")
    types = get_type_hints(kind.__init__)  # type: ignore[misc]
    return {name: _adapter(types[name]).validate_python(value) for name, value in options.items()}


def _wrong(
    kind: type, options: dict[str, Any], table: str, reserved: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    known = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in reserved
    ]
    types = get_type_hints(kind.__init__)  # type: ignore[misc]
    for name, value in options.items():
        if name not in known:
            has = f"{kind.__name__} has {', '.join(known) or 'no options'}"
            yield f"{table}.{name}", f"unknown key; {has}{did_you_mean(name, known)}"
            continue
        try:
            _adapter(types[name]).validate_python(value)
        except ValidationError as fault:
            reason = problems(fault).removeprefix("the whole: ")
            yield f"{table}.{name}", f"{value!r} cannot be: {reason}"


def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))


_FREE = {"name"}  # the tables below carry the options of what their name chooses


class Choice(Strict):
    """A name and the options of what it names; the options are checked by its constructor."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, content: Any) -> Any:
        """`{name = "x", a = 1}` in TOML becomes name x with option a."""
        if isinstance(content, dict) and "options" not in content:
            options = {key: value for key, value in content.items() if key not in _FREE}
            return {key: content[key] for key in _FREE & content.keys()} | {"options": options}
        return content
