"""Overlap of a predicted and a true mask, organ by organ, and means of scores.

Empty-mask rules: an organ that is neither in the truth nor in the prediction is not scored (NaN);
an organ in only one of them has Dice and NSD 0, and no distance.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EMPTY_RULE = (
    "absent in truth and prediction: not scored; present in one of them: Dice and NSD 0, "
    "distances not scored and the case counted as missed"
)


def dice(
    prediction: NDArray[np.integer], truth: NDArray[np.integer], classes: Sequence[str]
) -> dict[str, float]:
    """Dice 2 |A and B| / (|A| + |B|) of every organ, background left out; NaN if not scored.

    Args:
        prediction, truth: labels [x, y, z] on one grid.
        classes: class names with background first.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"a prediction of {prediction.shape} for a truth of {truth.shape}")
    count = len(classes)
    predicted, true = prediction.ravel(), truth.ravel()
    both = np.bincount(true[predicted == true], minlength=count)
    total = np.bincount(predicted, minlength=count) + np.bincount(true, minlength=count)
    with np.errstate(invalid="ignore"):
        scores = 2 * both / total
    return {name: float(scores[index]) for index, name in enumerate(classes) if index}
