"""Study files: which cells follow from them, and what is refused."""

import re

import pytest

from pipeline.experiments.cell_stages import stages_of
from pipeline.experiments.estimates import QuestionEstimate
from pipeline.experiments.plan_view import plan_lines
from pipeline.experiments.planning import check_cells, plan
from pipeline.experiments.recipe_changes import as_words, raw_recipe, reads_text, recipe_changes
from pipeline.experiments.sources import digest_of_file
from pipeline.experiments.store import Store
from pipeline.experiments.study import Study
from pipeline.files import shipped
from tests.support.tiny_study import TINY_DATA, TINY_FIXED, write_study


def study(folder, head='title = "Tiny"\n', tail="", **parts):
    return Study.read(write_study(folder, head, tail, **parts))


def test_axes_arms_pairs_draws_and_seeds_are_crossed(tmp_path):
    made = study(
        tmp_path,
        'title = "Grid"\nseeds = [0, 1]\ndraws = [0, 3]\n'
        'arms = [{name = "a", loss = "ga"}, {name = "b", loss = "dice_ce"}]\n',
        'labeled = 2\n[axes]\nwording = ["paper", "terse", "detailed"]\n'
        '[paired]\nencoder = ["hashing:8", "hashing:9"]\nlong_text = ["error", "truncate"]\n',
    )
    assert len(made.cells) == 2 * 3 * 2 * 2 * 2
    assert len(made.arms) == 2 * 3 * 2
    pairs = {(cell.settings["encoder"], cell.settings["long_text"]) for cell in made.cells}
    assert pairs == {("hashing:8", "error"), ("hashing:9", "truncate")}
    assert {(c.settings["draw"], c.settings["seed"]) for c in made.cells} == {
        (0, 0), (0, 1), (3, 0), (3, 1),
    }  # fmt: skip
    assert made.cells[0].factors == {
        "arm": "a", "wording": "paper", "encoder": "hashing:8", "long_text": "error",
    }  # fmt: skip


def keys(cell_stages):
    return {stage.kind: stage.key for stage in cell_stages.all()}


def test_a_changed_setting_changes_the_keys_of_what_reads_it_and_of_nothing_else(tmp_path):
    tail = (
        '[axes]\nwording = ["paper", "terse"]\nbank = ["text", "shuffled"]\n'
        '"training.rate" = [0.03, 0.01]\n'
    )
    made = study(tmp_path, tail=tail)
    base, rate, control, _, wording, *_ = [keys(stages_of(made, cell)) for cell in made.cells]

    def changed(one):
        return {kind for kind in base if one.get(kind) != base[kind]}

    assert changed(rate) == {"train", "evaluate"}
    assert changed(control) == {"train", "evaluate"}
    assert set(control) - set(base) == {"control"}
    assert changed(wording) == {"describe", "encode", "train", "evaluate"}


def test_other_organs_are_other_phantoms_and_other_questions(tmp_path):
    text = shipped.find("data", "phantom").read_text(encoding="utf-8")
    fewer = text[: text.rindex("[[organs]]")]
    before, after = {}, {}
    for found, content in ((before, text), (after, fewer)):
        (tmp_path / "mine.toml").write_text(content, encoding="utf-8")
        data = TINY_DATA.replace('"phantom"', '"mine.toml"')
        digest_of_file.cache_clear()
        made = study(tmp_path, data=data)
        found |= keys(stages_of(made, made.cells[0]))
    assert all(before[kind] != after[kind] for kind in before), "everything depends on the organs"


def test_a_benchmark_brings_its_own_organs(tmp_path):
    data = '[data]\nphantom = {benchmark = "phantom-amos-small"}\n'
    made = study(tmp_path, data=data)
    stages = stages_of(made, made.cells[0])
    (phantom,) = [stage for stage in stages.all() if stage.kind == "phantom"]
    assert phantom.words[2] == "--benchmark"
    assert stages.describe.words[1] == "amos"
    text = shipped.find("benchmarks", "phantom-amos-small").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace("version = 1", "version = 2"))
    other = study(tmp_path, data=data.replace("phantom-amos-small", "mine.toml"))
    (changed,) = [s for s in stages_of(other, other.cells[0]).all() if s.kind == "phantom"]
    assert changed.key != phantom.key


