"""The parts of a report: shapes, slices, pictures, arms, claims."""

import base64
import dataclasses
import itertools
import json
import re
import zlib

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from knowledge.bank.bank import Bank
from knowledge.descriptions import DescriptionSet
from knowledge.grounding.claims import CheckReport, summarize
from knowledge.grounding.scene import ClaimVerdict
from pipeline.report.cases import entropy_of, ranked, share_of_errors_found
from pipeline.report.organ_shapes import hull_emptiness
from pipeline.report.runs.arms import read_arms
from pipeline.report.slices import joining, pack
from pipeline.report.texts import organ_texts, read_outcome
from pipeline.report.theme import INK, SERIES, drawing, svg
from pipeline.report.tiles import ERRORS, Cut, error_kinds, most_wrong, tile
from pipeline.results.result_files import write_results
from pipeline.scoring.published import published_beside
from tests.support.report_material import ATTACK, case_of, describe, make_scored_run, scores_of


def test_convex_shapes_fill_their_hull_at_any_resolution():
    x, y, z = np.indices((25, 25, 25)) - 12
    for radius in (1, 3.3, 7.5, 11.8):
        assert hull_emptiness(x**2 + y**2 + z**2 < radius**2) == 0
    assert hull_emptiness((abs(x) < 5) & (abs(y) < 3) & (z == 2)) == 0
    assert hull_emptiness((x == y) & (y == z)) == 0
    assert hull_emptiness((x == 0) & (y == 0) & (z == 0)) == 0
    assert np.isnan(hull_emptiness(x > 100))


def test_the_hull_holds_the_voxels_that_a_triangulation_of_all_voxels_holds():
    random = np.random.default_rng(1)
    x, y, z = np.indices((14, 13, 12))
    angle = ((x < 4) | (y < 3)) & (z < 5)
    scattered = random.random((14, 13, 12)) < 0.02
    for mask in (angle, scattered):
        inside = Delaunay(np.argwhere(mask)).find_simplex(np.argwhere(mask | True)) >= 0
        expected = 1 - mask.sum() / inside.sum()
        for order in itertools.permutations(range(3)):
            assert hull_emptiness(mask.transpose(order)) == pytest.approx(expected, abs=0.005)


def test_a_curved_tube_leaves_most_of_its_hull_empty():
    x, y, z = np.indices((61, 61, 61)) - 30
    bow = ((np.sqrt(x**2 + y**2) - 24) ** 2 + z**2 < 4**2) & (x > 0)
    tube, half_disk = np.pi * 24 * np.pi * 4**2, np.pi * 28**2 / 2
    assert hull_emptiness(bow) == pytest.approx(1 - tube / (half_disk * 7), abs=0.05)


def test_entropy_is_one_for_a_coin_of_all_classes_and_zero_for_certainty():
    even, sure = torch.full((4, 1, 1, 1), 0.25), torch.zeros(4, 1, 1, 1)
    sure[2] = 1
    assert entropy_of(even).item() == pytest.approx(1)
    assert entropy_of(sure).item() == 0
    half = torch.tensor([0.5, 0.5, 0, 0])[:, None, None, None]
    assert entropy_of(half).item() == pytest.approx(0.5)


def test_the_most_uncertain_voxels_are_counted_against_all_errors():
    truth = np.zeros((10, 10, 1))
    wrong = truth.copy()
    wrong[0, :4] = 1
    entropy = np.zeros(truth.shape, np.float32)
    entropy[0, :3], entropy[5, :7] = 0.9, 0.5
    case = case_of(truth, wrong, entropy=entropy)
    assert share_of_errors_found(case, 0.03) == 0.75
    assert np.isnan(share_of_errors_found(case_of(truth, truth), 0.03))


def test_voxels_are_joined_along_the_finest_axis_until_the_page_holds_them():
    assert joining((50, 40, 30), np.array([1.0, 1.0, 5.0]), 60_000) == (1, 1, 1)
    assert joining((50, 40, 30), np.array([1.0, 1.0, 5.0]), 15_000) == (2, 2, 1)
    x, y, z = joining((300, 300, 150), np.array([1.5, 1.5, 2.0]), 2_000_000)
    assert np.prod(np.ceil(np.divide((300, 300, 150), (x, y, z)))) <= 2_000_000


def unpacked(packed, shape):
    """The four volumes [x, y, z] of the page, read by the layout that viewer.js states."""
    content = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
    x, y, z = shape
    return [layer.reshape(z, y, x).transpose(2, 1, 0) for layer in content.reshape(4, -1)]


