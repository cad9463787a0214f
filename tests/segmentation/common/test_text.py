"""One line: printable, single spaces, limited length."""

import pytest

from segmentation.common.text import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" a\n\tb ", "a b"),
        ("a\x1b[2Jb\u202e", "a?[2Jb?"),
        ("a" * 300, "a" * 197 + "..."),
        (ValueError("x\ny"), "x y"),
    ],
)
def test_a_text_becomes_one_printable_line(text, line):
    assert one_line(text) == line
    assert one_line(text).isprintable()
