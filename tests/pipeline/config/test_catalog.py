"""The catalog of choices and printed recipes, read from the code itself."""

import pytest

from pipeline.config.annotated import annotated
from pipeline.config.catalog import KINDS, catalog, find
from pipeline.config.recipe_files import read_config
from pipeline.config.registry import names
from pipeline.files import shipped
from segmentation.training.augmentation import Augmentation


def test_every_registry_is_in_the_catalog_with_a_line_each():
    entries = catalog()
    assert {entry.kind for entry in entries} == set(KINDS)
    for kind, package in (
        ("method", "segmentation.methods"),
        ("encoder", "knowledge.encoders"),
        ("provider", "knowledge.providers"),
    ):
        assert [entry.name for entry in entries if entry.kind == kind] == names(package)
    assert [entry.name for entry in entries if not entry.summary] == []


def test_an_entry_is_found_by_either_spelling_and_a_typo_is_answered():
    assert find("ua-mt")[0] in find("ua_mt")
    assert {option.name for option in find("magicnet")[0].options} >= {"cube", "decay"}
    with pytest.raises(LookupError, match="did you mean magicnet"):
        find("magicnte")


def test_the_tables_of_a_recipe_are_in_the_catalog_with_every_key():
    (entry,) = find("augmentation")
    assert entry.kind == "table"
    keys = {key.name: key for key in entry.options}
    assert set(keys) == set(Augmentation.model_fields)
    assert all(key.meaning for key in keys.values())
    assert keys["enlarge"].kind == "2 x float, >= 0"
    assert {"network", "training", "inference"} <= {each.name for each in find("table")}


@pytest.mark.parametrize("name", shipped.names("recipes"))
def test_a_printed_recipe_is_the_recipe(name, tmp_path):
    config = read_config(shipped.find("recipes", name))
    path = tmp_path / "printed.toml"
    path.write_text(annotated(config), encoding="utf-8")
    printed = read_config(path)
    assert printed.method.name == config.method.name
    plain = config.model_dump(mode="json", exclude={"method", "loss", "alignment"})
    assert printed.model_dump(mode="json", exclude={"method", "loss", "alignment"}) == plain
    for table in ("method", "loss", "alignment"):
        chosen, again = getattr(config, table).options, getattr(printed, table).options
        assert {key: again[key] for key in chosen} == chosen, "and the defaults written out"
    assert annotated(printed) == annotated(config)


def test_the_version_is_that_of_the_package(tak):
    code, out, _ = tak("--version")
    assert code == 0
    assert out.startswith("tak-seg ")
