"""Diffusion: variance of noisy maps, and sampling with a perfect predictor."""

import pytest
import torch

from segmentation.networks.diffusion import STEPS, NoiseSchedule, TimeCode


def test_noise_grows_from_almost_none_to_almost_all():
    schedule = NoiseSchedule()
    assert schedule.kept[0] == pytest.approx(1 - 1e-4, abs=1e-6)
    assert schedule.kept[-1] < 1e-4
    assert (schedule.kept.diff() < 0).all()
    product = 1.0
    for number in range(300):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * number / (STEPS - 1))
    assert schedule.kept[299].item() == pytest.approx(product, rel=1e-5)


@pytest.mark.parametrize("time", [0, 250, 999])
def test_a_noisy_map_of_a_map_of_unit_variance_has_unit_variance(time):
    g = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(1, 1, 40, 40, 40, generator=g) for _ in range(2))
    schedule = NoiseSchedule()
    noisy = schedule.noisy(clean, torch.tensor([time]), noise)
    assert noisy.var().item() == pytest.approx(1, abs=0.02)
    correlation = torch.corrcoef(torch.stack([noisy.flatten(), clean.flatten()]))[0, 1].item()
    assert correlation == pytest.approx(schedule.kept[time].sqrt().item(), abs=0.01)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_sampling_with_a_perfect_predictor_gives_the_clean_map(steps):
    clean = torch.where(torch.rand(2, 3, 4, 4, 4) > 0.5, 1.0, -1.0)
    asked = []

    def predict(noisy, times):
        asked.append(int(times[0]))
        return clean

    sampled = NoiseSchedule().sample(predict, torch.randn(clean.shape), steps)
    assert torch.equal(sampled, clean)
    assert len(asked) == steps
    assert asked[0] == STEPS - 1
    assert asked == sorted(asked, reverse=True)


def test_between_the_steps_the_noise_is_kept():
    """With the true clean map, every intermediate map is the noisy map of that time."""
    schedule, g = NoiseSchedule(), torch.Generator().manual_seed(0)
    clean = torch.where(torch.rand(1, 2, 3, 3, 3, generator=g) > 0.5, 1.0, -1.0)
    noise = torch.randn(clean.shape, generator=g)
    start = schedule.noisy(clean, torch.tensor([STEPS - 1]), noise)

    def predict(noisy, times):
        torch.testing.assert_close(noisy, schedule.noisy(clean, times, noise), atol=1e-3, rtol=1e-3)
        return clean

    schedule.sample(predict, start, 10)


def test_times_have_different_codes():
    codes = TimeCode(16)(torch.tensor([0, 1, 999]))
    assert codes.shape == (3, 16)
    assert len(torch.unique(codes, dim=0)) == 3