def test_packed_volumes_are_the_case_with_x_running_fastest():
    random = np.random.default_rng(0)
    truth, found = random.integers(0, 3, (2, 7, 6, 5))
    image = random.random((7, 6, 5)).astype(np.float32)
    case = case_of(truth, found, image=image)
    slices = pack(case, ("background", "liver", "spleen"))
    shade, there, guessed, _ = unpacked(slices.packed, slices.about["shape"])
    np.testing.assert_array_equal(shade, np.rint(image * 255))
    np.testing.assert_array_equal(there, truth)
    np.testing.assert_array_equal(guessed, found)
    for label, name in enumerate(("liver", "spleen"), start=1):
        assert truth[tuple(slices.about["centers"][name])] == label
    assert slices.about["dice"] == {"liver": 0.5, "spleen": None}
    json.dumps(slices.about, allow_nan=False)


def test_a_large_case_is_joined_to_means_and_to_the_commonest_label():
    truth = np.zeros((9, 8, 4), int)
    truth[:4, :, :2] = 1
    image = np.arange(9 * 8 * 4, dtype=np.float32).reshape(9, 8, 4) / 288
    case = case_of(truth, truth, image=image, affine=np.eye(4))
    slices = pack(case, ("background", "liver"), most=60)
    assert slices.factor == (2, 2, 2)
    assert slices.about["shape"] == [5, 4, 2]
    assert slices.about["spacing"] == [2, 2, 2]
    shade, there, _, _ = unpacked(slices.packed, [5, 4, 2])
    assert shade[1, 2, 1] == round(255 * image[2:4, 4:6, 2:4].mean())
    np.testing.assert_array_equal(there, truth[::2, ::2, ::2])


def test_errors_are_missed_added_or_exchanged():
    kinds = error_kinds(np.array([[0, 1, 0, 2]]), np.array([[0, 0, 2, 1]]))
    assert kinds.tolist() == [[0, 1, 2, 3]]
    assert list(ERRORS) == ["missed", "added", "exchanged"]


def test_pictures_show_the_patients_right_on_the_left_and_the_front_up():
    truth = np.zeros((10, 8, 6), int)
    truth[9, 7, 5] = 1  # rightmost, foremost, highest
    case = case_of(truth, truth)
    for axis, place in ((2, 5), (1, 7), (0, 9)):
        picture = tile(case, Cut(axis, place), "truth", ("background", "liver"), side=40)
        colored = np.ptp(picture.astype(int), axis=2) > 30
        rows, columns = np.nonzero(colored)
        assert colored.any()
        assert rows.max() < picture.shape[0] / 3
        assert columns.max() < picture.shape[1] / 3


def test_the_slice_to_show_is_the_one_with_most_errors():
    truth = np.zeros((6, 6, 6), int)
    found = truth.copy()
    found[2, 3, 4] = found[1, 3, 4] = found[5, 0, 0] = 1
    assert most_wrong(case_of(truth, found), 2) == Cut(2, 4)


def test_best_median_and_worst_are_taken_by_mean_dice(prepared):
    evaluation = scores_of(prepared)
    one = next(iter(evaluation.cases.values()))
    values = {"a": 0.3, "b": 0.9, "c": 0.6, "d": 0.5, "e": float("nan")}
    cases = {
        name: {organ: scores | {"dice": value} for organ, scores in one.items()}
        for name, value in values.items()
    }
    found = ranked(dataclasses.replace(evaluation, cases=cases))
    assert found == {"best": "b", "median": "d", "worst": "a"}
    two = {name: cases[name] for name in "ab"}
    assert ranked(dataclasses.replace(evaluation, cases=two)) == {"best": "b", "worst": "a"}


def alter(run, **changes):
    """Change the checkpoint of a run: `seed`, or what it belongs to."""
    state = torch.load(run / "best.pt", weights_only=True)
    if "seed" in changes:
        state["config"]["run"]["seed"] = changes.pop("seed")
    state["identity"].update(changes)
    torch.save(state, run / "best.pt")


def test_seeds_are_one_arm_and_another_text_or_split_is_another(prepared, tmp_path):
    runs = [make_scored_run(tmp_path / name, prepared) for name in "abcd"]
    for seed, run in enumerate(runs):
        alter(run, seed=seed)
    alter(runs[2], bank="0" * 64)
    alter(runs[3], data="1" * 64)
    arms = read_arms(runs, "test")
    assert [arm.seeds for arm in arms] == [(0, 1), (2,), (3,)]
    assert len({arm.label for arm in arms}) == 3
    mean, deviation = arms[0].over_seeds("all", "dice")
    assert mean == pytest.approx(scores_of(prepared).group("all", "dice")[0])
    assert deviation == 0


