"""Digests: equal for equal values, whatever the order of keys."""

import hashlib

from knowledge.common.digests import canonical_json, digest_of


def test_the_order_of_keys_does_not_matter_and_that_of_lists_does():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


def test_a_digest_is_the_sha256_of_compact_json_in_utf_8():
    assert canonical_json({"b": "é", "a": None}) == '{"a":null,"b":"é"}'
    assert digest_of("é") == hashlib.sha256('"é"'.encode()).hexdigest()
