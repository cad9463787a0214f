"""The mean teacher: a running average of the student's weights (2017, arXiv 1703.01780)."""

import copy

import torch
from torch import Tensor, nn


def make_teacher(student: nn.Module) -> nn.Module:
    """A copy of the student that no gradient reaches."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, step: int, decay: float) -> None:
    """Move the teacher toward the student: t <- a t + (1 - a) s, a = min(1 - 1/(step+1), decay).

    `step` counts from 0, so after the first step the teacher equals the student, statistics of
    batch norm included. Later the teacher gathers those from its own passes.
    """
    weight = 1.0 - min(1.0 - 1.0 / (step + 1), decay)
    if weight == 1.0:
        teacher.load_state_dict(student.state_dict())
        return
    targets = [parameter.data for parameter in teacher.parameters()]
    sources = [parameter.data for parameter in student.parameters()]
    torch._foreach_lerp_(targets, sources, weight)


def perturb(image: Tensor, generator: torch.Generator, *, scale: float = 0.1) -> Tensor:
    """The image plus Gaussian noise of `scale`, clipped at twice the scale."""
    noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return image + (noise * scale).clamp(-2 * scale, 2 * scale)
