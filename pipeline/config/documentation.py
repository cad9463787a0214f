"""Names, types, defaults and meanings of keys, read from signatures, models and docstrings."""

import inspect
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_REQUIRED = object()
_SECTION = re.compile(r"^(Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.MULTILINE)
_LIMITS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "at least", "max_length": ""}


@dataclass(frozen=True)
class Key:
    """A key of a recipe, or an option of one of its choices.

    Attributes:
        name: of the key.
        kind: type and limits, such as `float, > 0` or `fp32 | bf16 | fp16`.
        default: None where `required` or where None is the default.
        required: whether a value must be given.
        meaning: one or more sentences of the docstring; empty if undocumented.
    """

    name: str
    kind: str
    default: Any
    required: bool
    meaning: str


def summary(kind: Any) -> str:
    """The first sentence of a docstring, on one line."""
    text = inspect.getdoc(kind) or ""
    return " ".join(text.partition("\n\n")[0].split())


def meanings(kind: type) -> dict[str, str]:
    """Descriptions by name in `Args:` and `Attributes:` of a class, inherited ones included."""
    meanings: dict[str, str] = {}
    for base in reversed(inspect.getmro(kind)):
        text = inspect.cleandoc(base.__doc__ or "") + "\n"
        for section in _SECTION.finditer(text):
            for names, meaning in _ENTRY.findall(section[2]):
                meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return meanings


def options_of(kind: type, reserved: Sequence[str] = ()) -> list[Key]:
    """The keyword-only arguments of a constructor."""
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    described = meanings(kind)
    return [
        Key(
            name,
            type_text(hints[name]),
            None if parameter.default is parameter.empty else parameter.default,
            parameter.default is parameter.empty,
            described.get(name, ""),
        )
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in reserved
    ]


def keys_of(model: type[BaseModel]) -> list[Key]:
    """The fields of a pydantic model."""
    described = meanings(model)
    return [
        Key(
            name,
            _field_text(field),
            None if field.is_required() else field.get_default(call_default_factory=True),
            field.is_required(),
            field.description or described.get(name, ""),
        )
        for name, field in model.model_fields.items()
    ]


def type_text(hint: Any) -> str:
    """A type as a reader of a recipe writes it: `int`, `3 int`, `a | b`, `list of float`."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        limits = [text for item in hint.__metadata__ for text in _limits(item)]
        return ", ".join((type_text(parts[0]), *limits))
    if origin is typing.Literal:
        return " | ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(part) for part in parts if part is not type(None))
    if origin is tuple and parts[-1:] != (...,):
        return f"{len(parts)} x {type_text(parts[0])}"
    if origin is not None and parts:
        return f"list of {type_text(parts[0])}"
    return {"str": "text", "bool": "true | false"}.get(hint.__name__, hint.__name__)


def _field_text(field: FieldInfo) -> str:
    limits = [text for item in field.metadata for text in _limits(item)]
    return ", ".join((type_text(field.annotation), *limits))


def _limits(item: Any) -> list[str]:
    """The limits of pydantic's metadata: `Field(ge=0)` within Annotated, or `Ge(0)`."""
    if isinstance(item, FieldInfo):
        return [text for inner in item.metadata for text in _limits(inner)]
    return [
        f"{sign} {getattr(item, name)}".strip()
        for name, sign in _LIMITS.items()
        if getattr(item, name, None) is not None
    ]