def test_scans_without_a_named_descriptor_are_described_by_their_own(tmp_path, population):
    data = f'[data]\nroot = "{population}"\n'
    made = study(tmp_path, data=data)
    describe = stages_of(made, made.cells[0]).describe
    assert describe.words[1] == str(population / "dataset.toml")
    (tmp_path / "bare").mkdir()
    bare = study(tmp_path, data='[data]\nroot = "bare"\n')
    with pytest.raises(ValueError, match=r"data\.descriptor: needed .* bare"):
        stages_of(bare, bare.cells[0])


def test_a_cell_without_text_asks_nobody(tmp_path):
    tail = '[axes]\nhead = ["conv"]\nalignment = ["none"]\n'
    (cell,) = [stages_of(study(tmp_path, tail=tail), c) for c in study(tmp_path, tail=tail).cells]
    assert set(keys(cell)) == {"phantom", "prepare", "train", "evaluate"}
    assert cell.bank is None


def test_claims_of_a_loss_are_the_studys_own_descriptions_or_a_file(tmp_path):
    (tmp_path / "claims.json").write_text("{}", encoding="utf-8")
    tail = '[axes]\n"relations.weight" = [0.0, 0.5]\n"relations.claims" = ["text", "claims.json"]\n'
    made = study(tmp_path, 'title = "Claims"\n', 'head = "conv"\nalignment = "none"\n' + tail)
    none, _, own, file = [stages_of(made, cell) for cell in made.cells]
    assert "describe" not in [stage.kind for stage in none.train.inputs]
    (describe,) = [stage for stage in own.train.inputs if stage.kind == "describe"]
    assert own.train.words[-2:] == ("--set", f"relations.claims={{{describe.key}}}")
    assert "describe" not in [stage.kind for stage in file.train.inputs]
    assert file.train.words[-1] == f"relations.claims={tmp_path / 'claims.json'}"
    (tmp_path / "claims.json").write_text("[]", encoding="utf-8")
    digest_of_file.cache_clear()
    assert stages_of(made, made.cells[3]).train.key != file.train.key


@pytest.mark.parametrize("use", ["weight", "filter"])
def test_claims_are_described_for_a_loss_and_for_a_filter(tmp_path, use):
    tail = f'"relations.claims" = "text"\n[axes]\n"relations.{use}" = [0.0, 0.9]\n'
    made = study(tmp_path, tail=f'head = "conv"\nalignment = "none"\n{tail}')
    off, on = [stages_of(made, cell).train for cell in made.cells]
    assert "describe" not in [stage.kind for stage in off.inputs]
    assert "describe" in [stage.kind for stage in on.inputs]


def test_changes_of_a_recipe_are_what_set_takes():
    settings = {"method": "cps", "aspects": "shape", "training.patch": [8, 8, 8], "seed": 3}
    changes = recipe_changes(settings)
    assert as_words(changes) == [
        'method={name = "cps"}', 'text.aspects=[ "shape", ]', "training.patch=[ 8, 8, 8, ]",
    ]  # fmt: skip
    raw = raw_recipe(shipped.find("recipes", "demo"), changes)
    assert raw["method"] == {"name": "cps"}
    assert raw["training"]["patch"] == [8, 8, 8]
    assert reads_text(raw)
    conv = raw_recipe(shipped.find("recipes", "demo"), {"head": {"name": "conv"}})
    assert reads_text(conv), "the alignment still reads it"


@pytest.mark.parametrize(
    ("head", "tail", "message"),
    [
        ("", '[axes]\nwordign = ["paper"]\n', "no stage reads 'wordign'.*did you mean wording"),
        ("", "[axes]\nseed = [0, 1]\n", "seed is given by the list seeds"),
        ("", '[axes]\nwording = ["paper", "paper"]\n', "lists a value twice"),
        ("", "[axes]\nwording = []\n", "wording is empty"),
        ("", '[paired]\nwording = ["paper"]\nencoder = ["a", "b"]\n', "equal length"),
        ("arms = [{loss = 'ga'}]\n", "", "every arm needs a unique name"),
        ("", '[statistics]\nbaseline = "txet"\n', "no arm 'txet'"),
        ("colour = 1\n", "", "unknown key 'colour'"),
        ("draws = [1]\n", "", "need labeled"),
    ],
)
def test_a_study_that_cannot_be_is_refused_with_the_key(tmp_path, head, tail, message):

    with pytest.raises(ValueError, match=message):
        plan(study(tmp_path, f'title = "Bad"\n{head}', tail), Store(tmp_path / "store"))


