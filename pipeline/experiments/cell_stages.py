"""The stages of a cell, from its settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config.registry import recipe_plugins
from pipeline.experiments.data_stages import place, prepared_data
from pipeline.experiments.recipe_changes import (
    as_words,
    find_recipe,
    raw_recipe,
    reads_text,
    recipe_changes,
)
from pipeline.experiments.sources import digest_of_file
from pipeline.experiments.stages import CellStages, Input, Stage, code_of
from pipeline.experiments.study import Cell, Study
from pipeline.experiments.text_stages import check_stage, check_unprepared, text_stages

_NO_TEXT: tuple[Stage | None, Input | None] = (None, None)


def stages_of(study: Study, cell: Cell) -> CellStages:
    """The stages of a cell, from its settings; runs nothing and imports nothing heavy.

    Raises:
        FileNotFoundError, LookupError, ValueError: a recipe, wording or file that does not exist.
    """
    file = study.file
    if file.until == "bank":
        describe, text = text_stages(study, cell)
        check = check_unprepared(study, describe) if file.check and describe else None
        return CellStages(cell, text, describe, check)
    data = prepared_data(study, cell)
    recipe = find_recipe(study, str(cell.settings["recipe"]))
    changes = recipe_changes(cell.settings)
    raw = raw_recipe(recipe, changes)
    own_claims = raw.get("relations", {}).get("claims") == "text"
    texts = text_stages(study, cell) if reads_text(raw) or own_claims else _NO_TEXT
    describe, bank = texts if reads_text(raw) else (texts[0], None)
    check = check_stage(describe, data) if file.check and describe else None
    train = _train(cell, data, bank, recipe, raw, as_words(changes))
    if "relations" in raw:
        train = _with_claims(study, train, raw["relations"], describe)
    return CellStages(cell, bank, describe, check, train, _evaluate(study, train, data))


def _train(
    cell: Cell,
    data: Input,
    bank: Input | None,
    recipe: Path,
    raw: dict[str, Any],
    changes: list[str],
) -> Stage:
    prepared, inputs, facts = place(data)
    words = ["train", prepared, "--recipe", str(recipe), "--seed", str(cell.settings["seed"]),
             "-o", "{out}"]  # fmt: skip
    for change in changes:
        words += ["--set", change]
    if isinstance(bank, Stage):
        words += ["--bank", f"{{{bank.key}}}"]
        inputs = (*inputs, bank)
    elif bank is not None:
        words += ["--bank", bank.path]
        facts["bank"] = bank.digest
    shape = {key: value for key, value in raw.items() if key != "title"}
    facts |= {"recipe": shape, "seed": cell.settings["seed"], **code_of(recipe_plugins(raw))}
    steps = int(raw.get("training", {}).get("steps", 0))
    return Stage("train", facts, tuple(words), inputs, steps)


def _with_claims(
    study: Study, train: Stage, relations: dict[str, Any], describe: Stage | None
) -> Stage:
    """A training whose `relations.claims` is a file, or `text` for the cell's descriptions."""
    claims = relations.get("claims")
    used = relations.get("weight") or relations.get("filter")
    if not claims or not used or relations.get("source") == "geometry":
        return train
    if claims != "text":
        path = study.resolve(str(claims))
        words = (*train.words, "--set", f"relations.claims={path}")
        return replace(train, facts={**train.facts, "claims": digest_of_file(path)}, words=words)
    if describe is None:
        raise ValueError(f'{study.path}: relations.claims = "text" needs descriptions: a wording')
    words = (*train.words, "--set", f"relations.claims={{{describe.key}}}")
    return replace(train, words=words, inputs=(*train.inputs, describe))


def _evaluate(study: Study, train: Stage, data: Input) -> Stage:
    prepared, inputs, facts = place(data)
    chosen = study.file.statistics
    words = ["evaluate", f"{{{train.key}}}", prepared, "--part", chosen.part,
             "--rules", chosen.rules, "-o", "{out}"]  # fmt: skip
    facts |= {"part": chosen.part, "rules": chosen.rules}
    if chosen.untrained:
        words.append("--untrained")
        facts["untrained"] = True
    return Stage("evaluate", facts, tuple(words), (train, *inputs))
