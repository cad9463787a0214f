"""What a mistake in a recipe, in `--set` or in a name is answered with."""

import pytest

from knowledge.common.suggest import did_you_mean, nearest
from pipeline.config.recipe_files import read_config
from pipeline.config.registry import load_choice
from pipeline.files import shipped
from segmentation.methods.base.method import Method

OWN = (
    'title = "own"\n[network]\nwidth = 4\nlevels = 3\n[method]\nname = "magicnet"\ncube = 8\n'
    '[loss]\nname = "ga"\n[alignment]\nname = "none"\n'
    "[training]\nsteps = 10\npatch = [16, 16, 16]\n"
)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (
            "traning.steps=30",
            r"did you mean training\.steps\? \[training\] has steps, epochs",
        ),
        (
            "training.stepz=30",
            r"did you mean training\.steps\? \[training\] has steps, epochs",
        ),
        ("metod.cube=8", r"did you mean method\.cube\?"),
        ("netwrk.widht=8", r"did you mean network\.width\? \[network\] has width, levels"),
        ("seeds=8", r"did you mean seed\? a recipe has title, seed, network"),
        ("method.decai=1", r"method\.decai: unknown key; MagicNet has .*did you mean decay\?"),
        ("loss.gama=1", r"loss\.gama: unknown key"),
        ("alignment.weight=1", r"alignment\.weight: alignment none has no options"),
        ("method.name=UA-MT", r"there is .*; did you mean ua_mt\?"),
        ("loss.name=dise_ce", r"no loss 'dise_ce'; there is .*; did you mean dice_ce\?"),
        ("training.steps=many", r"training\.steps: .*valid integer.*, not 'many'"),
        ("training.patch=[16, 16]", r"training\.patch: a value is missing in \[16, 16\]"),
        ("training=3", r"training: is a table of keys, not 3"),
        ("method.cube=big", r"method\.cube: 'big' cannot be: .*integer"),
        ("method.decay=inf", r"method\.decay: inf cannot be: .*finite"),
        ("text.norm=inf", r"text\.norm: .*finite number, not inf"),
        (
            "augmentation.rotatoin=9",
            r"did you mean augmentation\.rotation\? \[augmentation\] has probability, rotation",
        ),
        ("augmentaton.rotation=9", r"did you mean augmentation\.rotation\?"),
        (
            "augmentation.scaling=[2, 1]",
            r"augmentation\.scaling: .*do not fall, got \[2\.0",
        ),
        ("augmentation.low_resolution=[1, 2]", r"low_resolution: expected shares of at most 1"),
        ("augmentation.views=two", r"views = two needs a transform of the intensity: gamma"),
        ('augmentation.mirror=["w"]', r"augmentation\.mirror: .*'x', 'y' or 'z'"),
        ("inference.overlap=nan", r"inference\.overlap: .*finite|less than 1"),
    ],
)
def test_a_wrong_change_is_quoted_and_the_recipe_is_not_blamed(recipe, change, answer):
    with pytest.raises(ValueError, match=answer) as told:
        read_config(recipe, ["seed=3", change])
    assert str(told.value).startswith(f"--set {change}: ")
    assert "own.toml" not in str(told.value)


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        ("steps =", "stepz =", r"training\.stepz: unknown key; did you mean training\.steps\?"),
        ("[training]", "[traning]", r"traning: unknown key; did you mean training\.steps\?"),
        ("cube = 8", "cubes = 8", r"method\.cubes: unknown key; .*did you mean cube\?"),
        ("width = 4", 'width = "x"', r"network\.width: input should be a valid integer"),
    ],
)
def test_a_typo_in_an_own_recipe_names_file_and_key(recipe, old, new, answer):
    recipe.write_text(OWN.replace(old, new))
    with pytest.raises(ValueError, match=answer) as told:
        read_config(recipe, ["seed=3"])
    assert str(told.value).startswith(f"{recipe}: ")


def test_keys_that_do_not_fit_each_other_name_the_recipe_and_the_change(recipe):
    with pytest.raises(ValueError, match=r"own\.toml with --set training\.patch=\[18, 16, 16\]: "):
        read_config(recipe, ["seed=3", "training.patch=[18, 16, 16]"])


def test_a_fault_of_file_and_change_each_is_told_of_its_own_place(recipe):
    recipe.write_text(OWN.replace("width = 4", "width = 0"))
    with pytest.raises(ValueError, match="greater than 0") as told:
        read_config(recipe, ["training.steps=-1"])
    parts = str(told.value).split("; ")
    assert parts[0].startswith(f"{recipe}: network.width")
    assert parts[1].startswith("--set training.steps=-1: training.steps")


def test_a_recipe_with_a_byte_order_mark_and_windows_line_ends_is_read(recipe):
    recipe.write_bytes(b"\xef\xbb\xbf" + OWN.replace("\n", "\r\n").encode())
    assert read_config(recipe).title == "own"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ss-net", "ss_net"), ("UA-MT", "ua_mt"), ("MagicNett", "magicnet"), ("xyzzy", None)],
)
def test_the_nearest_name_is_found_whatever_case_and_dashes(name, expected):
    known = ["magicnet", "ss_net", "ua_mt", "urpc"]
    assert nearest(name, known) == expected
    assert did_you_mean(name, known) == ("" if expected is None else f"; did you mean {expected}?")


def test_a_method_name_of_a_paper_leads_to_the_module():
    with pytest.raises(LookupError, match=r"did you mean ss_net\?"):
        load_choice("segmentation.methods", "SS-Net", Method)


def test_two_views_need_a_method_that_has_them(recipe):
    views = ["augmentation.views=two", "augmentation.noise=0.1"]
    assert read_config(recipe, views).augmentation.views == "two"
    with pytest.raises(ValueError, match=r"method\.name = cps, .*one view; .*: .*magicnet, ua_mt"):
        read_config(recipe, [*views, 'method={name="cps"}'])


def test_options_that_a_changed_choice_does_not_have_are_blamed_on_the_change():
    demo = shipped.find("recipes", "demo")
    with pytest.raises(ValueError, match="alignment none has no options") as refused:
        read_config(demo, ["seed=3", "alignment.name=none"])
    assert str(refused.value).startswith("--set alignment.name=none: alignment.weight: ")
    assert "demo.toml" not in str(refused.value)