def test_a_wording_that_does_not_exist_names_the_cell(tmp_path):

    made = study(tmp_path, tail='[axes]\nwording = ["paper", "papre"]\n')
    with pytest.raises(ValueError, match="cell papre: no 'papre' among prompts"):
        plan(made, Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ('[axes]\n"training.rate" = [0.01, -1]\n', "cell -1.*training.rate"),
        ('[axes]\nencoder = ["hasing:8"]\n', "cell hasing:8.*no encoder 'hasing'"),
        ('[axes]\nbank = ["text", "shufled"]\n', "cell shufled.*no bank 'shufled'"),
        ('[axes]\nmethod = ["cps", "cpss"]\n', "cell cpss.*no method 'cpss'"),
    ],
)
def test_a_cell_that_cannot_be_built_is_found_before_anything_runs(tmp_path, tail, message):

    fixed = '[fixed]\nencoder = "hashing:8"\nrecipe = "demo"\n'
    made = study(tmp_path, tail=tail, fixed="" if "encoder =" in tail else fixed)
    with pytest.raises(ValueError, match=message):
        check_cells(plan(made, Store(tmp_path / "store")))


def test_a_plan_refuses_what_the_study_would_refuse(tmp_path, tak):
    fixed = '[fixed]\nencoder = "hashing:8"\nrecipe = "demo"\n'
    methods = '[axes]\nmethod = ["cps", "cpss"]\n'
    path = write_study(tmp_path, 'title = "Tiny"\n', methods, fixed=fixed)
    code, out, err = tak("study", path, "--plan", "--store", tmp_path / "store")
    assert (code, out) == (1, "")
    assert re.search("cell cpss: .*no method 'cpss'", err)


@pytest.mark.parametrize("name", shipped.names("studies"))
def test_shipped_studies_can_be_planned(name, tmp_path):

    path = shipped.find("studies", name)
    needs_scans = Study.read(path).file.data.phantom is None
    study = Study.read(path, tmp_path if needs_scans else None)
    planned = plan(study, Store(tmp_path / "store"))
    check_cells(planned)
    assert planned.pending()
    assert study.file.question
    if needs_scans:
        assert f"{name}-small" in shipped.names("studies"), "each has a variant for two cores"


def test_scans_of_a_study_can_be_others(tmp_path):
    made = Study.read(shipped.find("studies", "ablation-small"), tmp_path)
    assert made.file.data.phantom is None
    prepare = next(s for s in stages_of(made, made.cells[0]).all() if s.kind == "prepare")
    assert prepare.words[1] == str(tmp_path)
    plain = Study.read(shipped.find("studies", "ablation"))
    with pytest.raises(FileNotFoundError, match="there is no folder amos22; give one by --data"):
        stages_of(plain, plain.cells[0])


def test_steps_of_epochs_are_counted_from_the_prepared_data(tmp_path, prepared):
    fixed = TINY_FIXED.replace('"training.steps" = 6', '"training.epochs" = 7')
    fixed = fixed.replace('recipe = "demo"', f'recipe = "{epochs_alone(tmp_path)}"')
    store = Store(tmp_path / "store")
    made = plan(
        study(
            tmp_path,
            data=f'[data]\nroot = "{prepared.root}"\ndescriptor = "phantom"\n',
            fixed=fixed,
        ),
        store,
    )
    assert (made.steps, made.uncounted) == (7 * 2, 0)
    unprepared = plan(study(tmp_path, fixed=fixed), store)
    assert (unprepared.steps, unprepared.uncounted) == (0, 1)
    assert "without 1 of epochs, counted once" in "\n".join(
        plan_lines(unprepared, QuestionEstimate())
    )


def epochs_alone(folder):
    """The recipe `demo` without a number of steps."""
    path = folder / "recipe.toml"
    text = shipped.find("recipes", "demo").read_text(encoding="utf-8")
    path.write_text(text.replace("steps = 400\n", "epochs = 2\n"), encoding="utf-8")
    return path


def test_a_model_with_recorded_answers_is_an_axis_and_another_is_refused(tmp_path):
    def made(model):
        arms = f'arms = [{{name = "hand"}}, {{name = "model", model = "{model}"}}]\n'
        return study(tmp_path, f'title = "Models"\n{arms}', '[axes]\nwording = ["terse"]\n')

    known = made("qwen2.5-coder-1.5b-instruct")
    hand, model = (stages_of(known, cell).describe for cell in known.cells)
    assert hand.key != model.key
    assert "--model" not in hand.words
    unknown = made("nobody")
    with pytest.raises(LookupError, match="no recorded answers of 'nobody' for template 'terse'"):
        [stages_of(unknown, cell) for cell in unknown.cells]
