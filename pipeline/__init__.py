"""Files, terminal and the join of knowledge and segmentation.

A trained model segments a scan in three lines:

    from pipeline import Predictor
    mask = Predictor("runs/tak").segment("ct.nii.gz")
    mask.save("mask.nii.gz")

The names exported here are the public API; see `docs/python-api.md`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.prediction.predictor import Predictor as Predictor
    from pipeline.prediction.predictor import Segmentation as Segmentation

_HOMES = {
    "Predictor": "pipeline.prediction.predictor",
    "Segmentation": "pipeline.prediction.predictor",
}
__all__ = ["Predictor", "Segmentation"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use; importing the package stays cheap."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
