"""Feature hashing: vectors of words, without weights."""

import numpy as np

from knowledge.encoders.hashing import Hashing


def test_hashed_vectors_do_not_depend_on_the_company_and_share_with_shared_words() -> None:
    encoder = Hashing(512)
    alone, company = encoder.encode(["a left b"]), encoder.encode(["other", "a left b", "a left c"])
    np.testing.assert_array_equal(alone[0], company[1])
    assert company[1] @ company[2] > 0.3 > abs(company[0] @ company[1])
