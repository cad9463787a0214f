"""Texts that others wrote, shown in a terminal as they stand."""

import numpy as np
import pytest

from knowledge.bank.bank import Bank
from knowledge.bank.merge import difference
from knowledge.encoders.hashing import Hashing
from pipeline.texts.tables import show_bank, show_difference, show_statistics


def test_texts_of_a_bank_are_shown_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    texts = (("all the [/b] rest",), ("The [red]knob \x1b[2J[/red] is \u202egone.",))
    encoder = Hashing(16)
    vectors = np.stack([encoder.encode(row) for row in texts])
    names = ("background", "kn[i]ob"), ("pl[/]ace",)
    counts = np.ones((2, 1), np.int32)
    bank = Bank(*names, vectors, texts, counts, encoder.spec, encoder.fingerprint())
    show_bank(bank, texts=True)
    show_statistics(bank, 5)
    show_difference(bank, bank, difference(bank, bank))
    told = capsys.readouterr().out
    for text in ("kn[i]ob", "pl[/]ace", "all the [/b] rest", "[red]knob \\x1b[2J[/red]"):
        assert text in told
    assert "\x1b" not in told
    assert "\u202e" not in told
