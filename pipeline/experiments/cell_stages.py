"""The stages of a cell, from its settings."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.experiments.recipe_changes import (
    as_words,
    find_recipe,
    raw_recipe,
    reads_text,
    recipe_changes,
)
from pipeline.experiments.sources import (
    digest_of_descriptor,
    digest_of_file,
    digest_of_folder,
)
from pipeline.experiments.stages import CellStages, External, Input, Stage
from pipeline.experiments.study import Cell, Study
from pipeline.files import shipped


def stages_of(study: Study, cell: Cell) -> CellStages:
    """The stages of a cell, from its settings alone; nothing is run and nothing heavy imported.

    Raises:
        FileNotFoundError, LookupError, ValueError: a recipe, wording or file that does not exist.
    """
    data = _data(study, cell)
    recipe = find_recipe(study, str(cell.settings["recipe"]))
    changes = recipe_changes(cell.settings)
    raw = raw_recipe(recipe, changes)
    describe: Stage | None = None
    bank: Input | None = None
    check: Stage | None = None
    if reads_text(raw):
        describe, bank = _text(study, cell, data)
        if study.file.check and describe is not None:
            check = _check(describe, data)
    train = _train(cell, data, bank, recipe, raw, as_words(changes))
    evaluate = _evaluate(study, train, data)
    return CellStages(cell, train, evaluate, data, bank, describe, check)


def _data(study: Study, cell: Cell) -> Input:
    """The prepared scans of a cell, with another draw of labeled cases where it asks for one."""
    table, draw, labeled = study.file.data, cell.settings["draw"], cell.settings.get("labeled")
    drawn = bool(draw) or labeled is not None
    if table.phantom is not None:
        scans = _phantom(study)
        root, source = f"{{{scans.key}}}", dict[str, str]()
        inputs: tuple[Stage, ...] = (scans,)
    else:
        folder = Path(study.resolve(str(table.root)))
        if not folder.is_dir():
            raise FileNotFoundError(f"{study.path}: data.root: there is no folder {table.root}")
        root, source, inputs = str(folder), {"data": digest_of_folder(str(folder))}, ()
        if (folder / "dataset.json").is_file() and any(folder.glob("*.h5")):
            if drawn:
                raise ValueError(
                    f"{study.path}: draws and labeled need scans to be prepared anew; "
                    f"{folder} is prepared already: give data.root as downloaded"
                )
            return External(str(folder), source["data"])
    descriptor = [] if table.descriptor is None else [study.resolve(table.descriptor)]
    options = ["--descriptor", *descriptor] if descriptor else []
    facts = source | {
        "descriptor": digest_of_descriptor(descriptor[0]) if descriptor else "",
        "layout": table.layout or "",
        "spacing": list(table.spacing or ()),
    }
    split = ["--split", table.split] if table.split else []
    if drawn:
        if labeled is None:
            raise ValueError(f"{study.path}: draws other than 0 need labeled, a share or a number")
        lists = Stage(
            "split",
            {**facts, "split": table.split or "", "labeled": str(labeled), "draw": draw},
            ("split", root, "--labeled", str(labeled), "--seed", str(draw), "-o", "{out}",
             *options, *split),
            inputs,
        )  # fmt: skip
        split, inputs = ["--split", f"{{{lists.key}}}"], (*inputs, lists)
    layout = ["--layout", table.layout] if table.layout else []
    spacing = ["--spacing", *map(str, table.spacing)] if table.spacing else []
    return Stage(
        "prepare",
        {**facts, "split": "" if drawn else table.split or ""},
        ("prepare", root, "-o", "{out}", *options, *split, *layout, *spacing),
        inputs,
    )


def _phantom(study: Study) -> Stage:
    options = dict(study.file.data.phantom or {})
    benchmark = _benchmark(study)
    if benchmark is not None:
        facts: dict[str, Any] = {"benchmark": digest_of_file(str(benchmark))}
        return Stage("phantom", facts, ("phantom", "{out}", "--benchmark", str(benchmark)))
    organs = _organs(study)
    words = ["phantom", "{out}", "--descriptor", organs]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *map(str, values)]
    facts = {"options": options, "organs": digest_of_descriptor(organs)}
    return Stage("phantom", facts, tuple(words))


def _benchmark(study: Study) -> Path | None:
    """The file of the benchmark that the scans are, if they are one."""
    name = (study.file.data.phantom or {}).get("benchmark")
    return None if name is None else shipped.find("benchmarks", study.resolve(str(name)))


def _organs(study: Study) -> str:
    """The descriptor of the scans: the named one, that of phantoms, or the folder's own.

    Raises:
        ValueError: the folder has none, and none is named.
    """
    table = study.file.data
    if table.descriptor is not None:
        return study.resolve(table.descriptor)
    benchmark = _benchmark(study)
    if benchmark is not None:
        return str(tomllib.loads(benchmark.read_text(encoding="utf-8"))["descriptor"])
    if table.phantom is not None:
        return "phantom"
    own = Path(study.resolve(str(table.root))) / "dataset.toml"
    if not own.is_file():
        raise ValueError(
            f"{study.path}: data.descriptor: needed to describe the organs of {table.root}, which "
            "holds no dataset.toml"
        )
    return str(own)


def _text(study: Study, cell: Cell, data: Input) -> tuple[Stage | None, Input]:
    """The descriptions, None where the bank is a file, and the bank."""
    settings, bank = cell.settings, str(cell.settings["bank"])
    path = Path(study.resolve(bank))
    if path.suffix == ".h5":
        if not path.is_file():
            raise FileNotFoundError(f"{study.path}: there is no bank {bank}")
        return None, External(str(path), digest_of_file(str(path)))
    describe = _describe(study, settings)
    encoder = str(settings["encoder"])
    facts = {"encoder": encoder, "long_text": settings["long_text"]}
    words = ["encode", f"{{{describe.key}}}", "--encoder", encoder,
             "--long-text", str(settings["long_text"]), "-o", "{out}"]  # fmt: skip
    encode = Stage("encode", facts, tuple(words), (describe,))
    if bank == "text":
        return describe, encode
    draw = int(settings.get("bank_draw", 0))
    words = ["bank", "control", bank, "--like", f"{{{encode.key}}}", "--seed", str(draw),
             "-o", "{out}"]  # fmt: skip
    facts = {"kind": bank, "draw": draw}
    if bank != "geometry":
        return describe, Stage("control", facts, tuple(words), (encode,))
    scans, inputs, more = _place(data)
    words += ["--scans", scans]
    return describe, Stage("control", facts | more, tuple(words), (encode, *inputs))


def _describe(study: Study, settings: Mapping[str, Any]) -> Stage:
    wording = shipped.find("prompts", study.resolve(str(settings["wording"])))
    organs = _organs(study)
    provider = str(settings["provider"])
    words = ["describe", organs, "-o", "{out}", "--template", str(wording), "--provider", provider,
             "--cache", "{store}/answers"]  # fmt: skip
    facts: dict[str, Any] = {
        "organs": digest_of_descriptor(organs),
        "wording": digest_of_file(str(wording)),
        "provider": provider,
    }
    options = {"model": "--model", "base_url": "--base-url", "key_env": "--key-env",
               "temperature": "--temperature", "model_seed": "--seed",
               "samples": "--samples"}  # fmt: skip
    for name, option in options.items():
        if name in settings:
            words += [option, str(settings[name])]
            if name != "key_env":
                facts[name] = settings[name]
    if "answers" in settings:
        answers = study.resolve(str(settings["answers"]))
        words += ["--answers", answers]
        facts["answers"] = digest_of_file(answers)
    elif provider == "recorded":
        store = shipped.data() / "answers" / f"{wording.stem}.json"
        facts["answers"] = digest_of_file(str(store)) if store.is_file() else ""
    return Stage("describe", facts, tuple(words))


def _check(describe: Stage, data: Input) -> Stage:
    scans, inputs, facts = _place(data)
    words = ("check", f"{{{describe.key}}}", "--scans", scans, "--report", "{out}")
    return Stage("check", facts, words, (describe, *inputs))


def _place(data: Input) -> tuple[str, tuple[Stage, ...], dict[str, Any]]:
    """How a command names the prepared data, and what a key needs of it."""
    if isinstance(data, Stage):
        return f"{{{data.key}}}", (data,), {}
    return data.path, (), {"data": data.digest}


def _train(
    cell: Cell,
    data: Input,
    bank: Input | None,
    recipe: Path,
    raw: dict[str, Any],
    changes: list[str],
) -> Stage:
    prepared, inputs, facts = _place(data)
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
    facts |= {"recipe": shape, "seed": cell.settings["seed"]}
    steps = int(raw.get("training", {}).get("steps", 0))
    return Stage("train", facts, tuple(words), inputs, steps)


def _evaluate(study: Study, train: Stage, data: Input) -> Stage:
    prepared, inputs, facts = _place(data)
    chosen = study.file.statistics
    words = ("evaluate", f"{{{train.key}}}", prepared, "--part", chosen.part,
             "--rules", chosen.rules, "-o", "{out}")  # fmt: skip
    facts |= {"part": chosen.part, "rules": chosen.rules}
    return Stage("evaluate", facts, words, (train, *inputs))
