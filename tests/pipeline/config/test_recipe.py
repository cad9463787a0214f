import pytest

from knowledge.common.models import checked
from pipeline.config.recipe import RunConfig
from pipeline.config.recipe_files import read_config
from pipeline.config.registry import load_choice, names
from pipeline.files import shipped
from pipeline.runs.build import RunInputs, build_method
from pipeline.runs.devices import select_device
from pipeline.runs.setting import scale_vectors
from segmentation.methods.base.method import Method

RECIPES = shipped.names("recipes")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        'title = "own"\n[network]\nwidth = 4\nlevels = 3\n[method]\nname = "supervised"\n'
        '[loss]\nname = "dice_ce"\n[training]\nsteps = 10\npatch = [16, 16, 16]\n'
    )
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_builds_a_method(name):
    import torch

    changes = ["training.patch=[32, 32, 32]", "network.levels=4", "network.width=4"]
    config = read_config(shipped.find("recipes", name))
    if config.method.name == "magicnet":
        changes += ["method.cube=16", "method.location_hidden=8"]
    config = read_config(shipped.find("recipes", name), changes).for_split(3)
    vectors = torch.randn(4, 2, 6) if config.needs_bank else None
    method = build_method(config, RunInputs(("background", "a", "b", "c"), vectors, (9, 3, 2, 1)))
    assert method.predict(torch.rand(1, 1, 32, 32, 32)).shape == (1, 4, 32, 32, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.rate=inf"], "training.rate: input should be a finite number"),
        (["training.stepz=3"], r"--set training.stepz=3: training.stepz: unknown key"),
        (["training.steps=many"], r"--set training.steps=many: training.steps"),
        (["training.patch=[16, 16]"], r"training.patch: a value is missing"),
        (["training.patch=[0, 16, 16]"], r"training.patch: .*greater than 0"),
        (["training.patch=[18, 16, 16]"], r"own.toml with --set .*multiple of 4"),
        (["network"], r"write it as table.key=value"),
        (["title.x=3"], r"'title' is not a table"),
    ],
)
def test_a_mistake_in_a_recipe_names_change_and_key(recipe, changes, message):
    with pytest.raises(ValueError, match=message):
        read_config(recipe, changes)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (["method.name=magicnett"], ValueError, "no method 'magicnett'; there is .*magicnet"),
        (["loss.name=focal"], ValueError, "there is dice_ce, ga"),
        (["alignment.name=clip"], ValueError, "there is none, contrast"),
        (["method.decai=0.9"], ValueError, r"method\.decai: unknown key"),
        (["loss.gamma=0.5"], ValueError, r"loss\.gamma: unknown key; DiceCE has no op"),
        (["head.name=text"], ValueError, "give a bank"),
        (
            ["alignment.name=none", "alignment.weight=3"],
            ValueError,
            "alignment none has no options",
        ),
        (["method.name=magicnet", "method.cube=big"], ValueError, "method.cube: 'big'"),
        (
            ["method.name=magicnet", "method.cube=4"],
            ValueError,
            "method.cube = 4 does not fit network.levels = 3",
        ),
        (["method.name=magicnet", "method.decay=1.5"], ValueError, "decay must be"),
        (["loss.name=ga", "loss.gamma=x"], ValueError, "loss.gamma: 'x'"),
        (
            ["method.name=magicnet", "training.unlabeled_per_step=0"],
            ValueError,
            "needs training.unlabeled_per_step",
        ),
    ],
)
def test_a_choice_that_does_not_exist_is_answered_with_those_that_do(
    recipe, changes, kind, message
):
    with pytest.raises(kind, match=message):
        build_method(read_config(recipe, changes), RunInputs(("background", "a")))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"method": {"name": "magicnett"}}, "there is .*magicnet"),
        ({"loss": {"name": "focal"}}, "no loss 'focal'; there is dice_ce, ga"),
        ({"alignment": {"name": "clip"}}, "there is none, contrast"),
        ({"loss": {"name": "ga", "options": {"gamma": "x"}}}, r"loss\.gamma: 'x'"),
    ],
)
def test_a_configuration_of_a_checkpoint_is_checked_when_it_is_read(recipe, table, message):
    content = read_config(recipe).model_dump(mode="json", exclude_none=True)
    with pytest.raises(ValueError, match=message):
        checked({**content, **table}, RunConfig, "last.pt")


@pytest.mark.parametrize(
    ("change", "expected"),
    [("method.name=ua-mt", "ua_mt"), ("method.name=ss-net", "ss_net"), ("loss.name=dice-ce", None)],
)
def test_both_spellings_of_a_name_are_one_configuration(recipe, change, expected):
    config = read_config(recipe, [change])
    assert config == read_config(recipe, [change.replace("-", "_")])
    assert config.method.name == (expected or "supervised")


def test_changes_reach_the_configuration_in_their_types(recipe):
    config = read_config(
        recipe,
        ["training.rate=0.5", "seed=7", "title=a name", "loss.name=ga", "loss.gamma=0.25"],
    )
    assert (config.training.rate, config.seed, config.title) == (0.5, 7, "a name")
    assert config.loss.options == {"gamma": 0.25}


def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("title = ")
    with pytest.raises(ValueError, match=r"broken\.toml is not valid TOML"):
        read_config(path)


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone(recipe):
    import torch

    setting = RunInputs(("background", "a"))
    state = torch.get_rng_state()
    first, again = (build_method(read_config(recipe), setting) for _ in range(2))
    other = build_method(read_config(recipe, ["seed=1"]), setting)
    assert torch.equal(torch.get_rng_state(), state)
    weights = [next(method.parameters()) for method in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_conditioned_vectors_are_centered_and_have_the_asked_length(recipe):
    import torch

    text = read_config(recipe, ["text.center=true", "text.norm=15"]).text
    raw = torch.randn(5, 2, 8) + 10
    made = scale_vectors(raw, text)
    torch.testing.assert_close(made.norm(dim=-1), torch.full((5, 2), 15.0))
    flat = raw - raw.mean(0)
    torch.testing.assert_close(made / 15, flat / flat.norm(dim=-1, keepdim=True))
    assert scale_vectors(raw, read_config(recipe).text) is raw


def test_the_folder_is_the_registry():
    found = names("segmentation.methods")
    assert {"supervised", "magicnet"} <= set(found)
    assert all(
        issubclass(load_choice("segmentation.methods", name, Method), Method) for name in found
    )


def test_a_device_that_is_not_there_is_refused():
    for name in ("tpu", "cpu:x", "cuda:9"):
        with pytest.raises(ValueError, match="this machine has"):
            select_device(name)
    assert select_device("cpu").type == "cpu"


def test_a_change_may_be_spelled_as_a_run_s_config_toml_spells_it(tmp_path):
    from pipeline.runs.folder import RunFolder

    first = read_config(shipped.find("recipes", "tak"), ["method.cube=16"])
    RunFolder(tmp_path).write_config(first)
    written = tmp_path / "config.toml"
    assert "[method.options]" in written.read_text()
    assert read_config(written) == first
    for change in ("method.cube=8", "method.options.cube=8"):
        config = read_config(written, [change])
        assert config.method.options == {**first.method.options, "cube": 8}
    with pytest.raises(ValueError, match=r"--set method.options.cubes=8: method.cubes"):
        read_config(written, ["method.options.cubes=8"])
