"""Descriptions, claims and cosine maps, as the page shows them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.bank.statistics import cosines
from knowledge.descriptions import BACKGROUND, RELATIONS
from knowledge.grounding.claims import CheckReport
from pipeline.report.content import Material
from pipeline.report.theme import short
from pipeline.report.views.scores import origin_words
from segmentation.imaging.colors import colors


def texts(material: Material) -> dict[str, Any]:
    """The context of the descriptions and of the text vectors."""
    if material.bank is None:
        return {}
    spec, arm = material.first.spec, material.arms[0]
    tint = dict(zip(spec.classes, colors(spec.classes), strict=True))
    organs = []
    for organ in material.texts:
        red, green, blue = tint[organ.name]
        real = organ.name != BACKGROUND
        dice = short(arm.over_seeds(organ.name, "dice")[0]) if real and arm.evaluations else ""
        organs.append(
            {
                "name": organ.name,
                "color": f"rgb({red} {green} {blue})" if real else "",
                "dice": dice,
                "texts": organ.texts,
                "claims": organ.claims,
            }
        )
    return {
        "texts": organs,
        "text_words": _words(material),
        "text_doubt": material.doubt,
        "text_caveats": material.caveats,
        "text_problems": _problems(material.outcome),
        "sensitivity": sensitivity(material),
        "maps": cosine_maps(material),
        "map_words": "Cosine similarity of the classes' text vectors. What is alike here, the head "
        "cannot tell apart by text.",
    }


def sensitivity(material: Material) -> dict[str, Any]:
    """What other texts change in the predictions of the first run; empty if not measured."""
    evaluation = material.first.evaluation
    figures = {} if evaluation is None else evaluation.text_sensitivity
    if not figures or evaluation is None:
        return {}
    rows = [
        {"name": organ, "cells": [short(each.dice_lost[organ]) for each in figures.values()]}
        for organ in evaluation.groups["all"]
    ]
    rows.append({"name": "mean", "cells": [short(each.mean_lost) for each in figures.values()]})
    changed = [short(each.changed) for each in figures.values()]
    rows.append({"name": "organ voxels changed, %", "cells": changed})
    return {
        "names": list(figures),
        "rows": rows,
        "words": "Dice, in percent, that is lost when another text takes the place of the run's "
        "own: rows exchanged between classes, their mean, random vectors of equal length. A run "
        "that loses nothing does not read its text.",
    }


def _problems(outcome: CheckReport | None) -> list[str]:
    """Problems of the texts that need no scan, relations in words."""
    problems = list(outcome.problems) if outcome else []
    for relation in RELATIONS:
        problems = [problem.replace(relation, relation.replace("_", " ")) for problem in problems]
    return problems


def _words(material: Material) -> str:
    words = f"Text from {origin_words(material)}."
    outcome = material.outcome
    if outcome is not None:
        counts = ", ".join(
            f"{outcome.count(verdict)} {verdict}"
            for verdict in ("supported", "contradicted", "untestable")
        )
        words += (
            f" {len(outcome.results)} claims were tested on {len(outcome.cases)} labeled scans: "
            f"{counts}. In brackets: the mean that was measured, and the count where scans differ."
        )
    return words


def cosine_maps(material: Material) -> list[dict[str, Any]]:
    """A map per aspect, as encoded and, where the head centers, as it reads them."""
    if material.bank is None:
        return []
    config, classes = material.first.config.text, material.first.spec.classes
    aspects = config.aspects or material.bank.aspects
    vectors = material.bank.select(classes, aspects)
    kinds = [(vectors, "as encoded")]
    if config.center:
        kinds.append((vectors - vectors.mean(0, keepdims=True), "as the head reads them, centered"))
    return [
        {"aspect": aspect} | _map(cosines[:, column], classes, f"{aspect.capitalize()}, {words}")
        for cosines, words in kinds
        for column, aspect in enumerate(aspects)
    ]


def _map(vectors: NDArray[np.float32], classes: tuple[str, ...], title: str) -> dict[str, Any]:
    similar = cosines(vectors)
    rows, columns = np.triu_indices(len(classes), k=1)
    values = similar[rows, columns]
    nearest = int(values.argmax())
    low = float(min(values.min(), 0)) if values.min() < 0 else float(values.min())
    high = float(values.max())
    pair = f"{classes[rows[nearest]]} and {classes[columns[nearest]]}"
    return {
        "title": title,
        "names": classes,
        "cells": [[_cell(float(value), low, high) for value in row] for row in similar],
        "words": f"From {_number(values.min())} to {_number(high)}, mean "
        f"{_number(values.mean())}; most alike: {pair}.",
    }


def _cell(value: float, low: float, high: float) -> dict[str, Any]:
    """Blue for alike, orange for opposed; without opposed ones from the minimum on."""
    if low < 0:
        strength = abs(value) / max(high, -low)
        tone = "alike" if value >= 0 else "opposed"
    else:
        strength = (value - low) / max(high - low, 1e-9)
        tone = "alike"
    return {
        "cosine": value,
        "strength": min(max(strength, 0.0), 1.0),
        "tone": tone,
        "shown": _number(value).replace("0.", "."),
    }


def _number(value: float) -> str:
    """Two digits, with a minus sign if negative."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
