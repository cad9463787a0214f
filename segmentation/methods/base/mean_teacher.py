"""Mean teacher: exponential moving average of a student's weights (2017, arXiv 1703.01780)."""

import copy

import torch
from torch import Tensor, nn

from segmentation.methods.base.method import Method, MethodContext, check_choice
from segmentation.networks.network import Network
from segmentation.networks.vnet import initialize


class MeanTeacher(Method):
    """A student, `network`, and a teacher, its moving average, that gives it pseudo-labels.

    Args:
        decay: upper limit of the teacher's averaging; match it to the length of the run.
        average_every: steps that count as one in min(1 - 1 / (count + 1), decay).
        initialization: scheme of the student's convolutions, `kaiming` or `xavier`; torch's default
            if None.
        teacher_start: the teacher's weights in the first step: `copy`, those of the student, or
            `fresh`, random ones of its own.
    """

    def __init__(
        self,
        context: MethodContext,
        *,
        consistency_weight: float,
        consistency_ramp: float,
        decay: float,
        average_every: int = 1,
        initialization: str | None = None,
        teacher_start: str = "copy",
    ) -> None:
        super().__init__(
            context, consistency_weight=consistency_weight, consistency_ramp=consistency_ramp
        )
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], not {decay}")
        if average_every < 1:
            raise ValueError(f"average_every must be at least 1, not {average_every}")
        if initialization is not None:
            initialize(self.network, initialization)
        self.decay, self.average_every = decay, average_every
        fresh = check_choice("teacher_start", teacher_start, ("copy", "fresh")) == "fresh"
        self.teacher = make_teacher(context.build() if fresh else self.network)

    @torch.no_grad()
    def teacher_logits(self, image: Tensor) -> Tensor:
        """The teacher's logits [B, C, x, y, z] of an image [B, 1, x, y, z], in fp32.

        In training it stays in training mode: batch norm reads the statistics of the batch as it
        does in the student, since its weights move faster than running statistics could follow.
        """
        return self.teacher(image).logits.float()

    def after_step(self, step: int) -> None:
        """Update the teacher; during the warm-up it equals the student."""
        count = max(step - self.warmup_steps, 0) // self.average_every
        update_teacher(self.teacher, self.network, count, self.decay)

    def predictors(self) -> dict[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.network, "teacher": self.teacher}


def make_teacher(student: Network) -> Network:
    """A copy of the student without gradients."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, step: int, decay: float) -> None:
    """Update the average: t <- a t + (1 - a) s, a = min(1 - 1/(step+1), decay).

    `step` counts from 0, so after the first step the teacher equals the student, running statistics
    of batch norm included. Later the teacher updates those in its forward passes.
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
