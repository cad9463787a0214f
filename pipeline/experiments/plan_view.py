"""The plan of a study in words and as JSON."""

import json
from dataclasses import asdict

from pipeline.experiments.estimates import QuestionEstimate
from pipeline.experiments.planning import Plan
from pipeline.experiments.study_file import LimitsTable


def plan_json(plan: Plan, asked: QuestionEstimate) -> str:
    """The plan for programs."""
    content = {
        "title": plan.study.file.title,
        "cells": len(plan.cells),
        "arms": list(plan.study.arms),
        "stages": [
            {"kind": kind, "all": every, "done": done, "failed": failed, "to_run": left}
            for kind, every, done, failed, left in plan.counts()
        ],
        "pending": [
            {"kind": stage.kind, "key": stage.key, "state": plan.states[stage.key]}
            for stage in plan.pending()
        ],
        "questions": asdict(asked),
        "training_steps": plan.steps,
        "trainings_not_counted": plan.uncounted,
        "training_seconds": plan.seconds,
        "trainings_not_measured": plan.unmeasured,
    }
    return json.dumps(content, indent=1)


def plan_lines(plan: Plan, asked: QuestionEstimate) -> list[str]:
    """The plan of a study for a terminal of 80 columns."""
    file = plan.study.file
    lines = [f"{file.title}: {len(plan.study.arms)} arms, {len(plan.cells)} cells", ""]
    lines.append(f"{'stage':<10}{'all':>7}{'done':>7}{'failed':>8}{'to run':>8}")
    for kind, every, done, failed, left in plan.counts():
        lines.append(f"{kind:<10}{every:>7}{done:>7}{failed:>8}{left:>8}")
    lines += ["", *asked.lines(), _time(plan)]
    return lines + _limit_lines(file.limits, asked)


def _limit_lines(limits: LimitsTable, asked: QuestionEstimate) -> list[str]:
    """The limits of a study, and whether open questions may exceed them."""
    named, passed = [], []
    tokens = asked.input_tokens + asked.output_tokens
    if limits.max_tokens is not None:
        named.append(f"{limits.max_tokens} tokens")
        if tokens > limits.max_tokens:
            passed.append(f"{tokens} tokens are more than the limit of {named[-1]}")
    if limits.max_cost is not None:
        named.append(f"{limits.max_cost:.2f} USD")
        if asked.cost_usd > limits.max_cost:
            passed.append(f"{asked.cost_usd:.2f} USD are more than the limit of {named[-1]}")
    head = [f"limits of the study: {', '.join(named)}"] if named else []
    return head + [
        f"{words}: asking may stop there, and continue with a higher one" for words in passed
    ]


def _time(plan: Plan) -> str:
    trainings = plan.pending("train")
    if not trainings:
        return "no training to run"
    head = f"{len(trainings)} trainings, {plan.steps} steps"
    if plan.uncounted:
        head += f" without {plan.uncounted} of epochs, counted once their data are prepared"
    if plan.seconds is None:
        return f"{head}; their time is known once one of their kind has run"
    more = f", without {plan.unmeasured} of a kind that was not measured" if plan.unmeasured else ""
    return f"{head}, about {_span(plan.seconds)} on one job{more}"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
