"""What encoders share: fingerprints and batches."""

import numpy as np

from knowledge.encoders.base.encoder import in_batches, same_fingerprint
from knowledge.encoders.hashing import Hashing


def test_fingerprints_tell_encoders_apart_and_forgive_rounding() -> None:
    one = Hashing(64).fingerprint()
    assert same_fingerprint(one, one + np.float32(1e-4))
    assert not same_fingerprint(one, Hashing(32).fingerprint())
    assert not same_fingerprint(one, np.roll(one, 1, axis=1))


def test_batches_hold_all_texts_in_order() -> None:
    assert in_batches(["a", "b", "c"], 2) == [["a", "b"], ["c"]]
    assert in_batches([], 2) == []
