"""The choices method, loss, head and alignment of a recipe, checked against their constructors."""

import inspect
from collections.abc import Iterator
from typing import Any, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from knowledge.common.models import Strict, problems
from knowledge.common.suggest import did_you_mean, nearest, unknown
from pipeline.config.registry import TABLES, canonical, load_choice, names
from segmentation.losses import LOSSES
from segmentation.methods.base.method import Method
from segmentation.networks.alignments.base.alignment import Alignment
from segmentation.networks.heads.base.head import Head

# Tables whose choices are the modules of a package, with the class that each module defines.
REGISTRIES: dict[str, tuple[str, type]] = {
    "method": (TABLES["method"], Method),
    "head": (TABLES["head"], Head),
    "alignment": (TABLES["alignment"], Alignment),
}
# Keyword arguments that a run passes to constructors itself; no options of a recipe.
RESERVED = ("own_deepest", "classes")
# Pydantic's error type of a choice that cannot be; its message needs no further words.
WRONG_CHOICE = "choice"


class Choice(Strict):
    """A name and the constructor options of what it names."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, content: Any) -> Any:
        """`{name = "x", a = 1}` in TOML becomes name x with option a."""
        if isinstance(content, dict) and "options" not in content:
            options = {key: value for key, value in content.items() if key != "name"}
            return {key: content[key] for key in ("name",) if key in content} | {"options": options}
        return content


def choices(table: str) -> tuple[str, ...]:
    """The names that a table of a recipe can choose."""
    if table == "loss":
        return tuple(LOSSES)
    without = ("none",) if table == "alignment" else ()
    return (*without, *names(REGISTRIES[table][0]))


def constructor(table: str, name: str) -> type | None:
    """The class of a choice; None for alignment none.

    Raises:
        LookupError: no such choice; the message lists those that exist.
    """
    known = choices(table)
    name = canonical(name, known)
    if name not in known:
        resembled = table == "loss" or nearest(name, known)
        hint = "" if resembled else "; code outside tak-seg is found by --plugins FOLDER"
        raise LookupError(unknown(table, name, known) + hint)
    if table == "loss":
        return LOSSES[name]
    if (table, name) == ("alignment", "none"):
        return None
    package, base = REGISTRIES[table]
    return load_choice(package, name, base)


def reads_text(head: str, alignment: str) -> bool:
    """Whether a network with that head and alignment needs text vectors.

    Raises:
        LookupError: no such head.
    """
    kind = constructor("head", head)
    return alignment != "none" or (kind is not None and issubclass(kind, Head) and kind.reads_text)


def checked_choice(table: str, choice: Choice) -> Choice:
    """The choice with its registered name and every option in the type of the constructor.

    Raises:
        ValidationError: one entry for each wrong key; an unknown name or option is answered with
            those that exist.
    """
    name = canonical(choice.name, choices(table))
    try:
        kind = constructor(table, name)
    except LookupError as fault:
        raise _invalid(table, [("name", str(fault))]) from None
    options: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for key, value, reason in _checked_options(kind, choice.options):
        options[key] = value
        if reason:
            faults.append((key, reason))
    if faults:
        raise _invalid(table, faults)
    return Choice(name=name, options=options)


def _checked_options(
    kind: type | None, options: dict[str, Any]
) -> Iterator[tuple[str, Any, str | None]]:
    """Each option with its value, converted, and the reason why it cannot be, if so."""
    if kind is None:
        reason = """alignment none has no options; --set 'alignment={name="none"}' removes them"""
        yield from ((key, value, reason) for key, value in options.items())
        return
    known = option_names(kind)
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    for key, value in options.items():
        if key not in known:
            names_known = f"{kind.__name__} has {', '.join(known) or 'no options'}"
            yield key, value, f"unknown key; {names_known}{did_you_mean(key, known)}"
            continue
        try:
            adapter = TypeAdapter(hints[key], config=ConfigDict(allow_inf_nan=False))
            yield key, adapter.validate_python(value), None
        except ValidationError as fault:
            reason = problems(fault).removeprefix("the whole: ")
            yield key, value, f"{value!r} cannot be: {reason}"


def option_names(kind: type) -> list[str]:
    """The keyword-only arguments of a constructor that a recipe may set."""
    return [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in RESERVED
    ]


def _invalid(table: str, faults: list[tuple[str, str]]) -> ValidationError:
    """Pydantic's error with one entry per key; raised in a validator, it keeps the keys."""
    return ValidationError.from_exception_data(
        table,
        [
            InitErrorDetails(
                type=PydanticCustomError(WRONG_CHOICE, "{reason}", {"reason": reason}),
                loc=(key,),
                input=None,
            )
            for key, reason in faults
        ],
    )
