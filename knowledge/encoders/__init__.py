"""Registry of text encoders: one module per encoder, and the module's name is the choice."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge.encoders.base.encoder import TextEncoder as TextEncoder

_HOMES = {
    "TextEncoder": "knowledge.encoders.base.encoder",
}
__all__ = ["TextEncoder"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use; importing the package stays cheap."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
