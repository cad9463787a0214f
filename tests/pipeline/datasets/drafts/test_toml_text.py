"""Names of drafted data sets, from any folder."""

from pathlib import Path

import pytest

from pipeline.datasets.drafts.toml_text import data_set_name


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("AMOS22", "amos22"),
        ("my data (v2)", "my-data-v2"),
        ("_private-", "private"),
        ("數據", "own-data"),
        ("a_b-c", "a_b-c"),
    ],
)
def test_a_folder_gives_a_name_of_small_letters_digits_and_dashes(folder, name):
    assert data_set_name(Path("/data") / folder) == name
