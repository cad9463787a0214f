"""Surface metrics beside Dice, and the hardware, time and versions of the runs."""

import math
from collections.abc import Sequence
from typing import Any

from pipeline.report.content import Material
from pipeline.report.runs.arms import Arm
from pipeline.report.runs.run_data import RunData
from pipeline.report.runs.training_record import TrainingRecord, duration
from pipeline.report.theme import look_of, short
from pipeline.results.scores import GROUPS
from segmentation.evaluation.rules import Metric
from segmentation.imaging.colors import colors

_NOT_RECORDED = "not recorded"


def other_metrics(arms: Sequence[Arm]) -> list[Metric]:
    """The metrics beside Dice that the arms were scored by; empty without scores."""
    scored = next((arm.evaluations[0] for arm in arms if arm.evaluations), None)
    return [] if scored is None else [one for one in scored.metrics if one.key != "dice"]


def measures(material: Material) -> dict[str, Any] | None:
    """The context of the metrics beside Dice; None if the first run was not scored."""
    scored = [arm for arm in material.arms if arm.evaluations]
    if not material.arms[0].evaluations:
        return None
    metrics = other_metrics(scored)
    # Distances of a case are all known or all missing: one count serves them all.
    distance = next((one.key for one in metrics if not one.share), None)
    headings = [_heading(one, scored[0]) for one in metrics]
    return {
        "headings": [*headings, *["cases with a distance"] * (distance is not None)],
        "looks": [look_of(arm.number) for arm in scored],
        "labels": [arm.label for arm in scored],
        "rows": [
            {
                **row,
                "cells": [
                    [metric_cell(arm.over_seeds(row["key"], one.key), one) for arm in scored]
                    for one in metrics
                ],
                "counts": [
                    "{} of {}".format(*arm.counted(row["key"], distance))
                    for arm in scored
                    if distance is not None
                ],
            }
            for row in _rows(material, scored[0])
        ],
        "words": _words(scored, distance is not None),
    }


def metric_cell(pair: tuple[float, float], metric: Metric) -> dict[str, str]:
    """Mean and deviation as shown: shares in percent, distances with two digits."""
    if metric.share:
        shown = [short(value) for value in pair]
    else:
        shown = ["–" if math.isnan(value) else f"{value:.2f}" for value in pair]
    return {"mean": shown[0], "deviation": "" if math.isnan(pair[1]) else f"± {shown[1]}"}


def _heading(metric: Metric, arm: Arm) -> str:
    words = metric.heading.replace("\n", ", ")
    at = f" at {arm.evaluations[0].tolerance_mm:g} mm" if metric.key == "nsd" else ""
    return words.replace(" %", ", %") + at


def _rows(material: Material, arm: Arm) -> list[dict[str, Any]]:
    spec, groups = material.first.spec, arm.evaluations[0].groups
    tint = dict(zip(spec.classes, colors(spec.classes), strict=True))
    rows = [
        {"key": name, "name": name, "color": "rgb({} {} {})".format(*tint[name]), "is_mean": False}
        for name in groups["all"]
    ]
    return rows + [
        {"key": name, "name": f"mean of {name}", "color": "", "is_mean": True}
        for name in GROUPS
        if groups[name]
    ]


def _words(scored: Sequence[Arm], distances: bool) -> str:
    words = ["Means ± standard deviations, over the same cases or seeds as Dice."]
    if distances and scored[0].evaluations[0].rules == "scan":
        words.append(
            "An organ in only one of truth and prediction has NSD 0 and no distance. The last "
            "columns give the number of cases that the means of HD95 and ASSD rest on, of those "
            "where truth or prediction has the organ (for means over organs: pairs of case and "
            "organ; for several seeds: in all of them). A run that misses the hard cases can thus "
            "have smaller distances."
        )
    return " ".join(words)


def trainings(material: Material) -> list[dict[str, str]]:
    """Hardware, time and versions, a row per run."""
    return [
        {"name": _name(arm, run), **_training(run)} for arm in material.arms for run in arm.runs
    ]


def _name(arm: Arm, run: RunData) -> str:
    return f"{arm.label}, seed {run.config.seed}" if len(arm.runs) > 1 else arm.label


def _training(run: RunData) -> dict[str, str]:
    record = run.training
    if record is None:
        note = "masks of another program" if run.masks else _NOT_RECORDED
        return {"device": note, "time": "", "versions": "", "commit": ""}
    devices = " and ".join(record.devices) or _NOT_RECORDED
    if record.threads and all(device.startswith("cpu") for device in record.devices):
        devices += f", {' or '.join(record.threads)} threads"
    versions = [f"{name} {' and '.join(each)}" for name, each in record.versions.items()]
    return {
        "device": "; ".join([devices, *record.platforms]),
        "time": _time(run, record),
        "versions": ", ".join(versions) or _NOT_RECORDED,
        "commit": "; ".join(record.commits),
    }


def _time(run: RunData, record: TrainingRecord) -> str:
    words = f"{'at least ' * bool(record.killed)}{duration(record.seconds)}"
    steps = run.log.step or run.step
    words += f" for {steps} steps"
    if record.sessions > 1 or record.killed:
        words += f", in {record.sessions} {'sessions' if record.sessions > 1 else 'session'}"
    if record.killed:
        words += f", {record.killed} of them killed, their time unknown"
    if record.energy_kwh is not None:
        words += f"; {record.energy_kwh:.3g} kWh"
    return words
