"""From volumes and text vectors to a trained method, its predictions and their scores.

Never imports `knowledge` or `pipeline`. The names exported here are the public API; see
`docs/python-api.md`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segmentation.data.descriptor import DatasetSpec as DatasetSpec
    from segmentation.data.preparation import prepare as prepare
    from segmentation.imaging.volume import Volume as Volume
    from segmentation.imaging.volume import read_volume as read_volume
    from segmentation.imaging.volume import write_labels as write_labels
    from segmentation.methods.base.method import Batch as Batch
    from segmentation.methods.base.method import Method as Method

_HOMES = {
    "Batch": "segmentation.methods.base.method",
    "DatasetSpec": "segmentation.data.descriptor",
    "Method": "segmentation.methods.base.method",
    "Volume": "segmentation.imaging.volume",
    "prepare": "segmentation.data.preparation",
    "read_volume": "segmentation.imaging.volume",
    "write_labels": "segmentation.imaging.volume",
}
__all__ = ["Batch", "DatasetSpec", "Method", "Volume", "prepare", "read_volume", "write_labels"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use; importing the package stays cheap."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
