"""Agreement between samples, worked out by hand."""

import pytest

from knowledge.descriptions import Claim, Description, DescriptionSet, Origin, Sample
from knowledge.grounding.agreement import agreement

ORIGIN = Origin(
    provider="p", model="m", template="t", template_digest="d", question_digest="q", output="o"
)


def described(*samples: tuple[str, tuple[str, ...]]) -> DescriptionSet:
    made = tuple(
        Sample(
            text=text,
            claims=tuple(Claim(organ="hub", relation="left_of", other=name) for name in others),
            origin=ORIGIN,
        )
        for text, others in samples
    )
    return DescriptionSet(
        classes=("hub",),
        aspects=("place",),
        template="t",
        template_digest="d",
        descriptions=(Description(organ="hub", aspect="place", samples=made),),
    )


def test_equal_samples_agree_and_disjoint_ones_do_not() -> None:
    same = agreement(described(("a b", ("rim",)), ("a b", ("rim",))))
    assert (same.claims, same.words) == (1.0, 1.0)
    other = agreement(described(("a b", ("rim",)), ("c d", ("knob",))))
    assert (other.claims, other.words) == (0.0, 0.0)


def test_partial_agreement_is_the_mean_over_pairs() -> None:
    found = agreement(described(("a b", ("rim", "knob")), ("A, b c d", ("rim",)), ("x", ())))
    assert found.claims == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert found.words == pytest.approx((4 / 6 + 0 + 0) / 3)


def test_one_sample_and_samples_without_claims_compare_nothing() -> None:
    alone = agreement(described(("a", ("rim",))))
    assert (alone.claims, alone.words) == (None, None)
    assert agreement(described(("a", ()), ("a", ()))).claims is None
