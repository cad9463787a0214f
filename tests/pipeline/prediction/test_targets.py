"""Which mask a scan becomes, and what is refused before any work is done."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.prediction.targets import scans_of, targets


def scans_in(folder: Path, *names: str) -> list[Path]:
    """Files that are told from scans by nothing but their content, which is never read."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return [folder / name for name in names]


def masks(inputs: list[Path], output: Path) -> list[str]:
    return [target.mask.relative_to(output).as_posix() for target in targets(inputs, output)]


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("case_0000.nii.gz", "case.nii.gz"),
        ("FLARE_0001_0000.nii.gz", "FLARE_0001.nii.gz"),
        ("case_0000.mhd", "case.nii.gz"),
        ("case_0000.NRRD", "case.NRRD"),
        ("amos_0001.nii.gz", "amos_0001.nii.gz"),
        ("case_00000.nii.gz", "case_00000.nii.gz"),
        ("_0000.nii.gz", "_0000.nii.gz"),
    ],
)
def test_a_mask_is_named_as_nnu_net_names_it(tmp_path, scan, mask):
    given = scans_in(tmp_path / "in", scan)
    assert masks(given, tmp_path / "out") == masks([tmp_path / "in"], tmp_path / "out") == [mask]


def test_masks_have_the_names_that_prepare_gives_the_cases(population, tmp_path):
    from segmentation.data.descriptor import DatasetSpec
    from segmentation.data.raw_cases import find_cases

    cases = find_cases(DatasetSpec.read(population / "dataset.toml"), population)
    held_out = [name for name, case in cases.items() if case.image.parent.name == "imagesTs"]
    found = masks([population / "imagesTs"], tmp_path)
    assert found == [f"{name}.nii.gz" for name in held_out]


def test_a_second_modality_is_refused_unless_a_list_names_it(tmp_path):
    names = ("a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
    given = scans_in(tmp_path / "in", *names)
    told = re.escape(f"{given[0]} and a_0001.nii.gz are by nnU-Net's names two modalities")
    for inputs in ([tmp_path / "in"], given, given[:2]):
        with pytest.raises(ValueError, match=f"{told}.* give the CT alone"):
            targets(inputs, tmp_path / "out")
    (tmp_path / "numbered.txt").write_text("\n".join(f"in/{name}" for name in names))
    found = masks([tmp_path / "numbered.txt"], tmp_path / "out")
    assert found == ["a_0000.nii.gz", "a_0001.nii.gz", "b.nii.gz"]
    assert masks([given[0], given[2]], tmp_path / "out") == ["a.nii.gz", "b.nii.gz"]
    (tmp_path / "folder.txt").write_text("in\n")
    with pytest.raises(ValueError, match=told):
        targets([tmp_path / "folder.txt"], tmp_path / "out")


def test_numbers_that_do_not_begin_at_zero_are_patients(tmp_path):
    names = [f"amos_{number:04}.nii.gz" for number in (1, 2, 7)]
    scans_in(tmp_path / "in", *names)
    assert masks([tmp_path / "in"], tmp_path / "out") == names


def test_two_scans_that_would_get_one_name_are_refused(tmp_path):
    scans_in(tmp_path / "in", "case.nii.gz", "case_0000.nrrd")
    with pytest.raises(ValueError, match=r"case.nii.gz and .*case_0000.nrrd would both become"):
        targets([tmp_path / "in"], tmp_path / "out")


def test_masks_do_not_go_among_the_scans_of_a_folder(tmp_path):
    scans_in(tmp_path / "in", "case_0000.nii.gz")
    with pytest.raises(ValueError, match="masks beside them would be taken for scans"):
        targets([tmp_path / "in"], tmp_path / "in")


def test_a_suffix_that_is_not_written_is_refused_before_it_becomes_a_folder(tmp_path):
    (scan,) = scans_in(tmp_path / "in", "ct.nii.gz")
    told = r"q\.png: masks end in \.nii\.gz, \.nii, \.nrrd, \.mha; if a folder is meant, make it"
    with pytest.raises(ValueError, match=told):
        targets([scan], tmp_path / "q.png")
    (tmp_path / "q.png").mkdir()
    assert masks([scan], tmp_path / "q.png") == ["ct.nii.gz"]
    assert masks([scan], tmp_path / "plain") == ["ct.nii.gz"]
    assert targets([scan], tmp_path / "m.nii.gz")[0].mask == tmp_path / "m.nii.gz"
    assert masks([tmp_path / "in"], tmp_path / "masks-1.5mm") == ["ct.nii.gz"]


@pytest.mark.skipif(os.name != "posix" or not Path("/dev/full").exists(), reason="needs /proc")
@pytest.mark.parametrize("place", ["/proc/masks", "file/masks"])
def test_a_place_that_takes_no_files_is_told_before_the_network_runs(tmp_path, place):
    from segmentation.common.files import make_writable

    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"masks: nothing can be written there \("):
        make_writable(tmp_path / place)
    make_writable(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []


def test_help_names_every_option_and_an_example():
    done = CliRunner().invoke(app, ["predict", "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert done.exit_code == 0
    for told in ("--skip-existing", "--dicom-seg", "--device", "Example: tak predict"):
        assert told in done.stdout, told


def test_series_two_levels_down_and_single_multi_frame_files_are_scans(tmp_path):
    from tests.support.dicom_objects import body, positions, write_enhanced, write_series

    write_series(tmp_path / "in" / "patient" / "study" / "ct", body())
    write_enhanced(tmp_path / "e.dcm", body(), positions(6))
    assert scans_of(tmp_path / "in") == [tmp_path / "in" / "patient" / "study" / "ct"]
    (target,) = targets([tmp_path / "e.dcm"], tmp_path / "out")
    assert target.mask.name.startswith("e")


def test_an_output_inside_the_folder_of_a_series_is_refused(tmp_path):
    from tests.support.dicom_objects import body, write_series

    write_series(tmp_path / "ct", body())
    for place in ("ct/masks", "ct/mask.nii.gz", "ct"):
        with pytest.raises(ValueError, match=r"folder of the series|holds the scans"):
            targets([tmp_path / "ct"], tmp_path / place)
