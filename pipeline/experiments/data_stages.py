"""Data stages of a cell: phantoms, split, preparation."""

import tomllib
from pathlib import Path
from typing import Any

from pipeline.experiments.sources import digest_of_descriptor, digest_of_file, digest_of_folder
from pipeline.experiments.stages import External, Input, Stage
from pipeline.experiments.study import Cell, Study
from pipeline.files import shipped


def prepared_data(study: Study, cell: Cell) -> Input:
    """The prepared scans of a cell, with its draw of labeled cases."""
    table, draw, labeled = study.file.data, cell.settings["draw"], cell.settings.get("labeled")
    drawn = bool(draw) or labeled is not None
    if table.phantom is not None:
        scans = phantom_stage(study)
        root, source = f"{{{scans.key}}}", dict[str, str]()
        inputs: tuple[Stage, ...] = (scans,)
    else:
        folder = scan_folder(study)
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
    split, lists_digest = split_words(study)
    if drawn:
        if labeled is None:
            raise ValueError(f"{study.path}: draws other than 0 need labeled, a share or a number")
        lists = Stage(
            "split",
            {**facts, "split": lists_digest, "labeled": str(labeled), "draw": draw},
            ("split", root, "--labeled", str(labeled), "--seed", str(draw), "-o", "{out}",
             *options, *split),
            inputs,
        )  # fmt: skip
        split, inputs = ["--split", f"{{{lists.key}}}"], (*inputs, lists)
    layout = ["--layout", table.layout] if table.layout else []
    spacing = ["--spacing", *map(str, table.spacing)] if table.spacing else []
    return Stage(
        "prepare",
        {**facts, "split": "" if drawn else lists_digest},
        ("prepare", root, "-o", "{out}", *options, *split, *layout, *spacing),
        inputs,
    )


def scan_folder(study: Study) -> Path:
    """The folder of `data.root`.

    Raises:
        FileNotFoundError, ValueError: it does not exist, or the study has only organs.
    """
    if not study.file.data.scans:
        raise ValueError(f"{study.path}: data: no scans; give data.root or data.phantom")
    folder = Path(study.resolve(str(study.file.data.root)))
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{study.path}: data.root: there is no folder {study.file.data.root}; "
            "give one by --data"
        )
    return folder


def split_words(study: Study) -> tuple[list[str], str]:
    """Options of a command for the split, and the name or the digest of its lists."""
    split = study.file.data.split
    if not split:
        return [], ""
    place = study.resolve(split)
    return ["--split", place], digest_of_folder(place) if Path(place).is_dir() else split


def phantom_stage(study: Study) -> Stage:
    """The stage that generates the phantoms."""
    options = dict(study.file.data.phantom or {})
    benchmark = _benchmark(study)
    if benchmark is not None:
        facts: dict[str, Any] = {"benchmark": digest_of_file(str(benchmark))}
        return Stage("phantom", facts, ("phantom", "{out}", "--benchmark", str(benchmark)))
    organs = organs_of(study)
    words = ["phantom", "{out}", "--descriptor", organs]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *map(str, values)]
    facts = {"options": options, "organs": digest_of_descriptor(organs)}
    return Stage("phantom", facts, tuple(words))


def _benchmark(study: Study) -> Path | None:
    """The file of the benchmark of the scans, if they are one."""
    name = (study.file.data.phantom or {}).get("benchmark")
    return None if name is None else shipped.find("benchmarks", study.resolve(str(name)))


def organs_of(study: Study) -> str:
    """The descriptor of the scans: the named one, that of phantoms, or that of the folder.

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
    descriptor = Path(study.resolve(str(table.root))) / "dataset.toml"
    if not descriptor.is_file():
        raise ValueError(
            f"{study.path}: data.descriptor: needed to describe the organs of {table.root}, which "
            "holds no dataset.toml"
        )
    return str(descriptor)


def place(data: Input) -> tuple[str, tuple[Stage, ...], dict[str, Any]]:
    """Word of a command, inputs and facts of the prepared data."""
    if isinstance(data, Stage):
        return f"{{{data.key}}}", (data,), {}
    return data.path, (), {"data": data.digest}
