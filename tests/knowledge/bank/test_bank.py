"""Banks: what goes in comes out, for this project and for any HDF5 reader."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from knowledge.bank.bank import Bank
from knowledge.bank.encoding import encode, sentences
from knowledge.descriptions import Description, DescriptionSet, Origin, Sample
from knowledge.encoders.hashing import Hashing

CLASSES = ("background", "lämp", "door")
ASPECTS = ("place", "form")
LONG = "The lamp hangs over the table. It is round and bright. Nothing else shines."


def described(**texts: str) -> DescriptionSet:
    origin = Origin(
        provider="p", model="m", template="t", template_digest="d", question_digest="q", output="o"
    )
    return DescriptionSet(
        classes=CLASSES,
        aspects=ASPECTS,
        template="t",
        template_digest="d",
        descriptions=tuple(
            Description(
                organ=organ,
                aspect=aspect,
                samples=(
                    Sample(text=texts.get(aspect, f"the {aspect} of {organ}"), origin=origin),
                ),
            )
            for organ in CLASSES
            for aspect in ASPECTS
        ),
    )


def test_a_bank_comes_back_from_its_file_unchanged(tmp_path: Path) -> None:
    bank = encode(described(), Hashing(16))
    bank.write(tmp_path / "bank.h5")
    again = Bank.read(tmp_path / "bank.h5")
    np.testing.assert_array_equal(again.vectors, bank.vectors)
    np.testing.assert_array_equal(again.fingerprint, Hashing(16).fingerprint())
    assert again.texts == bank.texts
    assert again.digest == bank.digest
    assert again.origin == bank.origin
    assert again.description_digest == described().digest
    assert [path.name for path in tmp_path.iterdir()] == ["bank.h5"]


def test_another_reader_finds_plain_datasets(tmp_path: Path) -> None:
    bank = encode(described(), Hashing(16))
    bank.write(tmp_path / "bank.h5")
    with h5py.File(tmp_path / "bank.h5") as file:
        assert file["vectors"].shape == (3, 2, 16)
        assert file["vectors"].dtype == np.float32
        assert [name.decode() for name in file["classes"]] == list(CLASSES)
        assert file["texts"][1, 0].decode() == "the place of lämp"
        assert file["token_counts"][1, 0] == 4
        assert file.attrs["encoder"] == "hashing:16"
        assert file.attrs["format_version"] == 1


def test_vectors_are_found_by_name_in_any_order() -> None:
    bank = encode(described(), Hashing(16))
    chosen = bank.select(("door", "background"), ("form",))
    assert chosen.shape == (2, 1, 16)
    np.testing.assert_array_equal(chosen[0, 0], Hashing(16).encode(["the form of door"])[0])
    assert bank.select(CLASSES).dtype == np.float32


def test_a_missing_class_is_answered_with_those_there_are() -> None:
    bank = encode(described(), Hashing(16))
    with pytest.raises(LookupError, match="has no class 'roof'; there is background, lämp"):
        bank.select(("roof",))
    with pytest.raises(LookupError, match="has no aspect 'color'; there is place, form"):
        bank.select(CLASSES, ("color",))


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    with pytest.raises(FileNotFoundError, match="no bank"):
        Bank.read(path)
    encode(described(), Hashing(16)).write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"not a readable bank \(truncated\?\)"):
        Bank.read(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["vectors"][0, 0, 0] += 1
    with pytest.raises(ValueError, match="was altered"):
        Bank.read(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ValueError, match=r"format 99.*update tak-seg"):
        Bank.read(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="not a bank"):
        Bank.read(path)


def test_the_digest_depends_on_names_and_vectors_alone() -> None:
    bank = encode(described(), Hashing(16))
    assert replace(bank, encoder="other").digest == bank.digest
    assert replace(bank, classes=("background", "lamp", "door")).digest != bank.digest
    assert replace(bank, vectors=bank.vectors * 2).digest != bank.digest


def test_a_text_beyond_the_limit_is_an_error_that_counts() -> None:
    short = Hashing(16, token_limit=6)
    with pytest.raises(ValueError, match=r"3 of 6 texts have more than the 6 tokens.*\(14\)"):
        encode(described(place=LONG), short)


def test_split_mean_is_the_mean_over_the_sentences_of_long_texts_only() -> None:
    short = Hashing(16, token_limit=6)
    bank = encode(described(place=LONG), short, long_text="split-mean")
    parts = sentences(LONG)
    assert len(parts) == 3
    np.testing.assert_allclose(bank.vectors[0, 0], short.encode(parts).mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(bank.vectors[2, 1], short.encode(["the form of door"])[0])
    assert bank.long_text == "split-mean"
    assert bank.token_counts[0, 0] == 14
    with pytest.raises(ValueError, match="a single sentence has 6 tokens, more than the 5"):
        encode(described(place=LONG), Hashing(16, token_limit=5), long_text="split-mean")


def test_truncation_drops_what_is_beyond_the_limit() -> None:
    bank = encode(described(place=LONG), Hashing(16, token_limit=6), long_text="truncate")
    first_six = "The lamp hangs over the table"
    np.testing.assert_array_equal(bank.vectors[0, 0], Hashing(16).encode([first_six])[0])


def test_an_unknown_rule_for_long_texts_is_refused() -> None:
    with pytest.raises(LookupError, match=r"no rule for long texts .cut.; there is error"):
        encode(described(), Hashing(16), long_text="cut")
