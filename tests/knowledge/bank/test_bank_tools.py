"""Statistics, merging, controls, tensors and pictures of banks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from knowledge.bank.bank import Bank
from knowledge.bank.control_kinds import DRAWN, EXCHANGED, KINDS
from knowledge.bank.control_kinds import WORDED as WORDED_KINDS
from knowledge.bank.controls import CONTROLS, etf, gram, onehot, random, shuffled, swapped_aspects
from knowledge.bank.geometry import geometry, measure
from knowledge.bank.merge import difference, merge, require_same_encoder
from knowledge.bank.statistics import cosines, effective_rank, statistics
from knowledge.bank.tensors import export_tensor, import_tensor
from knowledge.bank.worded_controls import WORDED, worded
from knowledge.encoders.hashing import Hashing

CLASSES = ("background", "left knob", "right knob", "hub", "rim")


def bank(
    classes: tuple[str, ...] = CLASSES,
    aspects: tuple[str, ...] = ("place", "form"),
    width: int = 32,
) -> Bank:
    encoder = Hashing(width)
    texts = tuple(tuple(f"the {aspect} of {name}" for aspect in aspects) for name in classes)
    vectors = np.stack([encoder.encode(row) for row in texts])
    counts = np.full(vectors.shape[:2], 4, np.int32)
    return Bank(classes, aspects, vectors, texts, counts, encoder.spec, encoder.fingerprint())


def with_vectors(vectors: np.ndarray, classes: tuple[str, ...]) -> Bank:
    """A bank of one aspect with these vectors [C, E]."""
    made = bank(classes, ("place",), vectors.shape[1])
    return replace(made, vectors=vectors[:, None].astype(np.float32))


def test_statistics_of_vectors_that_one_can_work_out() -> None:
    vectors = np.array([[3.0, 0, 0], [0, 4, 0], [0, 4, 3], [0, 0, 5]])
    (found,) = statistics(with_vectors(vectors, ("background", "left knob", "right knob", "hub")))
    assert (found.smallest_norm, found.largest_norm) == (3.0, 5.0)
    assert found.mean_cosine == pytest.approx((0.8 + 0.6) / 6)
    assert found.pairs[0] == (pytest.approx(0.8), "left knob", "right knob")
    assert found.side_distance == pytest.approx(0.2)
    assert found.side_separation == pytest.approx(0.2 / (1 - 1.4 / 6))


def test_the_effective_rank_of_a_simplex_is_its_dimension_and_of_copies_zero() -> None:
    assert effective_rank(np.eye(6, dtype=np.float32)) == pytest.approx(5.0)
    line = np.outer(np.arange(5), [1.0, 2.0, 2.0]).astype(np.float32)
    assert effective_rank(line) == pytest.approx(1.0)
    assert effective_rank(np.ones((4, 8), np.float32)) == 0.0


def test_a_list_without_sides_has_no_side_separation() -> None:
    (found,) = statistics(with_vectors(np.eye(3), ("background", "hub", "rim")))
    assert found.side_separation is None


def test_cosines_agree_with_the_definition_one_by_one() -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 7)).astype(np.float32)
    for i in range(4):
        for j in range(4):
            expected = vectors[i] @ vectors[j] / np.linalg.norm(vectors[i])
            expected /= np.linalg.norm(vectors[j])
            assert cosines(vectors)[i, j] == pytest.approx(expected, abs=1e-6)


def test_halves_of_a_bank_are_merged_into_the_whole() -> None:
    whole = bank()
    by_class = merge(bank(CLASSES[:2]), bank(CLASSES[2:]))
    by_aspect = merge(bank(aspects=("place",)), bank(aspects=("form",)))
    assert whole.digest == by_class.digest == by_aspect.digest
    assert by_class.texts == by_aspect.texts == whole.texts


def test_banks_that_disagree_are_merged_only_when_one_is_to_win() -> None:
    other = bank(("hub", "rim"))
    other = replace(other, vectors=other.vectors + 1)
    with pytest.raises(ValueError, match="disagree on 'hub', aspect 'place'"):
        merge(bank(), other)
    merged = merge(bank(), other, replace=True)
    np.testing.assert_array_equal(merged.select(("hub",)), other.select(("hub",)))
    np.testing.assert_array_equal(merged.select(CLASSES[:3]), bank().select(CLASSES[:3]))
    with pytest.raises(ValueError, match="neither bank has 'background' with aspect 'form'"):
        merge(bank(aspects=("place",)), bank(("hub",), ("form",)))


def test_banks_of_other_encoders_are_neither_merged_nor_compared() -> None:
    other = replace(bank(), fingerprint=bank().fingerprint * -1)
    with pytest.raises(ValueError, match="different encoders"):
        merge(bank(), other)
    with pytest.raises(ValueError, match="different encoders"):
        difference(bank(), other)
    with pytest.raises(ValueError, match="without a fingerprint"):
        require_same_encoder(bank(), replace(bank(), fingerprint=np.zeros((0, 32), np.float32)))


def test_a_difference_shows_what_changed_and_nothing_else() -> None:
    other = bank()
    vectors = other.vectors.copy()
    vectors[3, 1] *= -2
    texts = [list(row) for row in other.texts]
    texts[3][1] = "other"
    other = replace(other, vectors=vectors, texts=tuple(tuple(row) for row in texts))
    found = {(item.organ, item.aspect): item for item in difference(bank(), other)}
    assert len(found) == 10
    assert found["hub", "form"].cosine == pytest.approx(-1.0)
    assert not found["hub", "form"].same_text
    assert all(
        item.cosine == pytest.approx(1.0) and item.same_text
        for key, item in found.items()
        if key != ("hub", "form")
    )


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_control_has_the_form_of_its_bank_and_other_vectors(kind: str) -> None:
    made = CONTROLS[kind](bank(), 0)
    assert (made.classes, made.aspects, made.width) == (CLASSES, ("place", "form"), 32)
    assert made.digest != bank().digest
    assert made.digest == CONTROLS[kind](bank(), 0).digest
    assert made.origin["kind"] == kind
    assert made.origin["like"] == bank().digest


def test_the_random_control_keeps_lengths_and_the_onehot_control_shares_nothing() -> None:
    norms = np.linalg.norm(bank().vectors, axis=2)
    np.testing.assert_allclose(np.linalg.norm(random(bank(), 1).vectors, axis=2), norms, rtol=1e-5)
    assert random(bank(), 1).digest != random(bank(), 2).digest
    np.testing.assert_allclose(cosines(onehot(bank(), 0).vectors[:, 0]), np.eye(5), atol=1e-7)
    for made in (random(bank(), 1), onehot(bank(), 0)):
        assert made.texts == (("", ""),) * 5  # nothing that could be taken for what was told
        assert not made.token_counts.any()
    with pytest.raises(ValueError, match="5 classes do not fit a width of 4"):
        onehot(bank(width=4), 0)


@pytest.mark.parametrize("seed", range(5))
def test_shuffling_gives_every_organ_the_text_of_another(seed: int) -> None:
    made = shuffled(bank(), seed)
    assert made.texts[0] == bank().texts[0]
    assert sorted(made.texts) == sorted(bank().texts)
    for row in range(1, 5):
        assert made.texts[row] != bank().texts[row]
        index = bank().texts.index(made.texts[row])
        np.testing.assert_array_equal(made.vectors[row], bank().vectors[index])


def test_worded_controls_repeat_a_few_words_for_every_aspect() -> None:
    made = worded(bank(), "template", Hashing(32))
    assert made.texts[3] == ("a computerized tomography of a hub",) * 2
    np.testing.assert_array_equal(made.vectors[:, 0], made.vectors[:, 1])
    assert worded(bank(), "class-name", Hashing(32)).texts[3] == ("hub", "hub")
    with pytest.raises(ValueError, match="different encoders"):
        worded(bank(), "template", Hashing(16))


def test_every_kind_of_control_is_listed_once() -> None:
    assert set(CONTROLS) | {"geometry"} == set(DRAWN) | set(EXCHANGED)
    assert set(WORDED) == set(WORDED_KINDS)
    assert len(KINDS) == len(CONTROLS) + 1 + len(WORDED)


@pytest.mark.parametrize("width", [32, 6])
def test_the_gram_control_has_the_inner_products_of_the_bank(width: int) -> None:
    original, drawn = bank(width=width), gram(bank(width=width), 3)
    rows, others = original.vectors.reshape(10, -1), drawn.vectors.reshape(10, -1)
    np.testing.assert_allclose(others @ others.T, rows @ rows.T, atol=1e-5)
    means = [each.vectors.mean(axis=0) for each in (original, drawn)]
    lengths = [np.linalg.norm(mean, axis=1) for mean in means]
    np.testing.assert_allclose(lengths[1], lengths[0], atol=1e-5)
    assert not np.allclose(others, rows, atol=1e-2)
    assert gram(bank(), 3).digest != gram(bank(), 4).digest
    assert drawn.texts == (("", ""),) * 5


def test_the_etf_control_is_a_simplex_of_the_banks_lengths() -> None:
    drawn = etf(bank(), 0)
    expected = np.where(np.eye(5, dtype=bool), 1.0, -1 / 4)
    for column in range(2):
        np.testing.assert_allclose(cosines(drawn.vectors[:, column]), expected, atol=1e-5)
    norms = [np.linalg.norm(each.vectors, axis=2) for each in (drawn, bank())]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-5)
    np.testing.assert_allclose(cosines(etf(bank(width=4), 1).vectors[:, 0]), expected, atol=1e-5)
    with pytest.raises(ValueError, match="simplex of 5 classes does not fit a width of 3"):
        etf(bank(width=3), 0)


def test_swapped_aspects_of_an_organ_exchange_texts_and_vectors() -> None:
    swapped = swapped_aspects(bank(), 0)
    np.testing.assert_array_equal(swapped.vectors, bank().vectors[:, ::-1])
    assert swapped.texts == tuple(row[::-1] for row in bank().texts)
    with pytest.raises(ValueError, match="there must be two at least"):
        swapped_aspects(bank(aspects=("place",)), 0)


@pytest.mark.parametrize("kind", sorted(WORDED))
def test_worded_controls_hold_the_vectors_of_their_texts(kind: str) -> None:
    control = worded(bank(), kind, Hashing(32), seed=2)
    for row, texts in zip(control.vectors, control.texts, strict=True):
        np.testing.assert_allclose(row, Hashing(32).encode(texts), atol=1e-6)
    assert control.token_counts[0, 0] == Hashing(32).count_tokens(control.texts[0][0])
    assert control.origin["kind"] == kind
    assert control.digest == worded(bank(), kind, Hashing(32), seed=2).digest


def test_scrambled_texts_have_the_same_words_in_another_order() -> None:
    made = worded(bank(), "scrambled", Hashing(32), seed=1)
    pairs = [(a, b) for one, other in zip(bank().texts, made.texts, strict=True)
             for a, b in zip(one, other, strict=True)]  # fmt: skip
    assert all(sorted(a.split()) == sorted(b.split()) for a, b in pairs)
    assert sum(a != b for a, b in pairs) > 7
    assert made.texts != worded(bank(), "scrambled", Hashing(32), seed=2).texts


def test_a_long_text_is_scrambled_within_the_sentences_that_are_averaged() -> None:
    encoder = Hashing(32, token_limit=4)
    long = "One two three. Four five six."
    texts = ((long, "short"),) * 5
    original = replace(
        bank(),
        texts=texts,
        long_text="split-mean",
        token_limit=4,
        fingerprint=encoder.fingerprint(),
    )
    made = worded(original, "scrambled", encoder, seed=0)
    first, second = made.texts[0][0].split(". ")
    assert sorted(first.lower().split()) == ["one", "three", "two"]
    assert sorted(second.lower().removesuffix(".").split()) == ["five", "four", "six"]
    assert made.texts[0][0] != long


def test_random_words_are_as_many_and_of_the_bank() -> None:
    made = worded(bank(), "random-words", Hashing(32), seed=1)
    pool = {word for row in bank().texts for text in row for word in text.split()}
    for one, other in zip(bank().texts, made.texts, strict=True):
        assert [len(text.split()) for text in one] == [len(text.split()) for text in other]
        assert all(word in pool for text in other for word in text.split())


def test_mirrored_texts_exchange_left_and_right_and_twice_is_the_original() -> None:
    sentence = "Left of the hub, rightward; LEFT-sided, leftover, upright."
    original = replace(bank(), texts=((sentence, "the form"),) * 5)
    made = worded(original, "mirrored", Hashing(32))
    assert made.texts[0][0] == "Right of the hub, leftward; RIGHT-sided, leftover, upright."
    assert worded(made, "mirrored", Hashing(32)).texts == original.texts
    with pytest.raises(ValueError, match="nothing to mirror"):
        worded(replace(bank(), texts=(("hub", "rim"),) * 5), "mirrored", Hashing(32))
    with pytest.raises(ValueError, match="no texts to change"):
        worded(random(bank(), 0), "scrambled", Hashing(32))


def boxes(shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four boxes in a volume of 2 mm voxels."""
    voxels = np.zeros((30, 30, 30), np.uint8)
    voxels[2 + shift : 6 + shift, 10:14, 10:14] = 1
    voxels[20 + shift : 24 + shift, 10:14, 10:14] = 2
    voxels[10:16, 10:16, 2:8] = 3
    voxels[12:14, 12:14, 20:28] = 4
    return voxels, np.diag([2.0, 2.0, 2.0, 1.0])


