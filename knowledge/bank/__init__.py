"""HDF5 banks of text vectors: encode, read, merge, controls, statistics, plots, tensors.

Imports `descriptions`, `encoders` and `common`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge.bank.bank import Bank as Bank

_HOMES = {
    "Bank": "knowledge.bank.bank",
}
__all__ = ["Bank"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use; importing the package stays cheap."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
