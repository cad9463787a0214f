"""Texts that others wrote, shown in a terminal as they stand."""

from pathlib import Path

import numpy as np

from knowledge.bank import Bank
from knowledge.encoders.hashing import Hashing


def test_texts_of_a_bank_are_shown_as_they_stand(tak, tmp_path: Path) -> None:
    texts = (("all the [/b] rest",), ("The [red]knob \x1b[2J[/red] is \u202egone.",))
    encoder = Hashing(16)
    vectors = np.stack([encoder.encode(row) for row in texts])
    names = ("background", "kn[i]ob"), ("pl[/]ace",)
    counts = np.ones((2, 1), np.int32)
    bank = Bank(*names, vectors, texts, counts, encoder.spec, encoder.fingerprint())
    bank.write(tmp_path / "bank.h5")
    for command in (("inspect", "bank.h5"), ("diff", "bank.h5", "bank.h5")):
        code, told = tak("bank", *command)
        assert code == 0, told
        assert "kn[i]ob" in told
        assert "pl[/]ace" in told
        assert "\x1b" not in told
        assert "\u202e" not in told
    told = " ".join(tak("bank", "inspect", "bank.h5")[1].replace("│", " ").split())
    assert "[red]knob \\x1b[2J[/red]" in told