LABELS = {"left knob": 1, "right knob": 2, "hub": 3, "rim": 4}


def test_measurements_are_in_mm_and_relative_to_the_organs() -> None:
    rows = measure(*boxes(), {"background": 0, **LABELS})
    np.testing.assert_allclose(rows[1, 3:6], 6.0)  # from center to center of 4 voxels
    np.testing.assert_allclose(rows[1, 6], np.log(4**3 * 8))
    np.testing.assert_allclose(rows[2, 0] - rows[1, 0], 36.0)
    np.testing.assert_allclose(rows[1:, :3].mean(axis=0), 0.0, atol=1e-9)
    voxels, affine = boxes()
    moved = affine.copy()
    moved[:3, 3] = [100, -50, 7]
    np.testing.assert_allclose(measure(voxels, moved, {"background": 0, **LABELS}), rows, atol=1e-9)


def test_the_geometry_control_has_the_cosines_of_the_standardized_measurements() -> None:
    cases = [boxes(), boxes(2)]
    made = geometry(bank(), cases, LABELS, 0)
    table = np.mean([measure(*case, {"background": 0, **LABELS}) for case in cases], axis=0)
    standard = (table - table.mean(axis=0)) / table.std(axis=0)
    np.testing.assert_allclose(cosines(made.vectors[:, 0]), cosines(standard), atol=1e-5)
    norms = [np.linalg.norm(each.vectors, axis=2) for each in (made, bank())]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-5)
    assert made.control.startswith("control geometry")
    with pytest.raises(ValueError, match="no labeled scan has rim"):
        geometry(bank(), cases, LABELS | {"rim": 9}, 0)
    with pytest.raises(ValueError, match="no labeled scan has background"):
        geometry(bank(), [], LABELS, 0)


