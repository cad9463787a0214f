"""Export of a trained network with its frozen text: `torch.export` programs and ONNX.

An exported network maps patches [B, 1, x, y, z] in [0, 1] to class probabilities [B, C, x, y, z]
and needs no code of tak-seg.
"""

import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from knowledge.common.files import write_whole
from pipeline.runs.trained_model import TrainedModel

_MOST_PATCHES = 64  # of a batch


class _Probabilities(nn.Module):
    """Class probabilities of a network whose output has logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Patches [B, 1, x, y, z] to probabilities [B, C, x, y, z]."""
        return self.network(image).logits.float().softmax(1)


@torch.no_grad()
def export_program(model: TrainedModel) -> torch.export.ExportedProgram:
    """The network as a program for patches of the size it was trained with, any number at once."""
    network = _Probabilities(model.network).eval()
    patches = torch.zeros(2, 1, *model.config.training.patch)
    batch = torch.export.Dim("batch", min=1, max=_MOST_PATCHES)
    return torch.export.export(network, (patches,), dynamic_shapes=({0: batch},), strict=False)


def program_bytes(model: TrainedModel) -> bytes:
    """The exported network as a `.pt2` file."""
    buffer = io.BytesIO()
    torch.export.save(export_program(model), buffer)
    return buffer.getvalue()


def write_onnx(model: TrainedModel, target: Path) -> None:
    """Write the exported network as ONNX, atomically, with what its input must be as metadata.

    Raises:
        OSError: onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401  # torch.onnx names it in an error of many lines
    except ModuleNotFoundError:
        raise OSError(f"-o {target}: ONNX needs onnxscript: pip install 'tak-seg[onnx]'") from None
    program = torch.onnx.export(
        export_program(model), input_names=["image"], output_names=["probabilities"], verbose=False
    )
    assert program is not None
    spec = model.spec
    facts = {
        "classes": spec.classes,
        "window_hu": spec.window_hu,
        "scaling": spec.scaling,
        "grid": spec.grid.model_dump(mode="json", exclude_none=True),
        "orientation": "RAS",
        "trained_on": model.trained_on,
    }
    for key, value in facts.items():
        program.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    write_whole(target, program.model_proto.SerializeToString())
