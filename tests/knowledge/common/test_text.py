from knowledge.common.text import one_line


def test_a_strange_text_becomes_one_short_printable_line():
    assert one_line("a\n b\u202ec\x1b[31m") == "a b?c?[31m"
    assert one_line("x" * 10_000, 20) == "x" * 17 + "..."
