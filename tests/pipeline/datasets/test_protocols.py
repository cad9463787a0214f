"""Rules of a protocol, and marks of cases that cannot be read."""

import pytest

from pipeline.datasets.protocols import case_marks, claimed, rules_for
from pipeline.files import shipped
from segmentation.data.descriptor import DatasetSpec

AMOS = DatasetSpec.read(shipped.find("data", "amos"))
PHANTOM = DatasetSpec.read(shipped.find("data", "phantom"))


def test_published_rules_are_those_of_the_protocol():
    protocol = claimed(AMOS)
    assert protocol is not None
    assert rules_for("published", AMOS) == protocol.rules
    assert rules_for("scan", AMOS) == "scan"


def test_data_of_no_published_protocol_have_no_published_rules():
    with pytest.raises(LookupError, match=r"of phantom is no published one .*name the rules: scan"):
        rules_for("published", PHANTOM)


def test_a_typo_is_answered_with_the_rules():
    with pytest.raises(LookupError, match=r"no metric rules 'publishd'; .*did you mean published"):
        rules_for("publishd", AMOS)


def test_marks_can_be_compared_and_do_not_hold_the_name():
    marks = case_marks(["amos_0002", "amos_0001"])
    assert marks == case_marks(["amos_0001", "amos_0002"])
    assert len(set(marks)) == 2
    assert not [mark for mark in marks if "amos" in mark]
