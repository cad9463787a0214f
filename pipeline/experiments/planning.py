"""The plan of a study: its stages, their states, and an estimate of the time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from knowledge.common.suggest import did_you_mean
from pipeline.experiments.cell_stages import stages_of
from pipeline.experiments.stages import KINDS, CellStages, Stage
from pipeline.experiments.store import State, Store, cost_class
from pipeline.experiments.study import Cell, Study


@dataclass(frozen=True)
class Plan:
    """The cells and stages of a study, with their states.

    Attributes:
        cells: the stages of every cell.
        stages: every stage once, inputs first.
        states: of every stage, by key.
        seconds: expected time of the open trainings, None if no step was measured yet.
        unmeasured: open trainings of which no step was measured or whose steps are unknown.
        steps: of the open trainings whose number is known.
        uncounted: open trainings of epochs whose data are not prepared yet.
    """

    study: Study
    cells: tuple[CellStages, ...]
    stages: tuple[Stage, ...]
    states: dict[str, State]
    seconds: float | None
    unmeasured: int = 0
    steps: int = 0
    uncounted: int = 0

    def pending(self, kind: str | None = None) -> list[Stage]:
        """Open stages, of one kind or of all."""
        chosen = [stage for stage in self.stages if kind in (None, stage.kind)]
        return [stage for stage in chosen if self.states[stage.key] not in ("done", "spare")]

    def counts(self) -> list[tuple[str, int, int, int, int]]:
        """Kind, all, done, failed and to run, for every kind that the study has."""
        rows = []
        for kind in KINDS:
            states = [self.states[stage.key] for stage in self.stages if stage.kind == kind]
            if states:
                done, failed = states.count("done"), states.count("failed")
                rows.append((kind, len(states), done, failed, len(self.pending(kind))))
        return rows


def plan(study: Study, store: Store) -> Plan:
    """The plan of a study; runs nothing and imports nothing heavy.

    Raises:
        ValueError: an invalid cell; the message names it.
    """
    cells = []
    for cell in study.cells:
        try:
            cells.append(stages_of(study, cell))
        except (LookupError, OSError, ValueError) as error:
            reason = str(error).removeprefix(f"{study.path}: ")
            raise ValueError(f"{study.path}: cell {cell.name}: {reason}") from None
    stages = {stage.key: stage for each in cells for stage in each.all()}
    states = states_of(tuple(stages.values()), store)
    pending = [
        s for s in stages.values() if s.kind == "train" and states[s.key] not in ("done", "spare")
    ]
    measured = store.step_seconds() if pending else {}
    times = [measured.get(cost_class(stage.facts)) for stage in pending]
    steps = [store.training_steps(stage) for stage in pending]
    known = [each * count for each, count in zip(times, steps, strict=True) if each and count]
    seconds = sum(known) if known or not pending else None
    return Plan(
        study, tuple(cells), tuple(stages.values()), states, seconds, len(times) - len(known),
        sum(filter(None, steps)), steps.count(None),
    )  # fmt: skip


def states_of(stages: Collection[Stage], store: Store) -> dict[str, State]:
    """The state of every stage by key, read from the store."""
    states = {stage.key: store.state(stage) for stage in stages}
    for key in _spare(stages, states):
        states[key] = "spare"
    return states


def _spare(stages: Collection[Stage], states: Mapping[str, State]) -> set[str]:
    """Stages whose files are gone and that no open stage needs.

    So checkpoints of scored runs may be deleted, and scores may come from another machine.
    """
    inputs = {earlier.key for stage in stages for earlier in stage.inputs}
    needed: set[str] = set()
    for stage in reversed(tuple(stages)):  # inputs come before the stages that need them
        gone = states[stage.key] in ("missing", "removed")
        wanted = stage.key in needed or stage.key not in inputs
        if states[stage.key] != "done" and (wanted or not gone):
            needed |= {stage.key, *(earlier.key for earlier in stage.inputs)}
    return {
        stage.key
        for stage in stages
        if states[stage.key] in ("missing", "removed") and stage.key not in needed
    }


def check_cells(plan: Plan) -> None:
    """Build every distinct recipe of an open training, before the first stage starts.

    Raises:
        ValueError: an invalid value; names the cell.
    """
    pending = {stage.key for stage in plan.pending("train")}
    todo = [each for each in plan.cells if each.train and each.train.key in pending]
    if todo:
        from pipeline.config.recipe_files import read_config
        from pipeline.experiments.recipe_changes import as_words, find_recipe, recipe_changes
    checked: set[tuple[str, ...]] = set()
    for each in todo:
        recipe = find_recipe(plan.study, str(each.cell.settings["recipe"]))
        changes = as_words(recipe_changes(each.cell.settings))
        if (str(recipe), *changes) not in checked:
            checked.add((str(recipe), *changes))
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
