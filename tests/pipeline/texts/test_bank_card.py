from dataclasses import replace

from markdown_it import MarkdownIt

from knowledge.bank.bank import Bank
from pipeline.texts.bank_card import bank_card
from tests.support.paths import ROOT

BANK = Bank.read(ROOT / "tests" / "support" / "saved" / "bank.h5")


def test_a_card_holds_every_text_origin_and_caveat_and_no_markup_of_theirs():
    texts = [list(row) for row in BANK.texts]
    texts[1][0] = "a | b <script>alert(1)</script>\nnext"
    origin = {"edited": ["liver position"], "model": "tiny"}
    card = bank_card(replace(BANK, texts=tuple(map(tuple, texts)), origin=origin), "bank.h5")
    page = MarkdownIt("commonmark").enable("table").render(card)
    assert "<script" not in page
    assert page.count("<tr>") == 2 + 6 + 3 + len(BANK.classes) * len(BANK.aspects)
    assert "Edited by hand after the answer: liver position." in page
    assert all(text in card for row in BANK.texts[2:] for text in row)
