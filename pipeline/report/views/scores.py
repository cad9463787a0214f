"""Summary and Dice per organ, as the page shows them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.content import Material
from pipeline.report.runs.arms import Arm
from pipeline.report.runs.run_data import RunData
from pipeline.report.theme import SeriesStyle, look_of, short
from pipeline.report.views.measures import metric_cell, other_metrics
from pipeline.results.scores import GROUPS
from pipeline.scoring.comparison import PairedDifference
from segmentation.data.descriptor import DatasetSpec
from segmentation.imaging.colors import colors

_MOST_DEPARTURES = 6


def summary(material: Material) -> dict[str, Any]:
    """The context of summary and organs."""
    first, arm = material.first, material.arms[0]
    scored = [one for one in material.arms if one.evaluations]
    context: dict[str, Any] = {
        "title": first.config.title,
        "eyebrow": f"{first.spec.title} · protocol {first.spec.protocol}",
        "lead": _lead(material),
        "facts": _facts(material),
        "cautions": cautions(material),
        "arms": [_arm(one, material) for one in material.arms],
        "scored_arms": [_arm(one, material) for one in scored],
        "summary_metrics": [one.heading.replace("\n", ", ") for one in other_metrics(scored)],
        "published": list(material.published.methods),
        "has_gain": bool(material.gains),
    }
    if not arm.evaluations:
        return context
    return context | {
        "heroes": [_hero(arm, group, material.gains) for group in _groups(arm)],
        "deviation_words": deviation_words(arm, scored[1:]),
        "baseline": material.arms[1].label if material.gains else "",
        "organ_rows": _organ_rows(material, scored),
        "organ_words": _organ_words(material),
        "missed": _missed(arm),
    }


def deviation_words(arm: Arm, others: Sequence[Arm]) -> str:
    """An explanation of means and deviations, with the exceptions of other arms."""
    cases = len(arm.evaluations[0].cases)
    of = f"{cases} {arm.evaluations[0].part} {'case' if cases == 1 else 'cases'}"
    if len(arm.evaluations) > 1:
        seeds = ", ".join(map(str, arm.seeds))
        single = any(len(other.evaluations) == 1 for other in others)
        return (
            f"Percent; mean ± standard deviation over seeds {seeds}, each the mean of {of}"
            f"{'; over cases for runs with one seed' * single}."
        )
    several = any(len(other.evaluations) > 1 for other in others)
    return (
        f"Percent; mean ± standard deviation over {of} of one training run"
        f"{'; over seeds for runs with several' * several}."
    )


def percent_of(pair: tuple[float, float]) -> dict[str, str]:
    """Mean and deviation in percent, as shown; without an unknown deviation."""
    deviation = "" if math.isnan(pair[1]) else f"± {short(pair[1])}"
    return {"mean": short(pair[0]), "deviation": deviation}


def _groups(arm: Arm) -> list[str]:
    return [name for name in GROUPS if arm.evaluations and arm.evaluations[0].groups[name]]


def _arm(arm: Arm, material: Material) -> dict[str, Any]:
    baseline = f"baseline {arm.number}" if len(material.arms) > 2 else "baseline"
    return {
        "number": arm.number,
        "label": arm.label,
        "heading": arm.label if arm.named else baseline if arm.number else "this run",
        "look": look_of(arm.number),
        "folders": ", ".join(arm.folders),
        "departures": _few(arm.departures),
        "seeds": ", ".join(map(str, arm.seeds)),
        "groups": [percent_of(arm.over_seeds(name, "dice")) for name in GROUPS],
        "metrics": [
            metric_cell(arm.over_seeds("all", one.key), one) for one in other_metrics(material.arms)
        ],
    }


def _few(entries: Sequence[str]) -> str:
    """The first differences of an arm, and the number of the others."""
    more = len(entries) - _MOST_DEPARTURES
    return "; ".join(entries[:_MOST_DEPARTURES]) + (f"; and {more} more" if more > 0 else "")


def cautions(material: Material) -> list[str]:
    """Warnings about the numbers: unfinished runs, outdated scores."""
    rows = []
    for run in (run for arm in material.arms for run in arm.runs):
        if run.unfinished:
            rows.append(
                f"Run `{run.name}` is not done: its log ends at step {run.log.step} of "
                f"{run.config.training.steps}. It is in training, or was stopped (`tak train "
                "--resume`)."
            )
        rows += _old_scores(run)
    return rows


def _old_scores(run: RunData) -> list[str]:
    scored = run.evaluation
    if scored is None or scored.checkpoint != f"{run.checkpoint}.pt" or scored.step == run.step:
        return []
    return [
        f"The scores of run `{run.name}` are of step {scored.step}, but its {scored.checkpoint} "
        f"is of step {run.step} by now: `tak evaluate` scores it anew."
    ]


def _hero(arm: Arm, group: str, gains: Mapping[str, PairedDifference]) -> dict[str, Any]:
    gain = gains.get(group)
    name = "all organs" if group == "all" else f"{group} organs"
    return {
        "name": name,
        "main": group == "all",
        **percent_of(arm.over_seeds(group, "dice")),
        "gain": gain
        and {
            "value": _points(gain.difference),
            "low": _points(gain.low),
            "high": _points(gain.high),
        },
    }


def _points(difference: float) -> float | None:
    """Percent points, None if unknown."""
    return None if math.isnan(difference) else 100 * difference


def _lead(material: Material) -> str:
    config, spec = material.first.config, material.first.spec
    parts = [f"the loss {config.loss.name.replace('_', ' + ')}"]
    parts.append(
        "a convolutional head" if config.head.name == "conv" else f"a {config.head.name} head"
    )
    parts += ["contrast with the text vectors"] * (config.alignment.name != "none")
    return (
        f"{len(spec.organs)} organs in {spec.modality}, learned by {config.method.name} with "
        f"{', '.join(parts[:-1])} and {parts[-1]}."
    )


def _facts(material: Material) -> list[tuple[str, str]]:
    first = material.first
    config, spec, evaluation = first.config, first.spec, first.evaluation
    facts = [
        ("Data", f"{spec.name}, protocol {evaluation.protocol if evaluation else spec.protocol}"),
        ("Scans", f"{spec.modality} on a grid of {spec.grid}; {intensity_words(spec)}"),
        ("Steps", f"{config.training.steps}, of these {config.training.warmup_steps} warm-up"),
    ]
    if evaluation is not None:
        scored = f"{len(evaluation.cases)} cases of {evaluation.part}, rules {evaluation.rules}"
        if first.other_rules:
            scored += f"; by other rules as well: {', '.join(first.other_rules)} (--rules)"
        facts += [("Split", str(evaluation.split))] * bool(evaluation.split)
        facts += [
            ("Scored", scored),
            ("Network", f"{evaluation.predictor}, {evaluation.checkpoint}, step {evaluation.step}"),
        ]
    if material.bank is not None:
        facts.append(("Text", origin_words(material)))
    return facts


def intensity_words(spec: DatasetSpec) -> str:
    """The scaling of intensities, in words."""
    low, high = (f"{end:g}".replace("-", "−") for end in spec.window_hu)
    if spec.scaling == "stored":
        return "intensities as the shared arrays store them, by which window is unknown"
    if spec.scaling == "volume":
        return f"cut to {low} to {high} HU, then each scan from its least to its largest value"
    return f"{low} to {high} HU"


def origin_words(material: Material) -> str:
    """The model and the encoder of the text, in words."""
    assert material.bank is not None
    origin = material.bank.origin
    models = origin.get("models") or [origin.get("model", "unknown origin")]
    template = f", wording {origin['template']}" if "template" in origin else ""
    return f"{', '.join(map(str, models))}{template}; encoded by {material.bank.encoder}"


def _organ_rows(material: Material, scored: list[Arm]) -> list[dict[str, Any]]:
    spec, evaluation = material.first.spec, scored[0].evaluations[0]
    tint = dict(zip(spec.classes, colors(spec.classes), strict=True))
    rows = []
    for group in ("large", "small"):
        for name in evaluation.groups[group]:
            red, green, blue = tint[name]
            row = _row(name, name, material, scored)
            rows.append(row | {"color": f"rgb({red} {green} {blue})"})
        if evaluation.groups[group]:
            rows.append(_row(group, f"mean of {group}", material, scored))
    return [*rows, _row("all", "mean of all", material, scored)]


def _row(key: str, name: str, material: Material, scored: list[Arm]) -> dict[str, Any]:
    gain = material.gains.get(key)
    groups = scored[0].evaluations[0].groups
    beside = [scores[key] for scores in material.published.methods.values()]
    return {
        "name": name,
        "color": "",
        "is_mean": key in groups,
        "gain": gain and _points(gain.difference),
        "scores": [_dot(arm.over_seeds(key, "dice"), look_of(arm.number)) for arm in scored],
        "published": [{"mean": short(value), "x": _x(value)} for value in beside],
    }


def _dot(pair: tuple[float, float], look: SeriesStyle) -> dict[str, Any]:
    mean, deviation = pair
    shown = {**percent_of(pair), "look": look}
    if math.isnan(mean):
        return shown | {"x": ""}
    spread = 0.0 if math.isnan(deviation) else deviation
    return shown | {"x": _x(mean), "low": _x(mean - spread), "high": _x(mean + spread)}


def _x(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _organ_words(material: Material) -> str:
    arm = material.arms[0]
    others = [other for other in material.arms[1:] if other.evaluations]
    words = [
        deviation_words(arm, others),
        "Dots are means, bars reach one deviation to both sides.",
    ]
    if material.gains:
        cases = material.gains["all"].cases
        words.append(
            f"Gain: this report minus {material.arms[1].label}, in points, over the {cases} cases "
            "that both score. `tak compare` tests it."
        )
    return " ".join(words)


def _missed(arm: Arm) -> str:
    """Missed and invented organs with their number of cases; empty if there are none."""
    counts = {
        name: sum(one.missed(name) for one in arm.evaluations)
        for name in arm.evaluations[0].groups["all"]
    }
    missed = [f"{name} ({count})" for name, count in counts.items() if count]
    if not missed:
        return ""
    pairs = len(arm.evaluations) * len(arm.evaluations[0].cases)
    return f"Wholly missed or invented, in how many of {pairs} predictions: {', '.join(missed)}."