def test_a_seed_that_is_trained_again_is_no_further_seed(prepared, tmp_path):
    for name in ("old", "new"):
        for seed in range(2):
            alter(make_scored_run(tmp_path / name / f"seed-{seed}", prepared), seed=seed)
    arms = read_arms([tmp_path / "old", tmp_path / "new"], "test")
    assert [arm.seeds for arm in arms] == [(0, 1), (0, 1)]
    assert [arm.label.rpartition(" ")[2] for arm in arms] == ["(old)", "(new)"]


def test_a_run_is_named_once_by_itself_or_with_its_folder_of_seeds(prepared, tmp_path):
    run = make_scored_run(tmp_path / "arm" / "seed-0", prepared)
    with pytest.raises(ValueError, match="named twice"):
        read_arms([tmp_path / "arm", run], "test")


def test_runs_that_were_not_scored_alike_are_refused(prepared, tmp_path):
    one = make_scored_run(tmp_path / "one", prepared)
    other = make_scored_run(tmp_path / "other", prepared)
    changed = dataclasses.replace(scores_of(prepared), protocol="another")
    write_results(changed, other / "evaluation-test")
    with pytest.raises(ValueError, match=r"one.*other.*protocol.*phantom.*another"):
        read_arms([one, other], "test")
    with pytest.raises(ValueError, match="named twice"):
        read_arms([one, one], "test")
    with pytest.raises(FileNotFoundError, match="is no run's folder"):
        read_arms([tmp_path], "test")


def test_claims_are_shown_with_their_verdict_contradicted_ones_first(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    described = DescriptionSet.read(describe(tmp_path, prepared))
    right, left = described.claims
    findings = {
        right: [ClaimVerdict("supported", 80.0, "mm")] * 2,
        left: [ClaimVerdict("contradicted", -60.0, "mm")] * 3
        + [ClaimVerdict("supported", 1.0, "mm")],
    }
    results = tuple(summarize(claim, found) for claim, found in findings.items())
    CheckReport(cases=("a",), results=results, problems=()).write(tmp_path / "check.json")
    outcome = read_outcome(tmp_path / "check.json")
    bank = Bank.read(run / "bank.h5")
    texts = organ_texts(bank, prepared.spec.classes, None, described, outcome)
    assert texts[-1].name == "background"
    claims = next(organ for organ in texts if organ.name == "liver").claims
    assert [(claim.verdict, claim.text) for claim in claims] == [
        ("contradicted", "left of stomach"),
        ("supported", "right of spleen"),
    ]
    assert (claims[0].counted, claims[0].agreed) == ("1 of 4 scans", False)
    assert (claims[1].measured, claims[1].agreed) == ("80\u00a0mm", True)


def test_descriptions_of_another_bank_are_refused(prepared, tmp_path):
    run = make_scored_run(tmp_path / "run", prepared)
    described = DescriptionSet.read(describe(tmp_path, prepared))
    bank = dataclasses.replace(Bank.read(run / "bank.h5"), description_digest="f" * 64)
    with pytest.raises(ValueError, match="not from these"):
        organ_texts(bank, prepared.spec.classes, None, described, None)


def test_a_figure_takes_the_colors_of_the_page_and_escapes_what_it_says():
    with drawing(200, 100) as figure:
        figure.subplots().plot([0, 1], color=SERIES[0])
        text = str(svg(figure, "chart", f'a "quoted" {ATTACK}'))
    assert "var(--series-0)" in text
    assert SERIES[0] not in text
    assert INK not in text
    assert "<script" not in text
    assert "DejaVu" not in text
    assert "var(--sans)" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids
    assert all(name.startswith("chart-") for name in ids)
    for name in re.findall(r'(?:url\(|href=")#([^")]+)', text):
        assert name in ids


def test_published_numbers_stand_beside_the_same_protocol_split_part_and_rules(prepared):
    own = scores_of(prepared)
    alike = {"protocol": "amos-ga", "split": "5p", "rules": "ga"}
    found = published_beside(dataclasses.replace(own, **alike))
    assert {"GA", "TAK"} < set(found.methods)
    assert all(0 < scores["small"] < scores["large"] < 1 for scores in found.methods.values())
    for changed, said in (
        ({"rules": "scan"}, "by the rules ga"),
        ({"part": "validation"}, "of the part test"),
        ({"split": "7p"}, "No published numbers for the protocol amos-ga, split 7p"),
        ({"protocol": "phantom"}, "No published numbers for the protocol phantom"),
    ):
        none = published_beside(dataclasses.replace(own, **(alike | changed)))
        assert none.methods == {}
        assert said in none.why_none
