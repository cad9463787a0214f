"""`tak recipe`: a recipe that can be used, with changes."""

import tomllib

from pipeline.config.recipe_files import read_config


def test_a_change_is_part_of_the_printed_recipe_which_is_one(tak, tmp_path):
    code, out, _ = tak("recipe", "demo", "--set", "training.steps=7")
    assert code == 0
    assert tomllib.loads(out)["training"]["steps"] == 7
    (tmp_path / "mine.toml").write_text(out, encoding="utf-8")
    assert read_config(tmp_path / "mine.toml").training.steps == 7


def test_a_wrong_change_is_one_line(tak):
    code, _, err = tak("recipe", "demo", "--set", "training.stepz=7")
    assert code == 1
    assert "did you mean training.steps?" in err
