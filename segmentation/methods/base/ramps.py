"""Ramps and thresholds as functions of the completed share of a run."""

from math import exp, log

THRESHOLD_START = 0.75  # of ln 2, rising to ln 2 with the ramp


def ramp(done: float, length: float) -> float:
    """Gaussian ramp exp(-5 (1 - done/length)^2), 1 once `length` is reached.

    Both are in the same unit: steps, epochs or shares of a run (Laine & Aila, 2017,
    arXiv 1610.02242). A length of 0 means no ramp.
    """
    if length == 0:
        return 1.0
    left = 1.0 - min(max(done, 0.0), length) / length
    return exp(-5.0 * left * left)


def entropy_threshold(done: float, length: float) -> float:
    """The entropy (nats) above which a voxel counts as unsure: ln 2 (0.75 + 0.25 ramp)."""
    return log(2) * (THRESHOLD_START + (1 - THRESHOLD_START) * ramp(done, length))
