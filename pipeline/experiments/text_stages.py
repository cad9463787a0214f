"""Text stages of a cell: descriptions, their check, and the bank."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from knowledge.common.files import parse_toml, read_text
from pipeline.config.registry import plugin_digests
from pipeline.experiments.data_stages import (
    organs_of,
    phantom_stage,
    place,
    prepared_data,
    scan_folder,
    split_words,
)
from pipeline.experiments.sources import digest_of_descriptor, digest_of_file, digest_of_folder
from pipeline.experiments.stages import External, Input, Stage, code_of
from pipeline.experiments.study import Cell, Study
from pipeline.files import shipped


def text_stages(study: Study, cell: Cell) -> tuple[Stage | None, Input | None]:
    """The descriptions (None if the bank is a file) and the bank."""
    settings, bank = cell.settings, str(cell.settings["bank"])
    path = Path(study.resolve(bank))
    if path.suffix == ".h5":
        if not path.is_file():
            raise FileNotFoundError(f"{study.path}: there is no bank {bank}")
        return None, External(str(path), digest_of_file(str(path)))
    describe = _describe(study, settings)
    encoder = str(settings["encoder"])
    facts: dict[str, Any] = {"encoder": encoder, "long_text": settings["long_text"]}
    facts |= code_of(plugin_digests({"knowledge.encoders": encoder.partition(":")[0]}))
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
    scans, inputs, more = place(prepared_data(study, cell))
    words += ["--scans", scans]
    return describe, Stage("control", facts | more, tuple(words), (encode, *inputs))


# Options of `tak describe` by axis, and whether the answers depend on them.
_DESCRIBE_OPTIONS = {
    "model": ("--model", True),
    "base_url": ("--base-url", True),
    "output": ("--output", True),
    "temperature": ("--temperature", True),
    "model_seed": ("--seed", True),
    "max_answer_tokens": ("--max-answer-tokens", True),
    "samples": ("--samples", True),
    "key_env": ("--key-env", False),
    "header": ("--header", False),  # may be secret: never recorded
    "query": ("--query", False),
    "attempts": ("--attempts", False),
    "concurrency": ("--concurrency", False),
}


def _describe(study: Study, settings: Mapping[str, Any]) -> Stage:
    wording = shipped.find("prompts", study.resolve(str(settings["wording"])))
    organs = organs_of(study)
    words = ["describe", organs, "-o", "{out}", "--template", str(wording)]
    facts: dict[str, Any] = {
        "organs": digest_of_descriptor(organs),
        "wording": digest_of_file(str(wording)),
    }
    if "var" in settings:
        facts["var"] = _listed(settings["var"])
        words += [word for each in facts["var"] for word in ("--var", each)]
    if _literal(wording):  # no model is asked: one stage for all models
        return Stage("describe", facts, tuple(words))
    more_words, more_facts = _model(study, settings, wording)
    return Stage("describe", facts | more_facts, (*words, *more_words))


def _model(
    study: Study, settings: Mapping[str, Any], wording: Path
) -> tuple[list[str], dict[str, Any]]:
    """The model and its options: words of the command, and facts of the key."""
    provider = str(settings["provider"])
    words, facts = ["--provider", provider, "--cache", "{store}/answers"], {"provider": provider}
    facts |= code_of(plugin_digests({"knowledge.providers": provider}))
    for name, (option, decides) in _DESCRIBE_OPTIONS.items():
        if name in settings:
            words += [word for each in _listed(settings[name]) for word in (option, each)]
            if decides:
                facts[name] = settings[name]
    if "prices" in settings:
        words += ["--prices", study.resolve(str(settings["prices"]))]
    if "answers" in settings:
        answers = study.resolve(str(settings["answers"]))
        words += ["--answers", answers]
        facts["answers"] = digest_of_file(answers)
    elif provider == "recorded":
        store = shipped.recorded_answers(wording.stem, str(settings.get("model", "")))
        facts["answers"] = digest_of_file(str(store))
    return words, facts


def _listed(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]


@cache
def _literal(wording: Path) -> bool:
    """Whether a wording is its own description (`literal = true`)."""
    return parse_toml(read_text(wording), wording).get("literal") is True


def check_stage(describe: Stage, data: Input) -> Stage:
    """Claims tested on prepared scans."""
    scans, inputs, facts = place(data)
    words = ("check", f"{{{describe.key}}}", "--scans", scans, "--report", "{out}")
    return Stage("check", facts, words, (describe, *inputs))


def check_unprepared(study: Study, describe: Stage) -> Stage:
    """Claims tested on unprepared scans, in a study of texts."""
    words, inputs = ["check", f"{{{describe.key}}}", "--report", "{out}"], [describe]
    facts: dict[str, Any] = {}
    if study.file.data.phantom is not None:
        scans = phantom_stage(study)
        words += ["--scans", f"{{{scans.key}}}"]
        inputs.append(scans)
        return Stage("check", facts, tuple(words), tuple(inputs))
    folder, descriptor = scan_folder(study), study.file.data.descriptor
    split, facts["split"] = split_words(study)
    words += ["--scans", str(folder), *split]
    facts["data"] = digest_of_folder(str(folder))
    if descriptor and not any((folder / own).is_file() for own in ("dataset.json", "dataset.toml")):
        words += ["--descriptor", study.resolve(descriptor)]
        facts["descriptor"] = digest_of_descriptor(study.resolve(descriptor))
    return Stage("check", facts, tuple(words), tuple(inputs))