def test_a_tensor_goes_through_the_classes_aspect_by_aspect(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    assert export_tensor(bank(), path, aspects=("form", "place")) == (10, 32)
    rows = torch.load(path, weights_only=True)
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows[:5].numpy(), bank().vectors[:, 1])
    np.testing.assert_array_equal(rows[5:].numpy(), bank().vectors[:, 0])
    again = import_tensor(path, CLASSES, ("form", "place"))
    np.testing.assert_array_equal(again.select(CLASSES, ("place", "form")), bank().vectors)


def test_a_half_precision_tensor_of_one_text_per_class_is_read(tmp_path: Path) -> None:
    torch.save(torch.randn(5, 8).half(), tmp_path / "x.pth")
    made = import_tensor(tmp_path / "x.pth", CLASSES, ("name",))
    assert made.vectors.dtype == np.float32
    assert made.vectors.shape == (5, 1, 8)


def test_what_is_not_a_plain_tensor_of_the_right_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(FileNotFoundError, match="no file"):
        import_tensor(path, CLASSES, ("name",))
    torch.save(torch.zeros(7, 8), path)
    with pytest.raises(ValueError, match="7 rows; 5 classes with 1 aspects"):
        import_tensor(path, CLASSES, ("name",))
    torch.save({"a": torch.zeros(5, 8)}, path)
    with pytest.raises(ValueError, match="it holds no tensor"):
        import_tensor(path, CLASSES, ("name",))
    torch.save(Path("an object that runs code when it is read"), path)
    with pytest.raises(ValueError, match="not a file of plain tensors"):
        import_tensor(path, CLASSES, ("name",))
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a file of plain tensors"):
        import_tensor(path, CLASSES, ("name",))
