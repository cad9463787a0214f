"""Sizes of the parts of a split: shares, numbers, and requests that contradict each other."""

import pytest

from pipeline.datasets.split_sizes import (
    SplitRequest,
    check_request,
    count_of,
    labeled_number,
    part_sizes,
)


@pytest.mark.parametrize(
    ("text", "cases", "number"), [("7", 100, 7), ("5%", 39, 1), ("2.5%", 200, 5), ("100%", 3, 3)]
)
def test_shares_are_rounded_down_and_numbers_stay(text, cases, number):
    assert count_of("--test", text, cases) == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("many", "expected a share such as 5%, or a number"),
        ("0%", "expected a share above 0% and up to 100%"),
        ("101%", "expected a share above 0% and up to 100%"),
        ("-1", "expected 0 cases or more"),
        ("nan%", "expected a share above 0%"),
    ],
)
def test_other_sizes_are_refused_with_their_option(text, message):
    with pytest.raises(ValueError, match=message):
        count_of("--test", text, 10)


def test_all_parts_together_are_the_cases_with_a_mask():
    assert part_sizes(SplitRequest(), 20) == {"train": 14, "validation": 2, "test": 4}
    assert part_sizes(SplitRequest(test="3"), 20) == {"train": 17, "validation": 0, "test": 3}
    with pytest.raises(ValueError, match="of 4 with a mask leave none to train on"):
        part_sizes(SplitRequest(test="3", validation="1"), 4)


def test_a_small_share_still_labels_a_case_and_too_many_are_refused():
    assert labeled_number("1%", 20, 20) == 1
    with pytest.raises(ValueError, match="that is 10 cases, and 4 of the 20 training cases"):
        labeled_number("50%", 20, 4)


@pytest.mark.parametrize(
    ("request_", "split", "message"),
    [
        (SplitRequest(test="1"), "5p", "--split 5p keeps its lists"),
        (SplitRequest(folds=3, test="1"), None, "--folds makes every fold the test part"),
        (SplitRequest(folds=1), None, "--folds 1: expected 2 or more"),
    ],
)
def test_options_that_contradict_each_other_are_refused(request_, split, message):
    with pytest.raises(ValueError, match=message):
        check_request(request_, split)
