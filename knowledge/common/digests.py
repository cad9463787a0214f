"""Digests of JSON values."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest_of(value: Any) -> str:
    """The sha256 (hex) of a value that JSON can express."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
