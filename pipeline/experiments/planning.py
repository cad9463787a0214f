"""The plan of a study: every stage once, what is done, and how long the rest takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge.common.suggest import did_you_mean
from pipeline.experiments.cell_stages import stages_of
from pipeline.experiments.stages import KINDS, CellStages, Stage
from pipeline.experiments.store import State, Store, cost_class
from pipeline.experiments.study import Cell, Study


@dataclass(frozen=True)
class Plan:
    """What a study consists of and what of it is done.

    Attributes:
        cells: the stages of every cell.
        stages: every stage once, inputs first.
        states: of every stage, by key.
        seconds: expected for the trainings to run, None where no step was measured yet.
    """

    study: Study
    cells: tuple[CellStages, ...]
    stages: tuple[Stage, ...]
    states: dict[str, State]
    seconds: float | None
    unmeasured: int = 0

    def pending(self, kind: str | None = None) -> list[Stage]:
        """Stages that are not done, of one kind or of all."""
        chosen = [stage for stage in self.stages if kind in (None, stage.kind)]
        return [stage for stage in chosen if self.states[stage.key] != "done"]

    def as_json(self) -> str:
        """The plan for programs."""
        content = {
            "title": self.study.file.title,
            "cells": len(self.cells),
            "arms": list(self.study.arms),
            "stages": [
                {"kind": kind, "all": every, "done": done, "failed": failed}
                for kind, every, done, failed in self.counts()
            ],
            "pending": [
                {"kind": stage.kind, "key": stage.key, "state": self.states[stage.key]}
                for stage in self.pending()
            ],
            "training_seconds": self.seconds,
            "trainings_not_measured": self.unmeasured,
        }
        return json.dumps(content, indent=1)

    def counts(self) -> list[tuple[str, int, int, int]]:
        """Kind, all, done and failed, for every kind that the study has."""
        rows = []
        for kind in KINDS:
            states = [self.states[stage.key] for stage in self.stages if stage.kind == kind]
            if states:
                rows.append((kind, len(states), states.count("done"), states.count("failed")))
        return rows


def plan(study: Study, store: Store) -> Plan:
    """The plan of a study; nothing is run and nothing heavy imported.

    Raises:
        ValueError: a cell that cannot be; the message names it.
    """
    cells = []
    for cell in study.cells:
        try:
            cells.append(stages_of(study, cell))
        except (LookupError, OSError, ValueError) as error:
            where = "" if str(error).startswith(str(study.path)) else f"{study.path}: "
            raise ValueError(f"{where}cell {cell.name}: {error}") from None
    stages = {stage.key: stage for each in cells for stage in each.all()}
    states = {key: store.state(stage) for key, stage in stages.items()}
    pending = [s for s in stages.values() if s.kind == "train" and states[s.key] != "done"]
    measured = store.step_seconds() if pending else {}
    times = [measured.get(cost_class(stage.facts)) for stage in pending]
    known = [each * stage.steps for each, stage in zip(times, pending, strict=True) if each]
    seconds = sum(known) if known or not pending else None
    return Plan(
        study, tuple(cells), tuple(stages.values()), states, seconds, len(times) - len(known)
    )


def check_cells(plan: Plan) -> None:
    """Build every distinct recipe that is still to be trained, before the first stage starts.

    Raises:
        ValueError: a value that no cell can be built with; names the cell.
    """
    pending = {stage.key for stage in plan.pending("train")}
    todo = [each for each in plan.cells if each.train and each.train.key in pending]
    if todo:
        from pipeline.config.recipe_files import read_config
        from pipeline.experiments.recipe_changes import as_words, find_recipe, recipe_changes
    seen: set[tuple[str, ...]] = set()
    for each in todo:
        recipe = find_recipe(plan.study, str(each.cell.settings["recipe"]))
        changes = as_words(recipe_changes(each.cell.settings))
        if (str(recipe), *changes) not in seen:
            seen.add((str(recipe), *changes))
            try:
                read_config(recipe, changes, option="")
            except (ValueError, LookupError) as error:
                raise ValueError(f"{plan.study.path}: cell {each.cell.name}: {error}") from None
    banks = {each.bank.key: each.cell for each in plan.cells if isinstance(each.bank, Stage)}
    _check_text(plan, banks)


def _check_text(plan: Plan, banks: dict[str, Cell]) -> None:
    """Refuse an encoder or control that does not exist."""
    pending = {stage.key for stage in plan.pending()}
    todo = [cell for key, cell in banks.items() if key in pending]
    if not todo:
        return
    from knowledge.bank.control_kinds import KINDS as CONTROLS
    from knowledge.common.suggest import unknown
    from pipeline.config.registry import names

    for cell in todo:
        encoder, bank = str(cell.settings["encoder"]).partition(":")[0], str(cell.settings["bank"])
        known = names("knowledge.encoders")
        if encoder not in known:
            message = unknown("encoder", encoder, known)
        elif bank != "text" and not bank.endswith(".h5") and bank not in CONTROLS:
            message = unknown("bank", bank, ["text", *CONTROLS])
        else:
            continue
        raise ValueError(f"{plan.study.path}: cell {cell.name}: {message}")


def chosen_kinds(text: str) -> tuple[str, ...]:
    """Kinds of stages from a list with commas.

    Raises:
        ValueError: a kind that does not exist; lists those that do.
    """
    kinds = tuple(part.strip() for part in text.split(",") if part.strip())
    for kind in kinds:
        if kind not in KINDS:
            near = did_you_mean(kind, KINDS)
            raise ValueError(f"--only: no stage {kind!r}; there is {', '.join(KINDS)}{near}")
    return kinds


def plan_lines(plan: Plan) -> list[str]:
    """The plan of a study for a terminal of 80 columns."""
    file = plan.study.file
    lines = [f"{file.title}: {len(plan.study.arms)} arms, {len(plan.cells)} cells", ""]
    lines.append(f"{'stage':<10}{'all':>7}{'done':>7}{'failed':>8}{'to run':>8}")
    for kind, every, done, failed in plan.counts():
        lines.append(f"{kind:<10}{every:>7}{done:>7}{failed:>8}{every - done:>8}")
    lines += ["", _time(plan)]
    limits = file.limits
    if limits.max_tokens or limits.max_cost is not None:
        tokens = "no limit" if limits.max_tokens is None else f"{limits.max_tokens} tokens"
        cost = "no limit" if limits.max_cost is None else f"{limits.max_cost:.2f} USD"
        lines.append(f"limits of the whole study: {tokens}, {cost}")
    return lines


def _time(plan: Plan) -> str:
    trainings = plan.pending("train")
    if not trainings:
        return "no training to run"
    steps = sum(stage.steps for stage in trainings)
    head = f"{len(trainings)} trainings, {steps} steps"
    if plan.seconds is None:
        return f"{head}; their time is known once one of their kind has run"
    more = f", without {plan.unmeasured} of a kind that was not measured" if plan.unmeasured else ""
    return f"{head}, about {_span(plan.seconds)} on one job{more}"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"


def spent(plan: Plan, store: Store) -> tuple[int, float]:
    """Tokens and US dollars of all finished description sets of a study."""
    tokens, cost = 0, 0.0
    for stage in plan.stages:
        if stage.kind == "describe" and store.state(stage) == "done":
            content: dict[str, Any] = _json_object(store.product(stage))
            totals = content.get("totals", {})
            tokens += totals.get("input_tokens", 0) + totals.get("output_tokens", 0)
            cost += content.get("cost_usd") or 0.0
    return tokens, cost


def _json_object(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
