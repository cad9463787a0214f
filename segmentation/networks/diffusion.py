"""Gaussian diffusion of label maps: noise schedule, noisy maps, deterministic sampling.

DDPM: Ho et al., 2020, arXiv 2006.11239; DDIM: Song et al., 2021, arXiv 2010.02502.
"""

import math
from collections.abc import Callable
from itertools import zip_longest

import torch
from torch import Tensor, nn

STEPS = 1000
_SINUSOIDS, _FIRST_BETA, _LAST_BETA = 128, 1e-4, 0.02


class NoiseSchedule(nn.Module):
    """Linear betas from 1e-4 to 0.02 in 1000 steps; `kept` [1000] is the product of 1 - beta."""

    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        betas = torch.linspace(_FIRST_BETA, _LAST_BETA, STEPS, dtype=torch.float64)
        kept = (1 - betas).cumprod(0).float()
        self.register_buffer("kept", kept, persistent=False)  # a constant

    def noisy(self, clean: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        """sqrt(k) x0 + sqrt(1 - k) noise at times [B] of maps [B, C, x, y, z]."""
        kept = self.kept[times][:, None, None, None, None]
        return kept.sqrt() * clean + (1 - kept).sqrt() * noise

    def sample(
        self, predict: Callable[[Tensor, Tensor], Tensor], start: Tensor, steps: int
    ) -> Tensor:
        """The clean map that deterministic sampling (DDIM, eta 0) ends with.

        Args:
            predict: the clean map x0 of a noisy one [B, C, x, y, z] at times [B]; clipped here.
            start: Gaussian noise [B, C, x, y, z].
            steps: of the 1000, evenly spread, the last one first.
        """
        last = max(steps - 1, 1)
        times = [round((STEPS - 1) * (last - number) / last) for number in range(steps)]
        noisy = clean = start
        for time, following in zip_longest(times, times[1:]):
            at = torch.full((len(start),), time, device=start.device)
            clean = predict(noisy, at).clamp(-1, 1)
            if following is not None:
                kept, next_kept = self.kept[time], self.kept[following]
                noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
                noisy = next_kept.sqrt() * clean + (1 - next_kept).sqrt() * noise
        return clean


class TimeCode(nn.Sequential):
    """Code [B, width] of times [B]: sinusoids and two layers."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(_SINUSOIDS, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, times: Tensor) -> Tensor:
        """The code of every time."""
        half = _SINUSOIDS // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=times.device) / (half - 1))
        angles = times[:, None].float() * rates[None]
        return super().forward(torch.cat([angles.sin(), angles.cos()], dim=1))
