"""The folder of a run: one process at a time, configuration, copy of the bank."""

import pytest

from pipeline.config.recipe_files import read_config
from pipeline.files import shipped
from pipeline.runs.folder import RunFolder

CONFIG = read_config(shipped.find("recipes", "demo"))


def test_a_second_lock_is_refused_and_the_first_leaves_no_file(tmp_path):
    folder = RunFolder(tmp_path / "run")
    refused = pytest.raises(FileExistsError, match="another process trains there now")
    with folder.lock(), refused, RunFolder(tmp_path / "run").lock():
        pass
    with folder.lock():
        pass
    assert list(folder.path.iterdir()) == []


def test_the_configuration_is_the_same_after_reading(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    assert folder.read_config() == CONFIG


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (None, FileNotFoundError, "omit --resume to start one"),
        ("seed =", ValueError, r"config\.toml is not valid TOML"),
        ("sede = 1", ValueError, r"config\.toml: .*unknown key 'sede'; did you mean seed"),
    ],
)
def test_a_missing_or_damaged_configuration_is_named(tmp_path, text, kind, message):
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    with pytest.raises(kind, match=message):
        RunFolder(tmp_path).read_config()


def test_a_new_run_begins_a_new_log_and_copies_its_bank(tmp_path):
    (tmp_path / "bank.h5").write_bytes(b"bank")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.log.write_text("old\n")
    folder.begin(CONFIG, tmp_path / "bank.h5")
    assert not folder.log.exists()
    assert folder.bank.read_bytes() == b"bank"
    folder.keep_bank(folder.bank)  # its copy, when the run is resumed
    assert folder.bank.read_bytes() == b"bank"


def test_a_checkpoint_makes_a_run(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.holds_run
    folder.checkpoint("last").touch()
    assert folder.holds_run
