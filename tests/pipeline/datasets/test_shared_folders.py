"""Shared folders from the command line: prepared as they are, compared with one's own."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segmentation.data.descriptor import DatasetSpec
from segmentation.data.preparation import load_prepared, read_case
from segmentation.phantom.population import Population, make_population
from tests.support.paths import DATA
from tests.support.shared_export import export
from tests.support.small_run import make_run


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "phantoms"
    spec = DatasetSpec.read(DATA / "phantom.toml")
    make_population(spec, root, Population(1, 1, 1, 1, spacing_mm=9))
    return root


@pytest.mark.parametrize(
    ("layout", "codes"), [("npy-ga", "LAS"), ("npy-dhc", "IPL"), ("h5-magicnet", "LPI")]
)
def test_a_shared_folder_is_prepared_without_naming_its_layout(
    tak, phantoms, tmp_path, layout, codes
):
    export(phantoms, tmp_path / "shared", layout, codes=codes)
    code, out, _ = tak("prepare", tmp_path / "shared", "-o", tmp_path / "done")
    assert code == 0
    words = " ".join(out.split())
    assert f"13 organs, protocol phantom, arrays of {layout}" in words
    assert f"arrays of {layout} as they are: axes {codes} by their organs" in words
    assert "spacing 7 x 7 x 7 mm assumed; scores are on the folder's grid" in words
    assert len(load_prepared(tmp_path / "done").cases) == 4


def test_what_lies_in_npy_or_h5_below_the_folder_is_found(tak, phantoms, tmp_path):
    export(phantoms, tmp_path / "shared", "npy-dhc")
    (tmp_path / "shared" / "npy").mkdir()
    for path in (tmp_path / "shared").glob("*.npy"):
        path.rename(path.parent / "npy" / path.name)
    words = ["--layout", "npy-dhc", "--orientation", "spr"]
    code, out, _ = tak("prepare", tmp_path / "shared", "-o", tmp_path / "done", *words)
    assert code == 0
    assert "axes SPR as given, spacing 7" in " ".join(out.split())


def test_a_run_on_stored_intensities_is_scored_but_sees_no_scan(tak, phantoms, tmp_path):
    export(phantoms, tmp_path / "shared", "h5-magicnet")
    assert tak("prepare", tmp_path / "shared", "-o", tmp_path / "done")[0] == 0
    run = make_run(tmp_path / "run", load_prepared(tmp_path / "done").spec)
    code, out, err = tak("evaluate", run, tmp_path / "done", "--part", "test")
    assert code == 0, err
    assert "spacing 7 x 7 x 7 mm assumed; scores are on the folder's grid" in out
    assert json.loads((run / "evaluation-test.json").read_text())["cases"]
    scan = next((phantoms / "imagesTs").iterdir())
    code, _, err = tak("predict", run, scan, "-o", tmp_path / "mask.nii.gz")
    assert code == 1
    assert "scaled by a recipe that was never published, so a scan in HU cannot" in err


def test_comparing_finds_axes_hu_and_labels(tak, phantoms, tmp_path):
    export(phantoms, tmp_path / "shared", "npy-dhc", codes="IAR")
    words = ["prepare", phantoms, "-o", tmp_path / "own", "--compare", tmp_path / "shared"]
    code, out, _ = tak(*words)
    assert code == 0
    said = " ".join(out.split())
    assert "Axes of the folder: IAR in 4 of 4 cases; ours are RAS." in said
    assert "Grid: the same in 4 of 4 cases; theirs has" in said
    assert "which is HU itself; not clipped" in said
    assert "Labels: mean Dice" in said
    assert "Training would see a difference in" in said
    rows = [line for line in out.splitlines() if line.startswith(" phantom_")]
    assert len(rows) == 4
    assert max(map(len, rows)) <= 80
    code, out, _ = tak(*words, "--json")
    assert code == 0
    found = json.loads(out)
    assert {case["orientation"] for case in found["cases"].values()} == {"IAR"}
    assert found["only_prepared"] == []
    split = load_prepared(tmp_path / "own").split
    assert found["cases"][split.unlabeled[0]]["dice"] is None
    assert found["cases"][split.test[0]]["organs"]["liver"]["dice"] > 0.8


def test_comparing_finds_a_strange_body_and_missing_cases(tak, phantoms, tmp_path):
    shared = tmp_path / "shared"
    export(phantoms, shared, "npy-ga")
    cases = sorted(path.name[:12] for path in shared.glob("*_image.npy"))
    for kind in ("image", "label"):
        (shared / f"{cases[0]}_{kind}.npy").unlink()
    noise = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    np.save(shared / f"{cases[1]}_image.npy", noise)
    np.save(shared / f"{cases[1]}_label.npy", np.zeros((20, 20, 20), np.float32))
    words = ["prepare", phantoms, "-o", tmp_path / "own", "--compare", shared]
    code, out, _ = tak(*words)
    assert code == 0
    assert f"not in {shared}: {cases[0]}" in " ".join(out.split())
    assert f"Another body, or damaged: {cases[1]}" in out


def test_the_same_arrays_are_said_to_be_the_same(tak, phantoms, tmp_path):
    assert tak("prepare", phantoms, "-o", tmp_path / "own")[0] == 0
    (tmp_path / "shared").mkdir()
    done = load_prepared(tmp_path / "own")
    low, high = done.spec.window_hu
    for case in done.split.with_labels:
        found = read_case(done.file(case))
        np.save(tmp_path / "shared" / f"{case}_image.npy", low + (high - low) * found.image)
        np.save(tmp_path / "shared" / f"{case}_label.npy", found.label)
    words = ["prepare", phantoms, "-o", tmp_path / "own", "--compare", tmp_path / "shared"]
    code, out, _ = tak(*words)
    assert code == 0
    assert "Training on either sees the same." in out
    assert "lowest spleen with 100.0 %" in out


def test_bad_input_is_one_line(tak, phantoms, tmp_path):
    (tmp_path / "empty").mkdir()
    export(phantoms, tmp_path / "shared", "h5-magicnet")
    own = ["prepare", phantoms, "-o", tmp_path / "own"]
    assert tak(*own)[0] == 0
    for words, told in [
        ([*own, "--json"], "--json prints a comparison: give --compare FOLDER"),
        ([*own, "--compare", tmp_path / "empty"], "no shared arrays here; expected NAME_image.npy"),
        ([*own, "--compare", tmp_path / "none"], "no shared arrays here"),
        (
            [*own, "--layout", "zip"],
            "no layout 'zip'; there is amos, synapse, nnunet, totalsegmentator",
        ),
        ([*own, "--orientation", "up"], "orientation 'up': three letters are needed"),
        (
            [
                "prepare",
                tmp_path / "shared",
                "-o",
                tmp_path / "x",
                "--compare",
                tmp_path / "shared",
            ],
            "holds shared arrays as they are; nothing to compare",
        ),
    ]:
        code, _, err = tak(*words)
        assert code == 1
        assert told in err
        assert "Traceback" not in err


def test_nifti_without_orientation_is_refused_unless_it_is_told(tak, phantoms, tmp_path):
    """The same arrays, once with their affine and once with their voxel size alone."""
    root = tmp_path / "bare"
    (root / "splits").mkdir(parents=True)
    for path in [phantoms / "dataset.toml", *(phantoms / "splits").iterdir()]:
        (root / path.relative_to(phantoms)).write_text(path.read_text())
    for path in phantoms.glob("*s*/*.nii.gz"):
        image = nibabel.as_closest_canonical(nibabel.load(path))
        bare = nibabel.Nifti1Image(np.asarray(image.dataobj)[::-1], None)
        bare.header.set_zooms(image.header.get_zooms())
        target = root / path.relative_to(phantoms)
        target.parent.mkdir(exist_ok=True)
        nibabel.save(bare, target)
    words = ["prepare", root, "-o", tmp_path / "out"]
    code, _, err = tak(*words)
    assert code == 1
    assert "neither sform nor qform is set, so nothing says which way its axes run" in err
    assert "left and right may be exchanged" in " ".join(tak("inspect", root)[1].split())
    code, out, _ = tak(*words, "--orientation", "LAS")
    assert code == 0
    assert "files that state no orientation were read as LAS, as given" in out
    assert tak("prepare", phantoms, "-o", tmp_path / "own")[0] == 0
    own = load_prepared(tmp_path / "own")
    for case in own.split.cases:
        expected = read_case(own.file(case))
        found = read_case(tmp_path / "out" / f"{case}.h5")
        np.testing.assert_array_equal(found.image, expected.image)
