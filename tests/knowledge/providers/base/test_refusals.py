"""Refusals of services, as they word them."""

import pytest

from knowledge.providers.base.refusals import (
    refuses_content,
    refuses_format,
    refuses_system_role,
    worth_repeating,
)
from knowledge.providers.base.retry import CallFailed


class Refusal(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status_code, self.message, self.code = status, message, code


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Refusal(400, "no"), False),
        (Refusal(400, "Model is loading"), True),
        (Refusal(403, "no"), False),
        (Refusal(429, "slow down"), True),
        (Refusal(429, "pay first", "insufficient_quota"), False),
        (Refusal(500, "no"), True),
        (Refusal(500, "unknown response_format"), False),
        (Refusal(500, "System role not supported"), False),
        (Refusal(503, "System role not supported"), True),
    ],
)
def test_a_refusal_is_worth_repeating_where_time_may_help(error, again):
    assert worth_repeating(error) is again


@pytest.mark.parametrize(
    ("error", "refusals"),
    [
        (Refusal(400, "bad request"), {"format"}),
        (Refusal(422, "response_format"), {"format"}),
        (Refusal(400, "The model is overloaded"), set()),
        (Refusal(400, "content_filter"), {"content"}),
        (Refusal(403, "flagged by moderation"), {"content"}),
        (Refusal(500, "system message is not allowed"), {"system"}),
        (Refusal(400, "roles must alternate"), {"format", "system"}),
        (Refusal(401, "response_format"), set()),
        (Refusal(500, "the file system is full"), set()),
        (ConnectionError("content_filter"), set()),
    ],
)
def test_the_reason_of_a_refusal_is_read_from_its_words(error, refusals):
    failed = CallFailed(error, again=False, spent=None)
    checks = {
        "format": refuses_format, "content": refuses_content, "system": refuses_system_role
    }  # fmt: skip
    assert {name for name, refuses in checks.items() if refuses(failed)} == refusals
