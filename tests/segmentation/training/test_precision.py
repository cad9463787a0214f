"""TAK's losses in 16 bits are those in 32."""

import pytest
import torch

from segmentation.losses import GA
from tests.support.small_parts import LATE, batch, make_tiny


@torch.no_grad()
def terms_of(precision, seed):
    method = make_tiny("magicnet", GA(), seed=seed, text=True)
    on = precision is not None
    with torch.autocast("cpu", precision or torch.bfloat16, enabled=on):
        return {term: float(value) for term, value in method(batch(seed), LATE).items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("precision", "bound"), [(torch.float16, 1e-3), (torch.bfloat16, 2e-2)], ids=["fp16", "bf16"]
)
def test_every_term_stays(precision, bound, seed):
    assert terms_of(precision, seed) == pytest.approx(terms_of(None, seed), rel=bound)
