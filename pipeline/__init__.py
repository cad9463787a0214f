"""Reads files, joins knowledge and segmentation, and speaks to the person at the terminal.

From Python, a trained model segments a scan in three lines:

    from pipeline import Predictor
    found = Predictor("runs/tak").segment("ct.nii.gz")
    found.save("mask.nii.gz")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.prediction.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import torch no sooner than it is needed."""
    if name == "Predictor":
        from pipeline.prediction.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
